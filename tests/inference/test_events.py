"""Rules by which scores become events, as the scores come and in a whole recording."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.errors import ConfigError, DataError
from earmark.inference.events import Event, EventFinder, EventSettings, label_thresholds, trim_of
from earmark.inference.timeline import Timeline
from earmark.labels import LabelSet

AB = LabelSet(("a", "b"), ("/m/a", "/m/b"))


def timeline_of(*scores: float, hop: float = 1.0) -> Timeline:
    """Windows as long as their hop: each is its own cell."""
    column = np.array(scores)[:, None]
    onsets = np.arange(len(scores)) * hop
    return Timeline(onsets, np.concatenate([column, column / 2], axis=1), AB.names, hop, hop, len(scores) * hop)


def times(timeline: Timeline, **settings: Any) -> list[tuple[float, float, float]]:
    """Onset, offset and score of the events of label a at a threshold of 0.5, with release 1."""
    rules = EventSettings(labels=("a",), threshold=0.5, **{"release": 1.0, **settings})
    return [(event.onset, event.offset, event.score) for event in timeline.events(settings=rules)]


def test_a_gap_up_to_max_gap_is_bridged() -> None:
    timeline = timeline_of(0.6, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.7)
    assert times(timeline) == [(0, 1, 0.6), (3, 4, 0.8), (7, 8, 0.7)]
    assert times(timeline, max_gap=2.0) == [(0, 4, 0.8), (7, 8, 0.7)]
    assert times(timeline, max_gap=3.0) == [(0, 8, 0.8)]


def test_rounding_decides_nothing() -> None:
    timeline = timeline_of(0.6, 0.1, 0.1, 0.6, 0.6, hop=0.1)  # 0.3 - 0.1 is below 0.2, 3 * 0.1 is above 0.3
    assert len(times(timeline, max_gap=0.2)) == 1
    assert len(times(timeline, min_duration=0.1)) == 2
    assert len(times(timeline, min_duration=0.2)) == 1
    assert len(times(timeline, pad=0.1)) == 1


def test_windows_between_release_and_threshold_do_not_bridge() -> None:
    timeline = timeline_of(0.6, 0.1, 0.3, 0.1, 0.6)
    assert len(times(timeline, release=0.5, max_gap=2.0)) == 2
    assert len(times(timeline, release=0.5, max_gap=3.0)) == 1


def test_an_event_shorter_than_min_duration_is_dropped_after_gaps_are_bridged() -> None:
    timeline = timeline_of(0.6, 0.1, 0.6, 0.1, 0.1, 0.1, 0.9)
    assert times(timeline, min_duration=2.0) == []
    assert times(timeline, min_duration=2.0, max_gap=1.0) == [(0, 3, 0.6)]


def test_padding_ends_with_the_recording_and_unites_events_that_touch() -> None:
    timeline = timeline_of(0.6, 0.1, 0.1, 0.1, 0.8, 0.1, 0.1, 0.7)
    assert times(timeline, pad=0.5) == [(0, 1.5, 0.6), (3.5, 5.5, 0.8), (6.5, 8, 0.7)]
    assert times(timeline, pad=1.0) == [(0, 2, 0.6), (3, 8, 0.8)]
    # the short event that padding would have made longer is dropped first
    assert times(timeline, pad=1.0, min_duration=2.0) == []


def test_the_best_events_of_each_hour_are_kept() -> None:
    # half an hour a window: events of hours 0, 1 and 2
    timeline = timeline_of(0.6, 0.1, 0.7, 0.1, 0.9, 0.1, hop=1800.0)
    halves = timeline_of(0.7, 0.1, 0.7, 0.1, 0.1, 0.9, hop=900.0)
    assert times(timeline, per_hour=1) == times(timeline)
    assert times(halves, per_hour=1) == [(0, 900, 0.7), (4500, 5400, 0.9)]
    rules = EventSettings(threshold=0.3, release=1.0, per_hour=2)
    assert [(e.label, e.onset) for e in halves.events(settings=rules)] == [
        ("a", 0),
        ("a", 1800),
        ("a", 4500),
        ("b", 4500),
    ]


def test_a_mapping_has_thresholds_by_name_or_id() -> None:
    assert label_thresholds({"/m/b": 0.2}, None, AB).tolist() == [0.5, 0.2]
    assert label_thresholds({"a": 0.1}, (0.3, 0.4), AB).tolist() == [0.1, 0.4]
    with pytest.raises(DataError, match="unknown label 'x'"):
        label_thresholds({"x": 0.2}, None, AB)
    with pytest.raises(ConfigError, match="threshold: a score from 0 to 1 was expected, not 2"):
        label_thresholds({"a": 2.0}, None, AB)


def test_thresholds_are_scores() -> None:
    assert label_thresholds(None, None, AB).tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="no thresholds of its own for 'auto'"):
        label_thresholds("auto", None, AB)
    with pytest.raises(ConfigError, match="one for each of the 2 labels was expected, not 3"):
        label_thresholds((0.1, 0.2, 0.3), None, AB)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("release", 0.0),
        ("release", 1.5),
        ("release", float("nan")),
        ("min_duration", -1.0),
        ("max_gap", float("inf")),
        ("pad", -0.1),
        ("pad", 1e308),
        ("max_gap", 3601.0),
        ("min_duration", 3601.0),
        ("per_hour", 0),
        ("labels", ()),
        ("labels", "dog"),
    ],
)
def test_settings_outside_their_limits_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        EventSettings(**{name: value})


VALUES = st.sampled_from([0.0, 0.2, 0.24, 0.5, 0.6, 1.0])
SECONDS = st.sampled_from([0.0, 0.2, 0.4, 0.8, 1.0, 1.7])
RULES = st.fixed_dictionaries(
    {
        "labels": st.sampled_from([None, ("b",)]),
        "release": st.sampled_from([0.3, 0.5, 1.0]),
        "min_duration": SECONDS,
        "max_gap": SECONDS,
        "pad": SECONDS,
        "per_hour": st.sampled_from([None, 1, 3]),
    }
)
THRESHOLDS = (0.5, 0.24)


def streamed(timeline: Timeline, rules: EventSettings) -> list[list[Event]]:
    """The events that each row and the end return."""
    finder = EventFinder(rules, AB, None, trim=trim_of(timeline.window, timeline.hop))
    returned = []
    for onset, offset, row in zip(*timeline.cells(), timeline.scores, strict=True):
        returned.append(finder.begin_cell(float(onset), row))
        finder.end_cell(float(offset))
        assert len(finder.sounding) <= 2
    returned.append(finder.finish(timeline.duration))
    assert not finder.sounding
    return returned


def by_the_rules(timeline: Timeline, rules: EventSettings) -> list[Event]:
    """Slow: each rule after the other, on all events of a label."""
    onsets, offsets = timeline.cells()
    found = []
    for column in rules.columns(AB):
        threshold, scores = rules.threshold[column], timeline.scores[:, column]  # type: ignore[index]
        events: list[list[float]] = []
        for k, score in enumerate(scores):
            if score >= rules.release * threshold:
                if k and scores[k - 1] >= rules.release * threshold:
                    events[-1] = [events[-1][0], offsets[k], max(events[-1][2], score)]
                else:
                    events.append([onsets[k], offsets[k], score])
        for event in events:
            cut = min(trim_of(timeline.window, timeline.hop), (event[1] - event[0]) / 4)
            is_at_start, is_at_end = event[0] == onsets[0], event[1] == offsets[-1]
            event[:2] = event[0] + cut * (not is_at_start), event[1] - cut * (not is_at_end)
        events = [event for event in events if event[2] >= threshold]
        events = united(events, rules.max_gap)
        events = [event for event in events if event[1] - event[0] > rules.min_duration - 1e-7]
        events = united(events, 2 * rules.pad)
        for onset, offset, score in events:
            padded = max(0.0, onset - rules.pad), min(timeline.duration, offset + rules.pad)
            found.append(Event(AB.names[column], *map(float, padded), float(score)))
    found.sort(key=lambda event: (event.onset, event.label))
    if rules.per_hour is not None:
        best = sorted(found, key=lambda event: (-event.score, event.onset, event.label))
        hour = {id(event): event.onset // 3600 for event in best}
        kept = [
            event
            for rank, event in enumerate(best)
            if sum(hour[id(other)] == hour[id(event)] for other in best[:rank]) < rules.per_hour
        ]
        found = sorted(kept, key=lambda event: (event.onset, event.label))
    return found


def united(events: list[list[float]], gap: float) -> list[list[float]]:
    result: list[list[float]] = []
    for event in events:
        if result and event[0] - result[-1][1] < gap + 1e-7:
            result[-1] = [result[-1][0], event[1], max(result[-1][2], event[2])]
        else:
            result.append(event)
    return result


@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40),
    RULES,
    st.sampled_from([(1.0, 0.4), (0.2, 0.5), (0.8, 0.4), (2.0, 0.2)]),
)
def test_streamed_events_are_those_of_the_timeline_and_of_the_rules(
    rows: list[tuple[float, float]], given_rules: dict[str, Any], sizes: tuple[float, float]
) -> None:
    rules = EventSettings(threshold=THRESHOLDS, **given_rules)
    window, hop = sizes
    timeline = Timeline(np.arange(len(rows)) * hop, np.array(rows), AB.names, window, hop, hop * len(rows), ids=AB.ids)
    returned = streamed(timeline, rules)
    expected = timeline.events(settings=rules)
    assert sorted(chain.from_iterable(returned), key=lambda e: (e.onset, e.label)) == expected
    assert expected == by_the_rules(timeline, rules)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30), RULES)
def test_streamed_events_are_those_of_the_timeline_over_hours(
    rows: list[tuple[float, float]], given_rules: dict[str, Any]
) -> None:
    times = {name: 1000 * given_rules[name] for name in ("min_duration", "max_gap", "pad")}
    rules = EventSettings(threshold=THRESHOLDS, **{**given_rules, **times})
    timeline = Timeline(np.arange(len(rows)) * 500.0, np.array(rows), AB.names, 900.0, 500.0, 500.0 * len(rows))
    returned = streamed(timeline, rules)
    expected = timeline.events(settings=rules)
    assert sorted(chain.from_iterable(returned), key=lambda e: (e.onset, e.label)) == expected
    assert expected == by_the_rules(timeline, rules)


def test_a_stream_returns_an_event_as_soon_as_no_later_sound_can_change_it() -> None:
    timeline = timeline_of(0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)

    def row_of_return(**settings: float) -> int:
        rules = EventSettings(threshold=0.5, **settings)  # type: ignore[arg-type]
        returned = streamed(timeline, rules)
        (row,) = (k for k, events in enumerate(returned) if events)
        assert row == 2 + round(rules.delay)
        return row

    assert row_of_return() == 2  # with the first row after the event
    assert row_of_return(max_gap=2.0) == 4
    assert row_of_return(pad=1.0) == 4
    assert row_of_return(pad=1.0, max_gap=3.0) == 5


def test_events_of_an_hour_come_when_it_has_ended() -> None:
    timeline = timeline_of(*[0.9, 0.1] * 5, hop=900.0)
    returned = streamed(timeline, EventSettings(labels=("a",), threshold=0.5, per_hour=1))
    assert [(k, [event.onset for event in events]) for k, events in enumerate(returned) if events] == [
        (4, [0.0]),
        (8, [3600.0]),
        (10, [7200.0]),
    ]
    silent_after = timeline_of(0.9, *[0.1] * 9, hop=900.0)
    returned = streamed(silent_after, EventSettings(labels=("a",), threshold=0.5, per_hour=1))
    assert [k for k, events in enumerate(returned) if events] == [4]


def test_a_sound_that_lasts_is_sounding_until_it_ends() -> None:
    finder = EventFinder(EventSettings(threshold=0.5, max_gap=1.0), AB, None)
    finder.begin_cell(0.0, np.array([0.9, 0.0]))
    assert finder.sounding == [Event("a", 0.0, 0.0, 0.9)]
    finder.end_cell(1.0)
    finder.begin_cell(1.0, np.array([0.0, 0.0]))
    finder.end_cell(2.0)
    assert finder.sounding == []
    assert finder.begin_cell(2.0, np.array([0.6, 0.0])) == []
    finder.end_cell(3.0)
    assert finder.sounding == [Event("a", 0.0, 3.0, 0.9)]  # joined with the one before
    assert finder.finish(3.0) == [Event("a", 0.0, 3.0, 0.9)]


@given(st.lists(VALUES, min_size=1, max_size=40), RULES, st.sampled_from([(1.0, 1.0), (0.8, 0.4), (2.0, 0.2)]))
def test_an_event_sounds_from_one_start_until_it_ends(
    scores: list[float], given_rules: dict[str, Any], sizes: tuple[float, float]
) -> None:
    rules = EventSettings(**{**given_rules, "labels": ("a",), "pad": 0.0, "per_hour": None})
    (window, hop), rows = sizes, np.array(scores)[:, None].repeat(2, axis=1)
    timeline = Timeline(np.arange(len(rows)) * hop, rows, AB.names, window, hop, hop * len(rows))
    trim = trim_of(window, hop)
    finder, starts, ended = EventFinder(rules, AB, None, trim=trim), [], []
    for onset, offset, row in zip(*timeline.cells(), timeline.scores, strict=True):
        ended += finder.begin_cell(float(onset), row)
        starts += [event.onset for event in finder.sounding if event.onset not in starts]
        finder.end_cell(float(offset))
    ended += finder.finish(timeline.duration)
    owners = [next((event for event in ended if start < event.offset), None) for start in starts]
    for start, event in zip(starts, owners, strict=True):
        assert event is not None and event.onset - trim - 1e-6 <= start <= event.onset
    assert len(set(owners)) == len(starts)
