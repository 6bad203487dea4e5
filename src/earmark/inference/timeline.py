"""Scores over time, and the events in them, found at once or as the scores come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Bool, Float

from earmark.errors import ConfigError

DEFAULT_THRESHOLD: Final = 0.5
"""Where neither the caller nor the checkpoint knows a better one."""
RELEASE: Final = 0.5
"""An event that has begun lasts while its label scores this share of the threshold: one that wavers is still one."""
NO_THRESHOLDS: Final = (
    "the model has no thresholds of its own for 'auto'; give a score, or calibrate the model by `earmark calibrate`"
)
Threshold = float | Sequence[float] | Literal["auto"] | None
"""One score for all labels, one for each, those of the checkpoint, or (None) those if there are any."""


@dataclass(frozen=True)
class Event:
    """A stretch of a recording in which a label was heard."""

    label: str
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""
    score: float
    """The highest score of the windows it is made of."""


def label_thresholds(threshold: Threshold, known: Sequence[float] | None, n_labels: int) -> Float[np.ndarray, " label"]:
    """The threshold of each label.

    Args:
        threshold: What the caller wants.
        known: Those of the checkpoint, taken where the caller has no wish; without them `DEFAULT_THRESHOLD` is.
        n_labels: How many labels there are.

    Raises:
        ConfigError: A threshold is no score, there is not one for each label, or none that `auto` could take.
    """
    if isinstance(threshold, str):
        if threshold != "auto":
            raise ConfigError(f"a score from 0 to 1 or 'auto' was expected, not {threshold!r}", "threshold")
        if known is None:
            raise ConfigError(NO_THRESHOLDS, "threshold")
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
    """Refuses what is no share of a threshold.

    Raises:
        ConfigError: It is none.
    """
    if not 0 < release <= 1:
        raise ConfigError(f"a share of the threshold above 0, up to 1, was expected, not {release:g}", "release")


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores of a window that slides over a recording."""

    onsets: Float[np.ndarray, " window"]
    """Seconds at which each window starts."""
    scores: Float[np.ndarray, "window label"]
    labels: tuple[str, ...]
    window: float
    """Seconds; windows that would run past the end of the recording are cut there."""
    hop: float
    """Seconds from window to window."""
    duration: float
    """Seconds of the recording."""
    thresholds: tuple[float, ...] | None = None
    """The checkpoint's, one for each label; None where it has none."""

    def events(self, threshold: Threshold = None, release: float = RELEASE) -> list[Event]:
        """Stretches in which a label is heard, in the order of their onsets.

        Each window speaks for the moments that are nearer to its middle than to the middle of any other window, so
        events of one label never overlap. Neighbouring windows that score `release` times the threshold or more are
        one event, if one of them reaches the threshold itself.

        Args:
            threshold: One score for all labels, or one for each; `auto` for the checkpoint's own, which are taken when
                it is missing too, or `DEFAULT_THRESHOLD` where it has none.
            release: 1 ends an event as soon as the score falls below the threshold.

        Raises:
            ConfigError: A threshold is no score, or `release` no share of it.
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
        """Onset and offset (s) of the moments that each window speaks for, each (window,); never of what none heard."""
        ends = np.minimum(self.onsets + self.window, self.duration)
        middles = (self.onsets + ends) / 2
        borders = (middles[1:] + middles[:-1]) / 2
        starts = np.concatenate([self.onsets[:1], np.maximum(borders, self.onsets[1:])])
        stops = np.concatenate([np.minimum(borders, ends[:-1]), ends[-1:]])
        return starts, stops


def _runs(active: Bool[np.ndarray, " window"]) -> list[tuple[int, int]]:
    """First and one past the last of each run of True."""
    steps = np.diff(active.astype(np.int8), prepend=0, append=0)
    return list(zip(np.flatnonzero(steps > 0).tolist(), np.flatnonzero(steps < 0).tolist(), strict=True))


class EventFinder:
    """The events of `Timeline.events` while the scores come: each is given once, when it has ended.

    Args:
        labels: Names of the labels.
        thresholds: One for each.
        release: As in `Timeline.events`.
    """

    def __init__(self, labels: Sequence[str], thresholds: Float[np.ndarray, " label"], release: float) -> None:
        check_release(release)
        self._labels = labels
        self._thresholds = thresholds
        self._release = release * thresholds
        self._onsets = np.zeros(len(labels))
        self._offsets = np.zeros(len(labels))
        self._best = np.full(len(labels), -np.inf)  # of the run under way; there is none where it is -inf

    @property
    def sounding(self) -> list[Event]:
        """The events under way, up to what is known of them."""
        return self._events(self._best >= self._thresholds)

    def push(self, onset: float, offset: float, scores: Float[np.ndarray, " label"]) -> list[Event]:
        """Takes the scores of the moments from `onset` to `offset`; gives the events that ended before."""
        ended = self.ended_by(scores)
        held = scores >= self._release
        running = self._best > -np.inf
        self._onsets[held & ~running] = onset
        self._offsets[held] = offset
        self._best[held] = np.maximum(self._best[held], scores[held])
        return ended

    def ended_by(self, scores: Float[np.ndarray, " label"]) -> list[Event]:
        """The events that do not go on where the next moments score this; they are not given again."""
        return self._take((self._best > -np.inf) & (scores < self._release))

    def finish(self) -> list[Event]:
        """The events that end with the recording."""
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
