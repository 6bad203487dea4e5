"""Tags, scores, timelines and evidence of recordings, with any engine."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.audio.recording import Audio
from earmark.audio.tracks import Track
from earmark.errors import AudioError, ConfigError
from earmark.inference.encoded import Encoded, Recording
from earmark.inference.engine import CLIP_SECONDS, Engine, encode_blocks
from earmark.inference.events import EventSettings, Threshold, label_thresholds
from earmark.inference.evidence import Evidence, explain
from earmark.inference.sample_blocks import SampleBlocks
from earmark.inference.stream import Stream
from earmark.inference.timeline import CONTEXT_SHARE, HOP, WINDOW, Timeline
from earmark.inference.windows import SlidingWindows, seconds_per_segment, sigmoid
from earmark.labels import LabelSet

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOW_SHARE: Final = 0.4
"""Length of the windows in which a long recording is scored, as a fraction of the training clips' length."""
HOP_SHARE: Final = 0.1
"""Hop between these windows, as a fraction of the training clips' length."""
N_BEST: Final = 3
"""Number of best windows whose mean logit scores a long recording; the best one alone gives more false tags."""


@dataclass(frozen=True)
class Tag:
    """A label with its score."""

    label: str
    score: float
    """From 0 to 1."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The score of each label for one recording."""

    duration: float
    """Seconds."""
    scores: Float[np.ndarray, " label"]
    """From 0 to 1."""
    labels: LabelSet
    thresholds: tuple[float, ...] | None
    """The checkpoint's threshold of each label; None where it has none."""

    def tags(
        self, *, top: int | None = None, threshold: Threshold = None, labels: Sequence[str] | None = None
    ) -> list[Tag]:
        """Tags by falling score.

        Args:
            top: Number of tags, whatever their scores; 5 unless a threshold is given.
            threshold: Return all tags that score this or more: one score for all labels, one per label or a mapping
                of labels; `auto` takes each label's threshold from the checkpoint.
            labels: Names or ids of the labels that may become tags; all when missing.

        Raises:
            ConfigError: `top` and `threshold` are both given, or a setting is invalid.
            DataError: A label is unknown.
        """
        n_tags, thresholds = _choice(top, threshold, self.thresholds, self.labels)
        columns = EventSettings(labels=labels).columns(self.labels)
        order = columns[np.argsort(-self.scores[columns], kind="stable")[:n_tags]].tolist()
        names = self.labels.names
        return [Tag(names[i], float(self.scores[i])) for i in order if self.scores[i] >= thresholds[i]]


class Tagger:
    """Tags recordings: paths of audio files of any common format, `earmark.Audio`, or what `encode` returned.

    Args:
        engine: The network, such as an `earmark.inference.torch_engine.TorchEngine`.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __repr__(self) -> str:
        engine, n_labels = type(self.engine).__name__, len(self.labels)
        return f"Tagger({engine}: {n_labels} labels, {self.sample_rate} Hz, {self.seconds_per_segment:g} s a segment)"

    @property
    def labels(self) -> LabelSet:
        """The labels that this tagger scores."""
        return self.engine.labels

    @property
    def sample_rate(self) -> int:
        """Sample rate of the network in Hz; recordings are resampled to it."""
        return self.engine.sample_rate

    @property
    def seconds_per_segment(self) -> float:
        """Length of a segment, the time resolution of this tagger."""
        return seconds_per_segment(self.engine)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The checkpoint's threshold of each label; None where it has none."""
        return None if self.engine.thresholds is None else tuple(self.engine.thresholds)

    def tag(
        self, audio: Recording, *, top: int | None = None, threshold: Threshold = None, track: Track = None
    ) -> list[Tag]:
        """Tags of a whole recording by falling score; `score` describes how long recordings are scored.

        Args:
            audio: The recording.
            top: As in `Scores.tags`.
            threshold: As in `Scores.tags`.
            track: As in `score`.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `top` and `threshold` are both given, or a setting is invalid.
        """
        _choice(top, threshold, self.thresholds, self.labels)  # refuse invalid settings before the work
        return self.score(audio, track=track).tags(top=top, threshold=threshold)

    def encode(
        self, audio: Recording, *, track: Track = None, progress: Callable[[float], None] | None = None
    ) -> Encoded:
        """The segments of a recording, from which every result follows without running the backbone again.

        All segments are in memory, some 20 MB an hour.

        Args:
            audio: The recording.
            track: As in `score`.
            progress: Called after each block with the seconds read so far; what it raises ends the work.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `track` is invalid.
        """
        if isinstance(audio, Encoded):
            return audio
        chunks, source = self._chunks(audio, track, progress=progress)
        return Encoded(np.concatenate(list(chunks)), source.duration)

    def score(self, audio: Recording, *, track: Track = None, cancel: threading.Event | None = None) -> Scores:
        """Score of each label for a whole recording of any length, in bounded memory.

        A recording that is at most one segment longer than the training clips is pooled whole. In a longer one, pooling
        would hide short events. There, a label's logit is the mean over the `N_BEST` windows in which it is highest.
        A window is `WINDOW_SHARE` of a training clip long (chosen by measurement: results/long-recordings.md).

        Args:
            audio: The recording.
            track: Number of the sound track of a video, from 1 on, or `mix` for the mean of all; by default the first.
            cancel: Once another thread sets it, the work stops at the next block of the recording.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `track` is invalid.
            concurrent.futures.CancelledError: `cancel` was set.
        """
        chunks, source = self._chunks(audio, track, cancel=cancel)
        logits = self._logits(chunks, source)
        return Scores(source.duration, sigmoid(logits), self.labels, self.thresholds)

    def timeline(
        self,
        audio: Recording,
        *,
        window: float = WINDOW,
        hop: float = HOP,
        context: float | None = None,
        track: Track = None,
        progress: Callable[[float], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Timeline:
        """Scores over time. The backbone runs once, whatever the window and the hop.

        Window k starts at k x hop and pools the segments whose middle lies in it, at least one. The end of the
        recording cuts the last windows off. The context, a longer window around each window, limits its scores: the
        context decides which labels sound, the window decides when (`SlidingWindows`).

        Args:
            audio: The recording.
            window: Seconds pooled for one row of scores.
            hop: Seconds from window to window.
            context: Seconds around the middle of a window; by default half a training clip; 0 is no context.
            track: As in `score`.
            progress: Called after each block with the seconds read so far.
            cancel: As in `score`.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: The window is shorter than one segment, the hop too short, or another setting invalid.
            concurrent.futures.CancelledError: `cancel` was set.
        """
        context = CONTEXT_SHARE * self._clip_seconds if context is None else context
        windows = SlidingWindows(self.engine, window, hop, context=context)
        chunks, source = self._chunks(audio, track, progress=progress, cancel=cancel)
        scores: list[np.ndarray] = []
        for segments, is_last in _with_last(chunks):
            logits = windows.finish(segments, source.duration) if is_last else windows.push(segments)
            scores.append(sigmoid(logits))
        onsets, rows = np.arange(windows.n_windows) * hop, np.concatenate(scores)
        names, ids = self.labels.names, self.labels.ids
        return Timeline(onsets, rows, names, window, hop, source.duration, self.thresholds, ids, context)

    def evidence(self, audio: Recording, label: str, *, track: Track = None) -> Evidence:
        """Contribution of each segment of a recording to one tag: its Shapley value, with a standard error.

        In a recording longer than the training clips, only a part of their length is explained. It surrounds the window
        in which the label scores highest (`score`). All segments are in memory, some 20 MB an hour.

        Args:
            audio: The recording.
            label: Name or id of the label.
            track: As in `score`.

        Raises:
            AudioError: The recording cannot be read, is a bare array, or has a single segment.
            ConfigError: `track` is invalid.
            DataError: There is no such label.
        """
        index = self.labels.index(label)
        encoded = self.encode(audio, track=track)
        segments, first = encoded.segments, 0
        if self._is_long(len(segments)):
            windows = self._best_windows()
            start, end = windows.span(int(windows.finish(segments, encoded.duration)[:, index].argmax()))
            n_segments = round(self._clip_seconds / self.seconds_per_segment)
            first = min(max(0, (start + end - n_segments) // 2), len(segments) - n_segments)
            segments = segments[first : first + n_segments]
        try:
            return explain(self.engine, segments, index, duration=encoded.duration, first=first)
        except AudioError as error:
            named = "" if isinstance(audio, Audio | Encoded) else f"{os.fspath(audio)}: "
            raise AudioError(f"{named}{error}") from error

    def embed(self, audio: Recording, *, track: Track = None) -> Float[np.ndarray, " feature"]:
        """Embedding of a recording: the pooled clip, the input of the classifier.

        The recording is pooled whole, whatever its length. All segments are in memory, some 20 MB an hour.

        Args:
            audio: The recording.
            track: As in `score`.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `track` is invalid.
        """
        embedding: np.ndarray = self.engine.pool(self.encode(audio, track=track).segments[None])[0]
        return embedding

    def score_and_embed(self, audio: Recording, *, track: Track = None) -> tuple[Scores, Float[np.ndarray, " feature"]]:
        """The results of `score` and `embed`; the recording is read and encoded once.

        Args:
            audio: The recording.
            track: As in `score`.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `track` is invalid.
        """
        encoded = self.encode(audio, track=track)
        return self.score(encoded), self.embed(encoded)

    def stream(
        self,
        sample_rate: int,
        *,
        n_channels: int = 1,
        window: float = WINDOW,
        hop: float = HOP,
        context: float | None = None,
        threshold: Threshold = None,
        release: float | None = None,
        settings: EventSettings = EventSettings(),  # noqa: B008 (frozen)
        step: float | None = None,
    ) -> Stream:
        """Live tagging: push samples as they come, get events and the current scores, equal to those of `timeline`.

        Args:
            sample_rate: Rate of the pushed samples in Hz.
            n_channels: Channels of the pushed samples, which are averaged: (sample,) for one, (channel, sample) for
                more.
            window: Seconds pooled for one row of scores.
            hop: Seconds from row to row.
            context: As in `timeline`; half of it adds to the latency (`Stream.latency`).
            threshold: As in `Timeline.events`.
            release: As in `Timeline.events`.
            settings: As in `Timeline.events`. Settings that let a later sound change an event delay it
                (`EventSettings.delay`).
            step: Seconds of audio collected before the network runs; one segment when missing. A longer step needs less
                computing, since each run encodes the halo on both sides again, and adds its length to the latency. A
                network of unbounded context has no such setting: the overlap of its windows decides.

        Raises:
            ConfigError: A setting is invalid.
            DataError: A label of the settings is unknown.
            AudioError: The sample rate is invalid.
        """
        return Stream(
            self.engine,
            sample_rate,
            n_channels=n_channels,
            window=window,
            hop=hop,
            context=CONTEXT_SHARE * self._clip_seconds if context is None else context,
            threshold=threshold,
            release=release,
            settings=settings,
            step=step,
        )

    def _chunks(
        self,
        audio: Recording,
        track: Track,
        *,
        progress: Callable[[float], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> tuple[Iterator[np.ndarray], SampleBlocks | Encoded]:
        """The segments in chunks; and an object that has the duration once they are taken."""
        if isinstance(audio, Encoded):
            return iter([audio.segments]), audio
        source = SampleBlocks(audio, self.sample_rate, track, progress=progress, cancel=cancel)
        return encode_blocks(self.engine, source.blocks()), source

    @property
    def _clip_seconds(self) -> float:
        return max(self.engine.clip_duration or CLIP_SECONDS, self.seconds_per_segment)

    def is_long(self, duration: float) -> bool:
        """Whether a recording of this length in seconds is scored by its best windows (`score`)."""
        return self._is_long(math.ceil(duration / self.seconds_per_segment - 1e-9))

    def _is_long(self, n_segments: int) -> bool:
        return (n_segments - 1) * self.seconds_per_segment > self._clip_seconds

    def _best_windows(self) -> SlidingWindows:
        # windows cut off by the end are excluded: they hold so little sound that their scores are unreliable
        window = max(WINDOW_SHARE * self._clip_seconds, self.seconds_per_segment)
        return SlidingWindows(self.engine, window, HOP_SHARE * self._clip_seconds, cut=False)

    def _logits(self, chunks: Iterator[np.ndarray], source: SampleBlocks | Encoded) -> Float[np.ndarray, " label"]:
        """Logits of a recording: pooled whole if it is short, otherwise the mean over its best windows."""
        windows = self._best_windows()
        waiting: list[np.ndarray] | None = []  # all segments so far; None once the recording is known to be long
        best = np.zeros((0, len(self.labels)), np.float32)
        for chunk, is_last in _with_last(chunks):
            segments = chunk
            if waiting is not None:
                waiting.append(chunk)
                segments = np.concatenate(waiting)
                if not self._is_long(len(segments)):
                    if is_last:
                        return self.engine.classify(segments[None])[0]
                    continue
                waiting = None
            logits = windows.finish(segments, source.duration) if is_last else windows.push(segments)
            best = np.sort(np.concatenate([best, logits]), axis=0)[-N_BEST:]
        return best.mean(axis=0)


def _with_last(chunks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Pairs of a chunk and whether it is the last."""
    previous = next(chunks)
    for chunk in chunks:
        yield previous, False
        previous = chunk
    yield previous, True


def _choice(
    top: int | None, threshold: Threshold, known: tuple[float, ...] | None, labels: LabelSet
) -> tuple[int, Float[np.ndarray, " label"]]:
    """The maximum number of tags, and the minimum score of each label."""
    if top is not None and threshold is not None:
        raise ConfigError("expected either a number of tags or a threshold, got both", "top")
    if threshold is None:
        n_tags = 5 if top is None else top
        if n_tags < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_tags}", "top")
        return n_tags, np.zeros(len(labels))
    return len(labels), label_thresholds(threshold, known, labels)
