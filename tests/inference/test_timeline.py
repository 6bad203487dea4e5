"""Events of a timeline: of all scores, and as the scores come."""

import numpy as np
import pytest

from earmark.errors import ConfigError, DataError
from earmark.inference.events import Event, EventSettings
from earmark.inference.timeline import Timeline


def timeline_of(scores: list[float], window: float, hop: float, duration: float) -> Timeline:
    column = np.array(scores, dtype=float)[:, None]
    onsets = np.arange(len(scores)) * hop
    return Timeline(onsets, np.concatenate([column, column / 2], axis=1), ("a", "b"), window, hop, duration)


def test_neighbouring_windows_are_one_event() -> None:
    timeline = timeline_of([0.1, 0.6, 0.9, 0.7, 0.2, 0.5], window=1.0, hop=1.0, duration=5.5)
    assert timeline.events(0.5) == [Event("a", 1.0, 4.0, 0.9), Event("a", 5.0, 5.5, 0.5)]
    assert timeline.events(0.95) == []
    assert timeline.events(0.35, release=1.0) == [
        Event("a", 1.0, 4.0, 0.9),
        Event("b", 2.0, 4.0, 0.45),
        Event("a", 5.0, 5.5, 0.5),
    ]


def test_overlapping_windows_share_the_time_between_their_middles() -> None:
    # middles at 1, 1.5, 2, 2.5 and, of the windows cut at 3.5 s, 2.75, 3, 3.25
    onsets, offsets = timeline_of([0.0] * 7, window=2.0, hop=0.5, duration=3.5).cells()
    assert onsets.tolist() == [0.0, 1.25, 1.75, 2.25, 2.625, 2.875, 3.125]
    assert offsets.tolist() == [*onsets[1:].tolist(), 3.5]


def test_an_event_is_shorter_than_its_cells_at_each_end() -> None:
    # by half the overlap, 0.25 s; by a quarter of a short event; not at the ends of the recording
    timeline = timeline_of([0, 0.9, 0, 0.9, 0.9, 0.9, 0, 0], window=1.0, hop=0.5, duration=4.5)
    assert [(e.onset, e.offset) for e in timeline.events()] == [(0.875, 1.125), (2.0, 3.0)]
    ends = timeline_of([0.9, 0.9, 0.9, 0, 0, 0.9, 0.9, 0.9], window=1.0, hop=0.5, duration=4.5)
    assert [(e.onset, e.offset) for e in ends.events()] == [(0.0, 1.5), (3.0, 4.5)]


def test_events_never_cover_gaps_between_windows() -> None:
    timeline = timeline_of([0.9, 0, 0.9], window=1.0, hop=3.0, duration=20.0)
    assert [(e.onset, e.offset) for e in timeline.events()] == [(0.0, 1.0), (6.0, 7.0)]


def test_invalid_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match="threshold: a score from 0 to 1"):
        timeline_of([1.0], 1.0, 1.0, 1.0).events(2.0)


def test_a_fluctuating_score_gives_one_event() -> None:
    timeline = timeline_of([0.1, 0.3, 0.7, 0.3, 0.6, 0.26, 0.2, 0.4], window=1.0, hop=1.0, duration=8.0)
    assert timeline.events(0.5, release=0.5) == [Event("a", 1.0, 6.0, 0.7)]
    assert [(e.onset, e.offset) for e in timeline.events(0.5, release=1.0)] == [(2.0, 3.0), (4.0, 5.0)]
    for release in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="release: "):
            timeline.events(0.5, release=release)


def test_thresholds_default_to_those_of_the_checkpoint() -> None:
    scores = np.array([[0.3, 0.3]])
    timeline = Timeline(np.zeros(1), scores, ("a", "b"), 1.0, 1.0, 1.0, (0.2, 0.4))
    assert [event.label for event in timeline.events()] == ["a"]
    assert [event.label for event in timeline.events(0.3)] == ["a", "b"]
    assert [event.label for event in timeline.events((0.4, 0.2))] == ["b"]
    assert timeline.events("auto") == timeline.events()
    with pytest.raises(ConfigError, match="one for each of the 2 labels was expected, not 3"):
        timeline.events((0.1, 0.2, 0.3))


def test_threshold_and_release_replace_those_of_the_settings() -> None:
    timeline = timeline_of([0.1, 0.6, 0.4, 0.6, 0.1], window=1.0, hop=1.0, duration=5.0)
    settings = EventSettings(labels=("a",), threshold=0.9, release=1.0)
    assert timeline.events(settings=settings) == []
    assert timeline.events(0.5, settings=settings) == [Event("a", 1.0, 2.0, 0.6), Event("a", 3.0, 4.0, 0.6)]
    assert timeline.events(0.5, 0.5, settings) == [Event("a", 1.0, 4.0, 0.6)]


def test_labels_are_given_by_name_or_id() -> None:
    timeline = Timeline(np.zeros(1), np.array([[0.9, 0.8]]), ("a", "b"), 1.0, 1.0, 1.0, ids=("/m/a", "/m/b"))
    for label in ("b", "/m/b"):
        assert timeline.events(settings=EventSettings(labels=[label])) == [Event("b", 0.0, 1.0, 0.8)]
    with pytest.raises(DataError, match="unknown label 'c'"):
        timeline.events(settings=EventSettings(labels=["c"]))
