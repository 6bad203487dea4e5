"""Thresholds of best F1, and their shrinkage."""

import numpy as np
import pytest

from earmark.evaluation.thresholds import best_threshold, logits_of, shrunk, sigmoid


def thresholds_of(target: list[int], scores: list[float], near: float) -> float:
    """The best threshold of one label."""
    weight = np.full(len(target), 1 / len(target))
    return best_threshold(np.array(target, bool), np.array(scores), weight, near)


def test_a_threshold_lies_midway_between_neighbours() -> None:
    assert thresholds_of([1, 1, 0, 0], [0.9, 0.6, 0.4, 0.1], 0.5) == pytest.approx(0.5)
    assert thresholds_of([1, 0, 1], [0.9, 0.9, 0.4], 0.5) == pytest.approx(0.2), "below all: midway to 0"


def test_ties_go_to_the_threshold_nearest_to_the_pooled_one() -> None:
    # F1 is 2/3 with the first alone and with the first four
    target, scores = [1, 0, 0, 1, 0, 0], [0.9, 0.7, 0.6, 0.5, 0.3, 0.1]
    assert thresholds_of(target, scores, near=0.9) == pytest.approx(0.8)
    assert thresholds_of(target, scores, near=0.1) == pytest.approx(0.4)


def test_rounded_scores_have_finite_logits() -> None:
    scores = np.array([[0.0, 1.0, 0.25]], np.float32)
    logits = logits_of(scores)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(sigmoid(logits), scores, atol=1e-7)


def test_a_shrunk_threshold_lies_between_both() -> None:
    assert shrunk(0.1, 0.5, 1.0) == 0.1, "exactly, without rounding"
    assert shrunk(0.1, 0.5, 0.0) == pytest.approx(0.5)
    assert shrunk(0.1, 0.5, 0.5) == pytest.approx(0.25), "odds of 1/9 and 1: their geometric mean is 1/3"
