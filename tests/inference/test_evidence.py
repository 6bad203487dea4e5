"""Evidence: the Shapley values of segments."""

import itertools
from typing import Any

import numpy as np
import pytest

import earmark.inference.evidence as evidence_module
from earmark.errors import AudioError
from earmark.inference.evidence import explain


def segments_of(means: list[float]) -> np.ndarray:
    return np.repeat(np.array(means, np.float32)[:, None], 2, axis=1)


def test_evidence_is_the_shapley_value(mean_engine: Any) -> None:
    means = [0.3, -0.2, 0.1, 0.4]
    evidence = explain(mean_engine(), segments_of(means), 0, duration=3.3, first=5)
    # all orders, by the definition
    effects = np.zeros((24, 4))
    for row, order in zip(effects, itertools.permutations(range(4)), strict=True):
        before = np.mean(means)
        for n, segment in enumerate(order, 1):
            row[segment] = 10 * (np.mean([means[i] for i in order[:n]]) - before)
            before = np.mean([means[i] for i in order[:n]])
    assert evidence.label == "low"
    assert (np.abs(evidence.weights - effects.mean(axis=0)) < 4 * evidence.errors + 1e-6).all()
    assert 0 < evidence.errors.max() < 1
    np.testing.assert_allclose(evidence.onsets, [2.0, 2.4, 2.8, 3.2])
    np.testing.assert_allclose(evidence.offsets, [2.4, 2.8, 3.2, 3.3])
    assert evidence.attention is not None and evidence.attention.shape == (2, 4)
    assert evidence.score == pytest.approx(1 / (1 + np.exp(-10 * np.mean(means))), rel=1e-5)


def test_of_five_equal_sounds_each_supports_the_label(mean_engine: Any) -> None:
    class LoudestEngine(mean_engine):  # type: ignore[misc]
        def pool(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return np.where(np.ones(segments.shape[:2], bool) if mask is None else mask, segments[..., 0], -1).max(
                axis=1, keepdims=True
            )

    # leaving one of them out changes nothing
    evidence = explain(LoudestEngine(), segments_of([0.4, -0.4] * 5), 0, duration=4.0)
    assert (evidence.weights[::2] > 0).all() and (evidence.weights[1::2] < 0).all()


def test_evidence_is_the_same_every_time_and_in_blocks(mean_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = segments_of(np.random.default_rng(3).uniform(-0.5, 0.5, 11).tolist())
    whole = explain(mean_engine(), segments, 0, duration=4.4)
    engine = mean_engine()
    monkeypatch.setattr(evidence_module, "VALUES_PER_CALL", 4 * 11 * 2)
    blocks = explain(engine, segments, 0, duration=4.4)
    np.testing.assert_allclose(blocks.weights, whole.weights, rtol=1e-6)
    assert max(engine.n_bags[1:]) == 4


def test_attention_is_none_where_the_pooling_has_none(mean_engine: Any) -> None:
    assert explain(mean_engine(has_attention=False), segments_of([0.1, 0.2]), 0, duration=0.8).attention is None


def test_one_segment_cannot_be_left_out(mean_engine: Any) -> None:
    with pytest.raises(AudioError, match=r"several segments, got 0\.40 s"):
        explain(mean_engine(), segments_of([0.1]), 0, duration=0.4)
