"""Decoders of events on made-up logits."""

from typing import Any

import numpy as np
import pytest

from earmark.evaluation.localisation import TrueEvent
from earmark.inference.events import EventSettings
from earmark.inference.tagger import Tagger
from experiments.decoders import Decoder, cell_f1, decode, measure, product
from experiments.scenes import LABELS, Scene, Scenes


@pytest.fixture
def scenes(mean_engine: Any) -> Scenes:
    class ChannelEngine(mean_engine):  # type: ignore[misc]
        """The logits of a bag are the means of its channels."""

        labels = LABELS

        def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return self.pool(segments, mask)

    segments = np.full((25, 50), -4.0, np.float32)
    segments[5:15, 3] = 4.0
    segments[20, 7] = 4.0  # too short for its context
    tagger = Tagger(ChannelEngine(clip_duration=5.0))
    return Scenes(tagger, [Scene(segments, 10.0, (TrueEvent(3, 2.0, 6.0),))])


def test_a_context_drops_what_a_single_window_suggests(scenes: Scenes) -> None:
    decoders = Decoder(window=1), Decoder(window=1, context=0.5, margin=1.0)
    found = [decode(scenes, decoder, [0.5] * 50)[0].events(settings=decoder.settings) for decoder in decoders]
    assert [len(events) for events in found] == [2, 1]
    assert found[1][0].label == LABELS.names[3]


def test_the_measures_of_a_perfect_decoder(scenes: Scenes) -> None:
    timelines = product(scenes, [0.5] * 50, window=0.4, hop=0.4, context=0.0)
    decoder = Decoder(min_duration=1.0, is_trimmed=False)
    figures = measure(scenes, timelines, decoder.settings, is_trimmed=False)
    assert (figures.F1, figures.event_F1, figures.n_detected, figures.n_overlapped) == (1.0, 1.0, 1, 1)
    assert (figures.onset, figures.offset_bias) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert cell_f1(scenes, timelines, decoder) == 1.0


def test_trimmed_events_are_shorter_at_each_end(scenes: Scenes) -> None:
    timelines = product(scenes, [0.5] * 50, window=0.8, hop=0.4, context=0.0)
    found = [measure(scenes, timelines, EventSettings(), is_trimmed=trimmed) for trimmed in (False, True)]
    assert found[1].onset_bias - found[0].onset_bias == pytest.approx(0.2)
    assert found[1].offset_bias - found[0].offset_bias == pytest.approx(-0.2)
