"""The page and the measures of zero-shot."""

import json

import numpy as np
import pytest

from earmark.data.soundscapes import TruthEvent
from earmark.labels import LabelSet
from experiments.__main__ import main
from experiments.zero_shot import KEPT, SECONDS, active, page


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text())) == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_a_second_is_active_where_an_event_reaches_into_it() -> None:
    events = [
        TruthEvent("a.flac", 2.2, 4.0, "cat", 0.0),
        TruthEvent("b.flac", 0.0, 9.0, "cat", 0.0),
    ]
    truth = active(events, "a.flac", 3.0)  # window k has the second from k + 1 to k + 2 in its middle
    assert truth.shape == (SECONDS - 2, 50)
    assert np.argwhere(truth).tolist() == [[row, LabelSet.esc50().index("cat")] for row in (1, 2)]


def test_some_arguments_without_the_others_are_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["zero-shot", "ESC-50"]) == 2
    assert "BANK, WORK and MODEL were expected" in capfd.readouterr().err
