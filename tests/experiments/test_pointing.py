"""Pointing accuracy and its chance level."""

import numpy as np
import pytest

from earmark.errors import DataError
from experiments.pointing import pointing


def test_pointing_accuracy_and_chance_level() -> None:
    borders = np.arange(6) * 0.4
    events = [(0.5, 0.9), (0.5, 0.9), (1.2, 1.6)]  # two cells, two cells, one cell that they fill exactly
    weights = [np.array([0, 0.1, 0.9, 0, 0]), np.array([0.9, 0.1, 0, 0, 0]), np.array([-3, -3, -3, -1, -2.0])]
    found = pointing(weights, [borders] * 3, events)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.chance == pytest.approx((2 + 2 + 1) / 15)
    assert found.n_recordings == 3


def test_pointing_at_an_event_shorter_than_a_cell() -> None:
    weights = [np.array([0.0, 1.0, 0.0])]
    assert pointing(weights, [np.arange(4) * 0.4], [(0.75, 0.79)]).accuracy == 1.0
    assert pointing(weights, [np.arange(4) * 0.4], [(0.1, 0.4)]).accuracy == 0.0


def test_tied_cells_count_by_their_share_in_the_event() -> None:
    even = pointing([np.full(10, 0.1)], [np.arange(11.0)], [(2.5, 4.5)])
    assert even.accuracy == even.chance == pytest.approx(0.3)
    two = pointing([np.array([0.4, 0.2, 0.4])], [np.arange(4.0)], [(2.0, 3.0)])
    assert two.accuracy == 0.5


def test_random_pointing_reaches_the_chance_level() -> None:
    rng = np.random.default_rng(0)
    borders, event = np.concatenate([[0], np.cumsum(rng.uniform(0.2, 0.6, 12))]), (1.0, 2.1)
    weights = [rng.random(12) for _ in range(4000)]
    found = pointing(weights, [borders] * 4000, [event] * 4000)
    assert found.accuracy == pytest.approx(found.chance, abs=0.02)


def test_weights_that_match_no_borders_are_refused() -> None:
    with pytest.raises(DataError, match="as many weights as borders and events"):
        pointing([], [], [])
    with pytest.raises(DataError, match="got 2 weights and 2 borders"):
        pointing([np.zeros(2)], [np.arange(2.0)], [(0.0, 1.0)])
