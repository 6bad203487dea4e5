"""The page and the measures of long-recordings."""

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score, label_ranking_average_precision_score

from experiments.__main__ import main
from experiments.long_recordings import KEPT, any_of, page, ranking_precision, tags_f1, top_mean


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text())) == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_measures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((20, 6)).astype(np.float32)
    target = rng.random((20, 6)) < 0.4
    target[:, 0] = True
    weights = target.sum(axis=1)
    expected = label_ranking_average_precision_score(target, scores, sample_weight=weights)
    assert ranking_precision(target, scores) == pytest.approx(expected)
    assert tags_f1(target, scores, np.full(6, 0.5)) == pytest.approx(f1_score(target, scores >= 0.5, average="micro"))


def test_windows_are_pooled_as_their_names_say() -> None:
    scores = np.array([[0.5], [0.9], [0.9], [0.9], [0.5]])
    assert top_mean(scores, 3) == pytest.approx([0.9])
    assert any_of(scores) == pytest.approx([0.75])  # windows 0 and 4 do not overlap


def test_some_arguments_without_the_others_are_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["long-recordings", "ESC-50"]) == 2
    assert "BANK, WORK and MODEL were expected" in capfd.readouterr().err
