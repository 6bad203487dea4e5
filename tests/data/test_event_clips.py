"""Clips made from events: their times, their labels, and clips without events."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.annotations.events import Annotation
from earmark.data.event_clips import EventClips, Span, covered_labels, draw_spans, event_spans, free_parts
from earmark.errors import ConfigError


def labels_of(spans, events):
    return list(covered_labels(spans, events))


@pytest.mark.parametrize(
    ("times", "rules", "span"),
    [
        ((4.0, 6.0), EventClips(), (4.0, 6.0)),
        ((4.0, 6.0), EventClips(pad=0.5), (3.5, 6.5)),
        ((4.0, 4.0), EventClips(shortest_clip=2.0), (3.0, 5.0)),
        ((4.0, 4.2), EventClips(pad=0.1, shortest_clip=2.0), (3.1, 5.1)),
        ((0.1, 0.2), EventClips(shortest_clip=2.0), (0.0, 2.0)),
        ((9.9, 10.0), EventClips(shortest_clip=2.0), (8.0, 10.0)),
        ((9.0, 30.0), EventClips(), (9.0, 10.0)),
        ((1.0, 9.0), EventClips(pad=5.0), (0.0, 10.0)),
        ((1.0, 1.0), EventClips(shortest_clip=99.0), (0.0, 10.0)),
    ],
)
def test_a_clip_holds_its_event_and_lies_in_the_recording(times, rules, span):
    assert event_spans([Annotation(*times, "a")], 10.0, rules) == [Span(*span)]


def test_a_recording_of_unknown_duration_has_no_end():
    assert event_spans([Annotation(5.0, 5.0, "a")], math.inf, EventClips()) == [Span(4.5, 5.5)]


def test_events_of_the_same_times_are_one_clip_with_all_labels():
    events = [
        Annotation(1.0, 3.0, "a"),
        Annotation(1.0, 3.0, "b"),
        Annotation(2.5, 2.5, "c"),
        Annotation(2.6, 9.0, "d"),
    ]
    spans = event_spans(events, 20.0, EventClips())
    assert spans == [Span(1.0, 3.0), Span(2.0, 3.0), Span(2.6, 9.0)]
    # half of c's clip is within a and b; less than half of d's is in it
    assert labels_of(spans, events) == [("a", "b", "c"), ("a", "b", "c"), ("d",)]


def test_a_long_event_labels_the_clips_within_it():
    events = [Annotation(0.0, 60.0, "rain"), Annotation(30.0, 31.0, "dog"), Annotation(59.8, 61.0, "cat")]
    spans = event_spans(events, 90.0, EventClips())
    assert labels_of(spans, events) == [("rain", "dog"), ("rain", "dog"), ("cat",)]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), min_size=1, max_size=20))
def test_the_labels_are_those_of_a_slow_comparison(times):
    events = [Annotation(a / 10, (a + n) / 10, str(i)) for i, (a, n) in enumerate(times)]
    spans = event_spans(events, 40.0, EventClips(pad=0.1))
    for span, labels in zip(spans, labels_of(spans, events), strict=True):
        wanted = {
            e.label
            for e in events
            if min(e.offset, span.offset) - max(e.onset, span.onset)
            >= min(e.offset - e.onset, span.offset - span.onset) / 2
        }
        assert set(labels) == wanted and labels
        assert 0 <= span.onset < span.offset <= 40 and span.offset - span.onset >= 1 - 1e-6


def test_free_parts_are_away_from_all_events():
    events = [Annotation(8.0, 9.0, "a"), Annotation(2.0, 5.0, "a"), Annotation(3.0, 4.0, "b")]
    assert free_parts(events, 20.0, 0.5) == [Span(0.0, 1.5), Span(5.5, 7.5), Span(9.5, 20.0)]
    near = [Annotation(1.0, 2.0, "a"), Annotation(2.8, 3.0, "a")]
    assert free_parts(near, 4.0, 0.5) == [Span(0.0, 0.5), Span(3.5, 4.0)]
    assert free_parts([], 20.0, 0.5) == [Span(0.0, 20.0)]
    assert free_parts([Annotation(0.0, 20.0, "a")], 20.0, 0.0) == []


def test_drawn_spans_lie_in_their_parts_and_do_not_overlap():
    parts = [Span(0.0, 5.0), Span(6.0, 6.5), Span(10.0, 30.0)]
    drawn = draw_spans(parts, [1.0, 2.0], 10, np.random.default_rng(1))
    assert len(drawn) == 10 and drawn == draw_spans(parts, [1.0, 2.0], 10, np.random.default_rng(1))
    assert drawn == sorted(drawn) and {index for index, _ in drawn} == {0, 2}
    for (index, span), (_, after) in zip(drawn, [*drawn[1:], (9, Span(99.0, 99.0))], strict=True):
        assert parts[index].onset <= span.onset and span.offset <= parts[index].offset and span.offset <= after.onset
    assert len(draw_spans(parts, [4.0], 10, np.random.default_rng(1))) < 7
    assert draw_spans([], [1.0], 3, np.random.default_rng(1)) == []


@pytest.mark.parametrize("name", ["pad", "negatives", "shortest_clip"])
def test_impossible_rules_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        EventClips(**{name: -1 if name == "negatives" else -1.0})
