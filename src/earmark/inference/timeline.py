"""Scores over time, and the events in them: of a whole timeline, or as the scores come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from earmark.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

DEFAULT_THRESHOLD: Final = 0.5
"""Threshold of all labels if neither the caller nor the checkpoint gives one."""
RELEASE: Final = 0.5
"""Fraction of the threshold at which an event ends, so that a fluctuating score gives one event, not several."""
Threshold = float | Sequence[float] | Literal["auto"] | None
"""One score for all labels, one per label, `auto` for the checkpoint's, or None for the checkpoint's if it has any."""


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


def label_thresholds(threshold: Threshold, known: Sequence[float] | None, n_labels: int) -> Float[np.ndarray, " label"]:
    """The threshold of each label.

    Args:
        threshold: The caller's choice; None takes `known`, or else `DEFAULT_THRESHOLD`.
        known: The checkpoint's thresholds.
        n_labels: Number of labels.

    Raises:
        ConfigError: A threshold is not a score, their number is wrong, or `auto` is given without `known`.
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
    chosen = threshold if threshold is not None else known if known is not None else DEFAULT_THRESHOLD
    thresholds = np.asarray(chosen, np.float64)
    if thresholds.ndim and thresholds.shape != (n_labels,):
        raise ConfigError(
            f"one score or one for each of the {n_labels} labels was expected, not {thresholds.size}", "threshold"
        )
    outside = thresholds[~((thresholds >= 0) & (thresholds <= 1))]
    if outside.size:
        raise ConfigError(f"a score from 0 to 1 was expected, not {outside.flat[0]:g}", "threshold")
    return np.broadcast_to(thresholds, (n_labels,))


def check_release(release: float) -> None:
    """Checks that `release` is a fraction of the threshold.

    Raises:
        ConfigError: It is not above 0, or exceeds 1.
    """
    if not 0 < release <= 1:
        raise ConfigError(f"a share of the threshold above 0, up to 1, was expected, not {release:g}", "release")


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores of windows that slide over a recording."""

    onsets: Float[np.ndarray, " window"]
    """Seconds at which each window starts."""
    scores: Float[np.ndarray, "window label"]
    labels: tuple[str, ...]
    window: float
    """Seconds; the end of the recording cuts the last windows off."""
    hop: float
    """Seconds from window to window."""
    duration: float
    """Seconds of the recording."""
    thresholds: tuple[float, ...] | None = None
    """The checkpoint's threshold of each label; None where it has none."""

    def events(self, threshold: Threshold = None, release: float = RELEASE) -> list[Event]:
        """Events by onset.

        The scores of a window count for its cell: the times nearer to its middle than to any other window's middle. So
        events of one label never overlap. Consecutive windows that score at least `release` times the threshold are
        one event if any of them reaches the threshold.

        Args:
            threshold: One score for all labels, or one per label; `auto` takes the checkpoint's thresholds. When
                missing, the checkpoint's thresholds, or `DEFAULT_THRESHOLD` where it has none.
            release: Fraction of the threshold at which an event ends; 1 ends it as soon as the score falls below the
                threshold.

        Raises:
            ConfigError: A threshold is not a score, or `release` is not a fraction of it.
        """
        check_release(release)
        thresholds = label_thresholds(threshold, self.thresholds, len(self.labels))
        starts, stops = self.cells()
        found: list[tuple[float, int, Event]] = []
        reached, held = self.scores >= thresholds, self.scores >= release * thresholds
        for label in np.flatnonzero(reached.any(axis=0)).tolist():
            for first, end in _runs(held[:, label]):
                if not reached[first:end, label].any():
                    continue
                onset, offset = float(starts[first]), float(stops[end - 1])
                score = float(self.scores[first:end, label].max())
                found.append((onset, label, Event(self.labels[label], onset, offset, score)))
        return [event for _, _, event in sorted(found, key=lambda item: item[:2])]

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Onsets and offsets (s) of the windows' cells (`events`), each (window,); gaps are in no cell."""
        ends = np.minimum(self.onsets + self.window, self.duration)
        middles = (self.onsets + ends) / 2
        borders = (middles[1:] + middles[:-1]) / 2
        starts = np.concatenate([self.onsets[:1], np.maximum(borders, self.onsets[1:])])
        stops = np.concatenate([np.minimum(borders, ends[:-1]), ends[-1:]])
        return starts, stops


def _runs(active: Bool[np.ndarray, " window"]) -> list[tuple[int, int]]:
    """Start and stop index of each run of True."""
    steps = np.diff(active.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist(), strict=True))


class EventFinder:
    """Finds the events of `Timeline.events` as the scores come; returns each once, when it has ended.

    Args:
        labels: Names of the labels.
        thresholds: Threshold of each label.
        release: As in `Timeline.events`.
    """

    def __init__(self, labels: Sequence[str], thresholds: Float[np.ndarray, " label"], release: float) -> None:
        check_release(release)
        self._labels = labels
        self._thresholds = thresholds
        self._release = release * thresholds
        self._onsets = np.zeros(len(labels))
        self._offsets = np.zeros(len(labels))
        self._best = np.full(len(labels), -np.inf)  # best score of the current run; -inf: no run

    @property
    def sounding(self) -> list[Event]:
        """Events that have not ended, with their times and scores so far."""
        return self._events(self._best >= self._thresholds)

    def push(self, onset: float, offset: float, scores: Float[np.ndarray, " label"]) -> list[Event]:
        """Takes the scores from `onset` to `offset`; returns the events that ended before `onset`."""
        ended = self.ended_by(scores)
        held = scores >= self._release
        running = self._best > -np.inf
        self._onsets[held & ~running] = onset
        self._offsets[held] = offset
        self._best[held] = np.maximum(self._best[held], scores[held])
        return ended

    def ended_by(self, scores: Float[np.ndarray, " label"]) -> list[Event]:
        """Events that end before these scores; they are not returned again."""
        return self._take((self._best > -np.inf) & (scores < self._release))

    def finish(self) -> list[Event]:
        """Events that end with the recording."""
        return self._take(self._best > -np.inf)

    def _take(self, chosen: Bool[np.ndarray, " label"]) -> list[Event]:
        events = self._events(chosen & (self._best >= self._thresholds))
        self._best[chosen] = -np.inf
        return events

    def _events(self, chosen: Bool[np.ndarray, " label"]) -> list[Event]:
        found = [
            Event(self._labels[i], float(self._onsets[i]), float(self._offsets[i]), float(self._best[i]))
            for i in np.flatnonzero(chosen).tolist()
        ]
        return sorted(found, key=lambda event: event.onset)
