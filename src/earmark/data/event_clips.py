"""Clips made from the events of recordings: their times, their labels, and clips without any event."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Final, NamedTuple

import numpy as np

from earmark.annotations.events import Annotation
from earmark.errors import Limit, check_settings

_COVERED: Final = 0.5
"""Share of an event, or of the clip where that is shorter, that a clip needs to have the event's label."""
_TRIES: Final = 100
"""Times that are drawn for a clip without events before its number is given up."""


@dataclass(frozen=True)
class EventClips:
    """How the annotations of `raven:`, `audacity:`, `dcase:` and `label-studio:` become clips."""

    pad: Annotated[float, Limit(at_least=0)] = 0.0
    """Seconds that a clip begins before its annotation and ends after it."""
    shortest_clip: Annotated[float, Limit(above=0)] = 1.0
    """Shortest clip in seconds; shorter annotations lie in the middle of their clips."""
    negatives: Annotated[int, Limit(at_least=0)] = 0
    """Number of clips without a label from parts without annotations, with the durations of the other clips."""
    audio: str | None = None
    """Folder of the recordings that the annotations name; by default the folder of the annotations."""
    label_column: str | None = None
    """Column of the labels in Raven's tables; by default Annotation, Label, Species, Common Name or similar."""

    def __post_init__(self) -> None:
        check_settings(self)


class Span(NamedTuple):
    """A part of a recording."""

    onset: float
    """Seconds."""
    offset: float
    """Seconds."""


def event_spans(events: Sequence[Annotation], duration: float, rules: EventClips) -> list[Span]:
    """The clips of a recording's events, by onset; events with the same times have one clip.

    Args:
        events: The events.
        duration: Seconds of the recording; infinite where it is unknown. No clip exceeds it.
        rules: How clips are made.
    """
    return sorted({_span(event, duration, rules) for event in events})


def _span(event: Annotation, duration: float, rules: EventClips) -> Span:
    onset, offset = event.onset - rules.pad, min(event.offset, duration) + rules.pad
    lacking = max(0.0, rules.shortest_clip - (offset - onset)) / 2
    onset, offset = onset - lacking, offset + lacking
    onset, offset = (0.0, max(offset, rules.shortest_clip)) if onset < 0 else (onset, offset)
    if offset > duration:
        onset, offset = max(0.0, min(onset, duration - rules.shortest_clip)), duration
    return Span(round(onset, 6), round(offset, 6))


def covered_labels(spans: Sequence[Span], events: Sequence[Annotation]) -> Iterator[tuple[str, ...]]:
    """The labels of each span: those of events of which it covers at least half, or that cover at least half of it."""
    ordered = sorted(events, key=lambda event: event.onset)
    onsets = [event.onset for event in ordered]
    latest = list(accumulate((event.offset for event in ordered), max))
    for span in spans:
        labels: dict[str, None] = {}
        first = bisect_left(latest, span.onset)  # all events before it have ended
        for event in ordered[first : bisect_left(onsets, np.nextafter(span.offset, np.inf))]:
            overlap = min(event.offset, span.offset) - max(event.onset, span.onset)
            if overlap >= _COVERED * min(event.offset - event.onset, span.offset - span.onset):
                labels[event.label] = None
        yield tuple(labels)


def free_parts(events: Sequence[Annotation], duration: float, pad: float) -> list[Span]:
    """The parts of a recording that are more than `pad` seconds away from all events."""
    parts: list[Span] = []
    end = 0.0
    for event in sorted(events, key=lambda event: event.onset):
        if event.onset - pad > end:
            parts.append(Span(end, event.onset - pad))
        end = max(end, event.offset + pad)
    return [*parts, Span(end, duration)] if end < duration else parts


def draw_spans(
    parts: Sequence[Span], lengths: Sequence[float], n: int, generator: np.random.Generator
) -> list[tuple[int, Span]]:
    """At most `n` spans within parts, with the indices of their parts, in the order of the parts; they do not overlap.

    Fewer are drawn where no more find room.

    Args:
        parts: The parts.
        lengths: Seconds; each span has one of these lengths, drawn at random.
        n: Wanted number.
        generator: Draws lengths and times.
    """
    drawn: dict[int, list[Span]] = {}
    ends = np.cumsum([part.offset - part.onset for part in parts])
    n_drawn = 0
    for _ in range(_TRIES * n if len(ends) else 0):
        if n_drawn == n:
            break
        length = lengths[int(generator.integers(len(lengths)))]
        index = int(np.searchsorted(ends, generator.uniform(0, ends[-1]), side="right"))
        index = min(index, len(parts) - 1)
        room = parts[index].offset - parts[index].onset - length
        if room < 0:
            continue
        onset = round(parts[index].onset + generator.uniform(0, room), 6)
        span = Span(onset, round(onset + length, 6))
        others = drawn.setdefault(index, [])
        if all(span.offset <= other.onset or other.offset <= span.onset for other in others):
            others.append(span)
            n_drawn += 1
    return [(index, span) for index in sorted(drawn) for span in sorted(drawn[index])]
