"""Recordings to tags, timelines and evidence, by any engine that can encode a recording and classify its segments."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from earmark.audio import Audio, load_audio
from earmark.errors import AudioError, ConfigError
from earmark.labels import LabelSet

SHORTEST_HOP: Final = 0.001
"""Seconds; below it a timeline would only repeat itself until memory is full."""
_VALUES_PER_CALL: Final = 2**24
"""Bags x segments x channels of one call of `classify`: 64 MiB of float32."""


@runtime_checkable
class Engine(Protocol):
    """What a Tagger needs of a network: arrays in, arrays out, one recording at a time."""

    labels: LabelSet
    sample_rate: int
    seconds_per_segment: float

    def encode(self, waveform: Float[np.ndarray, " sample"]) -> Float[np.ndarray, "segment channel"]: ...

    def classify(
        self, segments: Float[np.ndarray, "segment channel"], masks: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]: ...

    def pool(
        self, segments: Float[np.ndarray, "segment channel"], masks: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]: ...

    def attention(self, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "head segment"]: ...


@dataclass(frozen=True)
class Tag:
    """A label that a recording may bear, and how much speaks for it."""

    label: str
    score: float
    """From 0 to 1."""


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

    def events(self, threshold: float = 0.5) -> list[Event]:
        """Stretches in which a label scores `threshold` or more, in the order of their onsets.

        Each window speaks for the moments that are nearer to its middle than to the middle of any other window, so
        events of one label never overlap. Neighbouring windows that reach the threshold are one event.

        Raises:
            ConfigError: The threshold is no score.
        """
        _check_threshold(threshold)
        starts, stops = self.cells()
        found: list[tuple[float, int, Event]] = []
        active = self.scores >= threshold
        for label in np.flatnonzero(active.any(axis=0)).tolist():
            # +1 where a run of active windows begins, -1 one past its last window
            steps = np.diff(active[:, label].astype(np.int8), prepend=0, append=0)
            for first, end in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True):
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


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much each segment of a recording carried one tag."""

    label: str
    onsets: Float[np.ndarray, " segment"]
    """Seconds."""
    offsets: Float[np.ndarray, " segment"]
    """Seconds."""
    weights: Float[np.ndarray, " segment"]
    """How far the logit of the label falls when this one segment is left out: positive for a segment that spoke for
    the label, negative for one that spoke against it. Exact, not a gradient. (The segments on either side have heard
    some of what a segment covers.)"""
    attention: Float[np.ndarray, "head segment"] | None
    """The weights of the pooling, summing to 1 per head; None when it pays no attention."""
    score: float
    """Of the label for the whole recording, from 0 to 1."""


class Tagger:
    """Tags recordings: paths of audio files of any common format, or `earmark.Audio`.

    Args:
        engine: A network behind `encode` and `classify`, such as `earmark.network.TorchEngine`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        engine, n_labels = type(self.engine).__name__, len(self.labels)
        return f"Tagger({engine}: {n_labels} labels, {self.sample_rate} Hz, {self.seconds_per_segment:g} s a segment)"

    @property
    def labels(self) -> LabelSet:
        """What this tagger can hear."""
        return self.engine.labels

    @property
    def sample_rate(self) -> int:
        """Hz at which the network listens; recordings are resampled to it."""
        return self.engine.sample_rate

    @property
    def seconds_per_segment(self) -> float:
        """The finest step in which this tagger can tell moments apart."""
        return self.engine.seconds_per_segment

    def tag(
        self, audio: Audio | str | os.PathLike[str], *, top: int | None = None, threshold: float | None = None
    ) -> list[Tag]:
        """The tags of a whole recording, by falling score.

        Args:
            audio: The recording.
            top: As many tags, whatever their scores; 5 unless a threshold is given.
            threshold: All tags that score this or more, however many.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `top` and `threshold` are both given, or outside what they can be.
        """
        n_tags = _n_tags(top, threshold, len(self.labels))
        segments = self.engine.encode(_mono(audio, self.sample_rate).waveform)
        scores = _sigmoid(self.engine.classify(segments))[0]
        order = np.argsort(-scores, kind="stable")[:n_tags].tolist()
        names = self.labels.names
        return [Tag(names[i], float(scores[i])) for i in order if threshold is None or scores[i] >= threshold]

    def timeline(self, audio: Audio | str | os.PathLike[str], *, window: float = 2.0, hop: float = 0.4) -> Timeline:
        """Scores over time; the network runs once, whatever window and hop.

        Window k starts at k x hop and pools the segments whose middle lies in it. Windows that start near the end of
        the recording are cut there; each has at least one segment.

        Args:
            audio: The recording.
            window: Seconds that are pooled for one row of scores.
            hop: Seconds from window to window.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: The window is shorter than one segment, or the hop too short.
        """
        _check_seconds("hop", hop, SHORTEST_HOP)
        _check_seconds("window", window, self.seconds_per_segment)
        recording = _mono(audio, self.sample_rate)
        segments = self.engine.encode(recording.waveform)
        onsets, offsets = self._spans(len(segments), recording.duration)
        windows, first, end = _windows((onsets + offsets) / 2, window, hop)
        # windows closer than the segments hold the same ones: each different window is classified once
        bags, inverse = np.unique(np.stack([first, end], axis=1), axis=0, return_inverse=True)
        logits = [self._classify_ranges(segments, bags[rows]) for rows in _batches(bags, segments.shape[1])]
        scores = _sigmoid(np.concatenate(logits))[inverse.reshape(-1)]
        return Timeline(windows, scores, self.labels.names, window, hop, recording.duration)

    def evidence(self, audio: Audio | str | os.PathLike[str], label: str) -> Evidence:
        """How much each segment of a recording carried one tag: what its logit loses when the segment is left out.

        Args:
            audio: The recording.
            label: Name or id of the label.

        Raises:
            AudioError: The recording cannot be read, is a bare array, or so short that it is a single segment.
            DataError: There is no such label.
        """
        index = self.labels.index(label)
        recording = _mono(audio, self.sample_rate)
        segments = self.engine.encode(recording.waveform)
        n_segments = len(segments)
        if n_segments < 2:
            named = "" if isinstance(audio, Audio) else f"{os.fspath(audio)}: "
            raise AudioError(
                f"{named}evidence leaves out one segment of {self.seconds_per_segment:g} s at a time, and "
                f"{recording.duration:.2f} s are only one; a longer recording was expected"
            )
        whole = self.engine.classify(segments)[0]
        n_bags = max(1, _VALUES_PER_CALL // segments.size)
        without = np.concatenate(
            [
                # every segment but one: row k of this block misses segment start + k
                self.engine.classify(segments, ~np.eye(min(n_bags, n_segments - start), n_segments, start, dtype=bool))
                for start in range(0, n_segments, n_bags)
            ]
        )[:, index]
        onsets, offsets = self._spans(n_segments, recording.duration)
        score, weights = float(_sigmoid(whole)[index]), whole[index] - without
        return Evidence(self.labels.names[index], onsets, offsets, weights, self._attention(segments), score)

    def embed(self, audio: Audio | str | os.PathLike[str]) -> Float[np.ndarray, " feature"]:
        """The pooled clip, of which the classifier makes the logits: similar recordings lie close together.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
        """
        embedding: np.ndarray = self.engine.pool(self.engine.encode(_mono(audio, self.sample_rate).waveform))[0]
        return embedding

    def _spans(self, n_segments: int, duration: float) -> tuple[np.ndarray, np.ndarray]:
        """Onset and offset of each segment; the last one ends with the recording."""
        borders = np.arange(n_segments + 1) * self.seconds_per_segment
        return borders[:-1], np.minimum(borders[1:], duration)

    def _classify_ranges(self, segments: np.ndarray, ranges: np.ndarray) -> np.ndarray:
        """Logits of the bags `segments[first:end]`, (bag, 2), without touching segments that none of them holds."""
        start, stop = ranges[:, 0].min(), ranges[:, 1].max()
        places = np.arange(start, stop)
        return self.engine.classify(segments[start:stop], (places >= ranges[:, :1]) & (places < ranges[:, 1:]))

    def _attention(self, segments: np.ndarray) -> np.ndarray | None:
        try:
            return self.engine.attention(segments)
        except ConfigError:
            return None  # this pooling pays none


def _mono(audio: object, sample_rate: int) -> Audio:
    """The recording as one channel at `sample_rate`. Takes any object, to say what is wrong with it."""
    if isinstance(audio, Audio):
        return audio.mono(sample_rate)
    if isinstance(audio, str | os.PathLike):
        return load_audio(os.fspath(audio), sample_rate)
    raise AudioError(
        f"a path or earmark.Audio(waveform, sample_rate) was expected, not {type(audio).__name__}: "
        "samples alone do not say how fast they were taken"
    )


def _n_tags(top: int | None, threshold: float | None, n_labels: int) -> int:
    if top is not None and threshold is not None:
        raise ConfigError("top and threshold exclude each other: give one of them")
    if threshold is not None:
        _check_threshold(threshold)
        return n_labels
    n_tags = 5 if top is None else top
    if n_tags < 1:
        raise ConfigError(f"top: a positive whole number was expected, not {n_tags}")
    return n_tags


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold: a score from 0 to 1 was expected, not {threshold:g}")


def _check_seconds(name: str, seconds: float, least: float) -> None:
    if not least * (1 - 1e-9) <= seconds < math.inf:
        reason = ", the length of one segment of this model" if name == "window" else ""
        raise ConfigError(f"{name}: at least {least:g} s{reason} was expected, not {seconds:g}")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    scores: np.ndarray = np.exp(-np.logaddexp(0.0, -logits))  # neither overflows nor loses small scores
    return scores


def _windows(
    middles: Float[np.ndarray, " segment"], window: float, hop: float
) -> tuple[Float[np.ndarray, " window"], Int[np.ndarray, " window"], Int[np.ndarray, " window"]]:
    """Onset of each window, its first segment and the one after its last.

    >>> _windows(np.array([0.2, 0.6, 1.0]), window=0.8, hop=0.4)
    (array([0. , 0.4, 0.8]), array([0, 1, 2]), array([2, 3, 3]))
    """
    slack = 1e-6  # seconds: a middle on the border of two windows is of the later one, whatever the rounding
    n_windows = math.floor((middles[-1] + slack) / hop) + 1
    onsets = np.arange(n_windows) * hop
    first, end = np.searchsorted(middles, onsets - slack), np.searchsorted(middles, onsets + window - slack)
    return onsets, first, np.maximum(end, first + 1)  # a window of one segment's length must not miss it by rounding


def _batches(ranges: Int[np.ndarray, "bag 2"], n_channels: int) -> Iterator[slice]:
    """Rows of `ranges`, rising, to classify in one call: few enough that the masked copies stay small."""
    edges = [0]
    for row, end in enumerate(ranges[:, 1].tolist()):
        n_segments = end - int(ranges[edges[-1], 0])
        if row > edges[-1] and (row + 1 - edges[-1]) * n_segments * n_channels > _VALUES_PER_CALL:
            edges.append(row)
    return (slice(start, stop) for start, stop in pairwise([*edges, len(ranges)]))
