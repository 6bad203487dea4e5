"""Events in scores over time: settings, and the finder that timelines and streams share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np

from earmark.errors import ConfigError, Limit, check_settings
from earmark.labels import LabelSet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

DEFAULT_THRESHOLD: Final = 0.5
"""Threshold of all labels if neither the caller nor the checkpoint gives one."""
SECONDS_PER_HOUR: Final = 3600.0
_LARGEST_CUT: Final = 0.25
"""Largest part of an event's cells that is cut off at each end."""
_SLACK: Final = 1e-6
"""Seconds; times that differ by less count as equal, so that rounding decides nothing."""

Threshold = float | Sequence[float] | Mapping[str, float] | Literal["auto"] | None
"""One score for all labels, one per label, `auto` for the checkpoint's, or None for the checkpoint's if it has any.

In a mapping, a label is given by name or id; the labels that it lacks have the threshold that None gives them.
"""


@dataclass(frozen=True)
class Event:
    """A label with onset and offset."""

    label: str
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""
    score: float
    """Highest score of its windows."""


@dataclass(frozen=True)
class EventSettings:
    """Rules by which scores become events, applied to each label in this order:

    1. Consecutive windows that score at least `release` times the threshold are an event if any of them reaches the
       threshold. Its cells (`Timeline.cells`) last from the start of the first window's to the end of the last one's.
       Windows that overlap score high as soon as a part of a sound lies in them, so the event is shorter than its
       cells: by `trim_of` at each end, at most by a quarter. It keeps the start or the end of the recording.
    2. Events at most `max_gap` seconds apart become one.
    3. Events shorter than `min_duration` are dropped.
    4. Events are lengthened by `pad` on both sides, within the recording. Those that then touch become one.

    Last, `per_hour` keeps the best events of all labels. The score of an event is the highest score of its windows.
    Times that differ by less than a microsecond count as equal.

    Raises:
        ConfigError: A setting is outside its limits, or `labels` is empty.
    """

    labels: Sequence[str] | None = None
    """Labels that have events, by name or id; all when None."""
    threshold: Threshold = None
    """Score that an event reaches."""
    release: Annotated[float, Limit(above=0, at_most=1)] = 0.8
    """Fraction of the threshold at which an event ends, so that a fluctuating score gives one event, not several.

    1 ends it as soon as the score falls below the threshold.
    """
    min_duration: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Seconds that an event lasts at least, before padding."""
    max_gap: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Seconds between two events of one label that are bridged."""
    pad: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Seconds added before and after each event."""
    per_hour: Annotated[int | None, Limit(at_least=1)] = None
    """Number of events kept in each hour of the recording: those with the highest scores; all when None.

    Hours count from the start of the recording, and an event belongs to the hour of its onset. Among equal scores the
    earlier event is kept.
    """

    def __post_init__(self) -> None:
        check_settings(self)
        if isinstance(self.labels, str) or (self.labels is not None and not self.labels):
            raise ConfigError(f"a list of at least one label was expected, not {self.labels!r}", "labels")

    def replaced(self, threshold: Threshold = None, release: float | None = None) -> EventSettings:
        """The settings with another threshold and release, unless these are None.

        Raises:
            ConfigError: The release is outside its limits.
        """
        given: dict[str, Any] = {"threshold": threshold, "release": release}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def delay(self) -> float:
        """Seconds that a stream waits after the last window of an event until no later sound can change it.

        A sound of the label that begins in this time keeps it waiting. With `per_hour`, the events of an hour also wait
        for the end of the hour.
        """
        return max(self.max_gap, 2 * self.pad)

    def columns(self, labels: LabelSet) -> Int[np.ndarray, " chosen"]:
        """Positions of the chosen labels among the labels of a model, in its order.

        Raises:
            DataError: There is no such label.
        """
        chosen = labels if self.labels is None else self.labels
        return np.array(sorted({labels.index(label) for label in chosen}), np.int64)


def label_thresholds(
    threshold: Threshold, known: Sequence[float] | None, labels: LabelSet
) -> Float[np.ndarray, " label"]:
    """The threshold of each label.

    Args:
        threshold: The caller's choice; None takes `known`, or else `DEFAULT_THRESHOLD`.
        known: The checkpoint's thresholds.
        labels: Labels of the model.

    Raises:
        ConfigError: A threshold is not a score, their number is wrong, or `auto` is given without `known`.
        DataError: A mapping has a label that the model lacks.
    """
    if isinstance(threshold, str):
        if threshold != "auto":
            raise ConfigError(f"a score from 0 to 1 or 'auto' was expected, not {threshold!r}", "threshold")
        if known is None:
            raise ConfigError(
                "the model has no thresholds of its own for 'auto'; give a score, or calibrate the model by `earmark "
                "calibrate`",
                "threshold",
            )
        threshold = None
    if isinstance(threshold, Mapping):
        chosen = label_thresholds(None, known, labels).copy()
        for label, score in threshold.items():
            chosen[labels.index(label)] = score
        threshold = chosen.tolist()
    thresholds = np.asarray(
        threshold if threshold is not None else known if known is not None else DEFAULT_THRESHOLD, np.float64
    )
    if thresholds.ndim and thresholds.shape != (len(labels),):
        raise ConfigError(
            f"one score or one for each of the {len(labels)} labels was expected, not {thresholds.size}", "threshold"
        )
    outside = thresholds[~((thresholds >= 0) & (thresholds <= 1))]
    if outside.size:
        raise ConfigError(f"a score from 0 to 1 was expected, not {outside.flat[0]:g}", "threshold")
    return np.broadcast_to(thresholds, (len(labels),))


def trim_of(window: float, hop: float) -> float:
    """Seconds that are cut off each end of the cells of an event: half the overlap of neighbouring windows.

    A window scores high as soon as a part of a sound lies in it. So a sound begins about where the window before the
    first such window ends, and ends about where the window after the last one begins.
    """
    return max(0.0, (window - hop) / 2)


@dataclass
class _Span:
    """An event that may still change; times without padding."""

    start: float
    """Start of its first cell."""
    onset: float
    offset: float
    score: float

    def join(self, later: _Span) -> None:
        self.offset, self.score = later.offset, max(self.score, later.score)


class EventFinder:
    """Finds events as the scores come; returns each once, when no later score can change it.

    A label passes through three states: a run of windows above `release`, then an event that a later run may still
    join (`max_gap`), then one whose padding a later event may still touch.

    Args:
        settings: Rules of the events.
        labels: Labels of the scores.
        known: The checkpoint's thresholds.
        columns: Positions of the labels to look at; by default those of the settings.
        trim: Seconds cut off each end of the cells (`trim_of`).

    Raises:
        ConfigError: A threshold is invalid.
        DataError: A label is unknown.
    """

    def __init__(
        self,
        settings: EventSettings,
        labels: LabelSet,
        known: Sequence[float] | None,
        columns: Int[np.ndarray, " chosen"] | None = None,
        trim: float = 0.0,
    ) -> None:
        self._settings, self._trim = settings, trim
        self._columns = settings.columns(labels) if columns is None else columns
        self._names = [labels.names[column] for column in self._columns.tolist()]
        self._thresholds = label_thresholds(settings.threshold, known, labels)[self._columns]
        self._release = settings.release * self._thresholds
        self._onsets = np.zeros(len(self._names))
        self._offsets = np.zeros(len(self._names))
        self._best = np.full(len(self._names), -np.inf)  # best score of the current run; -inf: no run
        self._has_start = np.zeros(len(self._names), bool)  # a window before the current run scores lower
        self._is_first_cell = True
        self._unjoined: dict[int, _Span] = {}  # a later run may join it
        self._unpadded: dict[int, _Span] = {}  # the padding of a later event may touch its own
        self._due = np.full(len(self._names), np.inf)  # after this onset of a next run, one of the two is final
        self._hours: dict[int, list[tuple[int, Event]]] = {}  # final events of hours that have not ended

    @property
    def sounding(self) -> list[Event]:
        """Events that have not ended and last at least `min_duration` if they end now, without padding.

        The onset of such an event is the start of its first cell, which never moves; when it has ended, it begins up to
        `trim` later.
        """
        found = []
        for i in np.flatnonzero(self._best >= self._thresholds).tolist():
            span, earlier = self._run(i, has_end=True), self._unjoined.get(i)
            # the cut of a run may still grow, and then its gap to the event before
            latest = float(self._onsets[i]) + self._trim * bool(self._has_start[i])
            if earlier is not None and (latest <= self._due[i] or self._is_long(earlier)):
                span = _Span(earlier.start, earlier.onset, span.offset, max(earlier.score, span.score))
            if self._is_long(span):
                found.append((i, Event(self._names[i], span.start, span.offset, span.score)))
        return _by_onset(found)

    def begin_cell(self, onset: float, scores: Float[np.ndarray, " label"]) -> list[Event]:
        """Takes the scores of the cell that begins at `onset`; returns the events that are final by them."""
        chosen = scores[self._columns]
        held = chosen >= self._release
        running = self._best > -np.inf
        has_start, self._is_first_cell = not self._is_first_cell, False
        if not (self._unjoined or self._unpadded or self._hours or (held | running).any()):
            return []  # as in most rows
        final: list[tuple[int, Event]] = []
        for i in np.flatnonzero(running & ~held).tolist():
            final += self._end_run(i, has_end=True)
        started = held & ~running
        self._onsets[started] = self._offsets[started] = onset
        self._has_start[started] = has_start
        self._best[held] = np.maximum(self._best[held], chosen[held])
        # the next run of a label begins behind this cell, which is longer than the slack, unless it runs already
        earliest = np.where(held, self._onsets + self._cut() * self._has_start, onset + 2 * _SLACK)
        for i in np.flatnonzero(self._due < earliest).tolist():
            final += self._settle(i, float(earliest[i]))
        return self._ranked(final, onset)

    def end_cell(self, offset: float) -> None:
        """Ends the cell that began last."""
        self._offsets[self._best > -np.inf] = offset

    def finish(self, duration: float) -> list[Event]:
        """The remaining events of a recording of `duration` seconds; the last cell must have ended."""
        final: list[tuple[int, Event]] = []
        for i in np.flatnonzero(self._best > -np.inf).tolist():
            final += self._end_run(i, has_end=False)
        for i in sorted({*self._unjoined, *self._unpadded}):
            final += self._settle(i, np.inf, duration)
        return self._ranked(final, np.inf)

    def _cut(self) -> Float[np.ndarray, " label"]:
        """Seconds by which runs that end now are shorter than their cells, at each end that has one."""
        cut: np.ndarray = np.minimum(self._trim, _LARGEST_CUT * (self._offsets - self._onsets))
        return cut

    def _run(self, i: int, *, has_end: bool) -> _Span:
        """The event of a run that ends now; `has_end`: a window after it scores lower."""
        cut = float(self._cut()[i])
        start, offset = float(self._onsets[i]), float(self._offsets[i])
        return _Span(start, start + cut * bool(self._has_start[i]), offset - cut * has_end, float(self._best[i]))

    def _end_run(self, i: int, *, has_end: bool) -> list[tuple[int, Event]]:
        """Ends the run of a label: it is an event, joins the one before, or is dropped; returns an event before it."""
        run = self._run(i, has_end=has_end)
        self._best[i] = -np.inf
        if run.score < self._thresholds[i]:
            return []
        final = self._settle(i, run.onset) if run.onset > self._due[i] else []
        if i in self._unjoined:
            self._unjoined[i].join(run)
        else:
            self._unjoined[i] = run
        self._due[i] = self._joined_until(run)
        return final

    def _is_long(self, span: _Span) -> bool:
        return span.offset - span.onset >= self._settings.min_duration - _SLACK

    def _joined_until(self, span: _Span) -> float:
        return span.offset + self._settings.max_gap + _SLACK

    def _touched_until(self, span: _Span) -> float:
        return span.offset + 2 * self._settings.pad + _SLACK

    def _settle(self, i: int, earliest: float, duration: float = np.inf) -> list[tuple[int, Event]]:
        """Events of a label that are final because its next run begins at `earliest`, after `_due`, or later."""
        final = []
        span = self._unjoined.pop(i, None)
        if span is not None and self._is_long(span):
            earlier = self._unpadded.get(i)
            if earlier is not None and span.onset <= self._touched_until(earlier):
                earlier.join(span)
            else:
                final += self._padded(i, duration)
                self._unpadded[i] = span
        self._due[i] = self._touched_until(self._unpadded[i]) if i in self._unpadded else np.inf
        if earliest > self._due[i]:
            final += self._padded(i, duration)
            self._due[i] = np.inf
        return final

    def _padded(self, i: int, duration: float) -> list[tuple[int, Event]]:
        """Takes the event of a label that no later one touches; none where there is no such event."""
        span = self._unpadded.pop(i, None)
        if span is None:
            return []
        onset, offset = max(span.onset - self._settings.pad, 0.0), min(span.offset + self._settings.pad, duration)
        return [(i, Event(self._names[i], onset, offset, span.score))]

    def _ranked(self, final: list[tuple[int, Event]], now: float) -> list[Event]:
        """The final events by onset; with `per_hour`, the best of each hour that has ended."""
        if self._settings.per_hour is None:
            return _by_onset(final)
        for i, event in final:
            self._hours.setdefault(int(event.onset // SECONDS_PER_HOUR), []).append((i, event))
        if not self._hours or now < (min(self._hours) + 1) * SECONDS_PER_HOUR:
            return []
        earliest = self._earliest_onset(now)
        best: list[Event] = []
        for hour in sorted(hour for hour in self._hours if (hour + 1) * SECONDS_PER_HOUR <= earliest):
            ranked = sorted(self._hours.pop(hour), key=lambda item: (-item[1].score, item[1].onset, item[0]))
            best += _by_onset(ranked[: self._settings.per_hour])
        return best

    def _earliest_onset(self, now: float) -> float:
        """Lower limit of the onsets of all events to come."""
        running = self._onsets[self._best > -np.inf].tolist()
        waiting = [span.onset for span in (*self._unjoined.values(), *self._unpadded.values())]
        return min([now, *running, *waiting]) - self._settings.pad


def find_events(
    cells: tuple[Float[np.ndarray, " window"], Float[np.ndarray, " window"]],
    scores: Float[np.ndarray, "window label"],
    duration: float,
    settings: EventSettings,
    labels: LabelSet,
    known: Sequence[float] | None,
    trim: float = 0.0,
) -> list[Event]:
    """Events of a whole recording by onset: those that `EventFinder` returns for its rows.

    Args:
        cells: Onsets and offsets of the rows.
        scores: Scores of the rows.
        duration: Seconds of the recording.
        settings: Rules of the events.
        labels: Labels of the scores.
        known: The checkpoint's thresholds.
        trim: Seconds cut off each end of the cells (`trim_of`).

    Raises:
        ConfigError: A threshold is invalid.
        DataError: A label is unknown.
    """
    columns = settings.columns(labels)
    thresholds = label_thresholds(settings.threshold, known, labels)
    # most labels never reach their threshold; without them a row is cheap
    reached: Bool[np.ndarray, " label"] = np.any(scores >= thresholds, axis=0)
    finder = EventFinder(settings, labels, known, columns[reached[columns]], trim)
    events: list[Event] = []
    for onset, offset, row in zip(cells[0].tolist(), cells[1].tolist(), scores, strict=True):
        events += finder.begin_cell(onset, row)
        finder.end_cell(offset)
    events += finder.finish(duration)
    return sorted(events, key=lambda event: (event.onset, labels.index(event.label)))


def _by_onset(found: list[tuple[int, Event]]) -> list[Event]:
    return [event for _, event in sorted(found, key=lambda item: (item[1].onset, item[0]))]
