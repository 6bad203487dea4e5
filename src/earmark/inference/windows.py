"""Sliding windows over the segments of a recording, classified as the segments come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.errors import ConfigError
from earmark.inference.engine import Engine

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SHORTEST_HOP: Final = 0.001
"""Seconds; a shorter hop would only repeat the same windows until memory is full."""
VALUES_PER_CALL: Final = 2**22
"""Maximum number of values (bags x segments x channels) in one call of `classify`: 16 MiB of float32."""
CONTEXT_MARGIN: Final = 1.0
"""Logits by which a context exceeds the threshold of a label where a window just reaches it.

Thresholds are made for clips, which have one score; a timeline has many, and each is a chance of a false event. Chosen
by measurement (results/event-decoder.md).
"""
_LONGEST: Final = 1e7
"""Seconds, four months: longer than any recording."""
_SLACK: Final = 1e-6
"""Seconds; a segment middle on the border of two windows belongs to the later one in spite of rounding."""


def seconds_per_segment(engine: Engine) -> float:
    """Length of a segment, the time resolution of an engine."""
    return engine.samples_per_segment / engine.sample_rate


class SlidingWindows:
    """Logits of windows: window k starts at k x hop and pools the segments whose middle lies in it, at least one.

    With a context, a longer window around each window is pooled too. A label then has the lower of two logits: that of
    the window, and that of the context less `CONTEXT_MARGIN`. So the context decides which labels sound, and the window
    decides when. Pooled segments are dropped, so memory does not grow with the recording.

    Args:
        engine: The network.
        window: Seconds.
        hop: Seconds from window to window.
        cut: Whether windows that reach beyond the end of the recording count; they are cut off there.
        context: Seconds around the middle of a window, cut off at both ends of the recording; none if it is not longer
            than the window.

    Raises:
        ConfigError: The window is shorter than one segment, the hop is too short, or one of the three is too long.
    """

    def __init__(self, engine: Engine, window: float, hop: float, cut: bool = True, context: float = 0.0) -> None:
        check_seconds("hop", hop, SHORTEST_HOP)
        check_seconds("window", window, seconds_per_segment(engine), ", the length of one segment of this model")
        check_seconds("context", context, 0.0)
        self._engine = engine
        self._hop, self._cut = hop, cut
        # start from the onset of a window, and length
        self._spans = np.array([(0.0, window), ((window - context) / 2, context)][: 1 + (context > window)])
        self._step = seconds_per_segment(engine)
        self._segments: list[np.ndarray] = []
        self._n_dropped = 0
        self._n_segments = 0
        self.n_windows = 0
        """Number of windows returned so far, the index of the next one."""

    def push(self, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "window label"]:
        """Takes segments other than the last ones; returns the logits of the windows that are now complete."""
        self._add(segments)
        # a window is complete with the last segment whose middle lies in it; no later window can be
        last = max(self.n_windows, math.floor(self._n_segments * self._step / self._hop) + 1)
        ranges = self._ranges(np.arange(self.n_windows, last + 1))
        return self._classify(ranges[: np.searchsorted(ranges[:, -1, 1], self._n_segments, side="right")])

    def finish(
        self, segments: Float[np.ndarray, "segment channel"], duration: float
    ) -> Float[np.ndarray, "window label"]:
        """Takes the last segments and returns the logits of the remaining windows.

        Args:
            segments: The last segments; none if all have been pushed.
            duration: Seconds of the recording.
        """
        self._add(segments)
        onset = (self._n_segments - 1) * self._step
        # the middle of a partial last segment lies before that of a whole one
        middle = min(onset + self._step / 2, (onset + duration) / 2)
        ranges = self._ranges(np.arange(self.n_windows, math.floor((middle + _SLACK) / self._hop) + 1))
        if not self._cut:
            ranges = ranges[ranges[:, 0, 1] <= self._n_segments]
        return self._classify(np.minimum(ranges, self._n_segments))

    def span(self, window: int) -> tuple[int, int]:
        """Start and stop index of a window's segments, among those pushed so far."""
        first, end = self._ranges(np.array([window]))[0, 0].tolist()
        return first, min(end, self._n_segments)

    def _add(self, segments: np.ndarray) -> None:
        if len(segments):
            self._segments.append(segments)
            self._n_segments += len(segments)

    def _ranges(self, windows: Int[np.ndarray, " window"]) -> Int[np.ndarray, "window span 2"]:
        """Start and stop index of the segments of each window, and of its context if there is one."""
        onsets = windows[:, None] * self._hop + self._spans[:, 0]
        first = np.ceil((onsets - _SLACK) / self._step - 0.5).astype(np.int64).clip(min=0)
        end = np.ceil((onsets + self._spans[:, 1] - _SLACK) / self._step - 0.5).astype(np.int64)
        # in spite of rounding, a window as short as a segment contains one
        return np.stack([first, np.maximum(end, first + 1)], axis=2)

    def _classify(self, ranges: Int[np.ndarray, "window span 2"]) -> Float[np.ndarray, "window label"]:
        if not len(ranges):
            return np.zeros((0, len(self._engine.labels)), np.float32)
        self.n_windows += len(ranges)
        segments = np.concatenate(self._segments)
        logits = [self._pool(segments, ranges[:, span] - self._n_dropped) for span in range(len(self._spans))]
        n_done = min(int(self._ranges(np.array([self.n_windows]))[0, -1, 0]), self._n_segments) - self._n_dropped
        self._segments = [segments[n_done:]]
        self._n_dropped += n_done
        lowest: np.ndarray = np.minimum(logits[0], logits[-1] - CONTEXT_MARGIN) if len(logits) > 1 else logits[0]
        return lowest

    def _pool(self, segments: np.ndarray, ranges: Int[np.ndarray, "window 2"]) -> np.ndarray:
        """Logits of ranges of the segments."""
        # a hop shorter than a segment repeats windows: each different one is classified once
        bags, inverse = np.unique(ranges, axis=0, return_inverse=True)
        longest = int((bags[:, 1] - bags[:, 0]).max())
        n_bags = max(1, VALUES_PER_CALL // (longest * segments.shape[1]))
        logits = [self._classify_bags(segments, bags[at : at + n_bags]) for at in range(0, len(bags), n_bags)]
        return np.concatenate(logits)[inverse.reshape(-1)]

    def _classify_bags(self, segments: np.ndarray, bags: Int[np.ndarray, "bag 2"]) -> np.ndarray:
        first, lengths = bags[:, :1], bags[:, 1] - bags[:, 0]
        places = np.arange(lengths.max())
        mask = places < lengths[:, None]
        gathered = segments[np.minimum(first + places, len(segments) - 1)]
        return self._engine.classify(gathered, None if mask.all() else mask)


def check_seconds(name: str, seconds: float, least: float, reason: str = "") -> None:
    """Checks a time in seconds.

    Raises:
        ConfigError: It is too short, too long, or not a number; the text starts with `name`.
    """
    if not least * (1 - 1e-9) <= seconds <= _LONGEST:
        raise ConfigError(f"at least {least:g} s{reason} was expected, up to {_LONGEST:g}, not {seconds:g}", name)


def sigmoid(logits: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Scores from logits, in single precision."""
    # this form neither overflows nor rounds small scores to 0
    scores: np.ndarray = np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))).astype(np.float32)
    return scores
