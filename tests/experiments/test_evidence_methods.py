"""Ways to give evidence, and the page about them."""

import json
from typing import Any

import numpy as np
import pytest

from experiments.evidence_methods import KEPT, METHODS, alone, curves, page, without_each

SEGMENTS = np.repeat(np.array([0.3, -0.2, 0.1, 0.0], np.float32)[:, None], 2, axis=1)


def test_the_page_follows_from_the_figures_that_are_kept() -> None:
    text = page(json.loads(KEPT.read_text(encoding="utf-8")))
    assert text == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_one_left_out_is_the_fall_of_the_logit(mean_engine: Any) -> None:
    weights = without_each(mean_engine(), SEGMENTS, 0, np.random.default_rng(0))
    assert weights[0] == pytest.approx(10 * (0.05 - (-0.1 / 3)), abs=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_has_a_weight_for_each_segment(mean_engine: Any, name: str) -> None:
    weights = METHODS[name](mean_engine(), SEGMENTS, 0, np.random.default_rng(0))
    assert weights.shape == (4,) and np.isfinite(weights).all()


def test_good_weights_lower_the_score_early_and_raise_it_early(mean_engine: Any) -> None:
    weights = alone(mean_engine(), SEGMENTS, 0, np.random.default_rng(0))
    deletion, insertion = curves(mean_engine(), SEGMENTS, 0, weights)
    worse = curves(mean_engine(), SEGMENTS, 0, -weights)
    assert deletion < worse[0] and insertion > worse[1]
