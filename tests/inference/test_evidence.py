"""Evidence: how far a logit falls without a segment."""

from typing import Any

import numpy as np
import pytest

import earmark.inference.evidence as evidence_module
from earmark.errors import AudioError
from earmark.inference.evidence import explain


def segments_of(means: list[float]) -> np.ndarray:
    return np.repeat(np.array(means, np.float32)[:, None], 2, axis=1)


def test_evidence_is_the_fall_of_the_logit(mean_engine: Any) -> None:
    means = [0.3, -0.2, 0.1]
    engine = mean_engine()
    evidence = explain(engine, segments_of(means), 0, duration=2.9, first=5)
    whole = 10 * np.mean(means)
    without = [10 * np.mean(means[:i] + means[i + 1 :]) for i in range(3)]
    assert evidence.label == "low"
    np.testing.assert_allclose(evidence.weights, [whole - w for w in without], rtol=1e-5)
    np.testing.assert_allclose(evidence.onsets, [2.0, 2.4, 2.8])
    np.testing.assert_allclose(evidence.offsets, [2.4, 2.8, 2.9])
    assert evidence.attention is not None and evidence.attention.shape == (2, 3)
    assert evidence.score == pytest.approx(1 / (1 + np.exp(-whole)), rel=1e-5)
    assert engine.n_bags == [1, 3]


def test_evidence_in_blocks_is_the_same(mean_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    segments = segments_of(np.random.default_rng(3).uniform(-0.5, 0.5, 11).tolist())
    engine = mean_engine()
    whole = explain(engine, segments, 0, duration=4.4)
    monkeypatch.setattr(evidence_module, "VALUES_PER_CALL", 4 * 11 * 2)
    blocks = explain(engine, segments, 0, duration=4.4)
    np.testing.assert_allclose(blocks.weights, whole.weights, rtol=1e-5)
    assert engine.n_bags == [1, 11, 1, 4, 4, 3]


def test_attention_is_none_where_the_pooling_has_none(mean_engine: Any) -> None:
    assert explain(mean_engine(has_attention=False), segments_of([0.1, 0.2]), 0, duration=0.8).attention is None


def test_one_segment_cannot_be_left_out(mean_engine: Any) -> None:
    with pytest.raises(AudioError, match=r"several segments, got 0\.40 s"):
        explain(mean_engine(), segments_of([0.1]), 0, duration=0.4)
