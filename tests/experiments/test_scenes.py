"""Encoded soundscapes."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from earmark.inference.tagger import Tagger
from earmark.labels import LabelSet
from experiments.scenes import LABELS, Scene, Scenes, known_logits, known_thresholds


def test_logits_and_thresholds_come_in_the_order_of_the_classes() -> None:
    names = LABELS.names[::-1]
    tagger = SimpleNamespace(labels=LabelSet(names, names), thresholds=tuple(np.arange(50) / 50))
    assert known_logits(tagger, np.arange(50.0))[:2].tolist() == [49.0, 48.0]  # type: ignore[arg-type]
    assert known_thresholds(tagger)[:2] == [0.98, 0.96]  # type: ignore[arg-type, index]


def test_each_range_is_pooled_once(mean_engine: Any) -> None:
    class ChannelEngine(mean_engine):  # type: ignore[misc]
        labels = LABELS

        def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return self.pool(segments, mask)

    engine = ChannelEngine()
    scenes = Scenes(Tagger(engine), [])
    scene = Scene(np.repeat(np.arange(4.0, dtype=np.float32)[:, None], 50, axis=1), 1.6, ())
    assert scenes.pool(scene, [(0, 2), (1, 2), (0, 2)])[:, 0].tolist() == [0.5, 1.0, 0.5]
    assert scenes.pool(scene, [(1, 2), (2, 4)])[:, 0].tolist() == [1.0, 2.5]
    assert sum(engine.n_bags) == 3 and (scenes.step, scenes.clip_seconds) == (0.4, 10.0)
