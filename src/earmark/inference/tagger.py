"""Recordings to tags, timelines and evidence, by any engine that can encode a recording and classify its segments."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float

from earmark.audio.recording import Audio, blocks, samples_to_seconds
from earmark.errors import AudioError, ConfigError
from earmark.inference.engine import Engine, encode_blocks
from earmark.inference.evidence import Evidence, explain
from earmark.inference.stream import Stream
from earmark.inference.timeline import RELEASE, Event, Threshold, Timeline, label_thresholds
from earmark.inference.windows import SlidingWindows, seconds_per_segment, sigmoid
from earmark.labels import LabelSet
from earmark.parallel.prefetch import one_ahead

__all__ = ["Engine", "Event", "Evidence", "Heard", "Stream", "Tag", "Tagger", "Timeline"]

CLIP_SECONDS: Final = 10.0
"""What a network is taken to be trained on where its checkpoint does not say: the clips of AudioSet."""
WINDOW_SHARE: Final = 0.4
"""Of the clips of the training: the length of the windows in which a longer recording is heard."""
HOP_SHARE: Final = 0.1
"""Likewise, from window to window."""
N_BEST: Final = 3
"""Windows whose mean logit is that of a long recording: fewer false tags than the best one alone gives."""
_BLOCK_SECONDS: Final = 10.0
"""Decoded at once."""


@dataclass(frozen=True)
class Tag:
    """A label that a recording may bear, and how much speaks for it."""

    label: str
    score: float
    """From 0 to 1."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording that has been listened to."""

    duration: float
    """Seconds."""
    scores: Float[np.ndarray, " label"]
    """From 0 to 1."""
    labels: LabelSet
    thresholds: tuple[float, ...] | None
    """The checkpoint's."""

    def tags(self, *, top: int | None = None, threshold: float | Literal["auto"] | None = None) -> list[Tag]:
        """The tags by falling score.

        Args:
            top: As many tags, whatever their scores; 5 unless a threshold is given.
            threshold: All tags that score this or more, however many; `auto` for each label's own threshold, which
                the checkpoint knows.

        Raises:
            ConfigError: `top` and `threshold` are both given, or outside what they can be.
        """
        n_tags, thresholds = _choice(top, threshold, self.thresholds, len(self.labels))
        order = np.argsort(-self.scores, kind="stable")[:n_tags].tolist()
        names = self.labels.names
        return [Tag(names[i], float(self.scores[i])) for i in order if self.scores[i] >= thresholds[i]]


class Tagger:
    """Tags recordings: paths of audio files of any common format, or `earmark.Audio`.

    Args:
        engine: A network behind `encode` and `classify`, such as `earmark.model.network.TorchEngine`.
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
        return seconds_per_segment(self.engine)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The score from which on each label is a tag, where the checkpoint knows."""
        return None if self.engine.thresholds is None else tuple(self.engine.thresholds)

    def tag(
        self,
        audio: Audio | str | os.PathLike[str],
        *,
        top: int | None = None,
        threshold: float | Literal["auto"] | None = None,
    ) -> list[Tag]:
        """The tags of a whole recording, by falling score; `hear` says how long recordings are scored.

        Args:
            audio: The recording.
            top: As many tags, whatever their scores; 5 unless a threshold is given.
            threshold: All tags that score this or more, however many; `auto` for each label's own threshold, which
                the checkpoint knows.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: `top` and `threshold` are both given, or outside what they can be.
        """
        _choice(top, threshold, self.thresholds, len(self.labels))  # told before the work, not after
        return self.hear(audio).tags(top=top, threshold=threshold)

    def hear(self, audio: Audio | str | os.PathLike[str], *, progress: Callable[[float], None] | None = None) -> Heard:
        """The score of each label for a whole recording, of any length, in bounded memory.

        A recording no longer than the clips that the network was trained on (and one segment) is pooled whole. In a
        longer one, where short events would drown, a label's logit is the mean over the `N_BEST` windows, each
        `WINDOW_SHARE` of such a clip, in which it is highest (chosen by measurement: results/long-recordings.md).

        Args:
            audio: The recording.
            progress: Called with the seconds read so far, again and again; what it raises ends the work.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
        """
        source = _Samples(audio, self.sample_rate, progress)
        logits = self._logits(encode_blocks(self.engine, source.blocks()), source)
        return Heard(source.duration, sigmoid(logits), self.labels, self.thresholds)

    def timeline(
        self,
        audio: Audio | str | os.PathLike[str],
        *,
        window: float = 2.0,
        hop: float = 0.4,
        progress: Callable[[float], None] | None = None,
    ) -> Timeline:
        """Scores over time; the network runs once, whatever window and hop.

        Window k starts at k x hop and pools the segments whose middle lies in it. Windows that start near the end of
        the recording are cut there; each has at least one segment.

        Args:
            audio: The recording.
            window: Seconds that are pooled for one row of scores.
            hop: Seconds from window to window.
            progress: As in `hear`.

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
            ConfigError: The window is shorter than one segment, or the hop too short.
        """
        windows = SlidingWindows(self.engine, window, hop)
        source = _Samples(audio, self.sample_rate, progress)
        scores: list[np.ndarray] = []
        for segments, is_last in _with_last(encode_blocks(self.engine, source.blocks())):
            logits = windows.finish(segments, source.duration) if is_last else windows.push(segments)
            scores.append(sigmoid(logits))
        onsets = np.arange(windows.n_windows) * hop
        return Timeline(
            onsets, np.concatenate(scores), self.labels.names, window, hop, source.duration, self.thresholds
        )

    def evidence(self, audio: Audio | str | os.PathLike[str], label: str) -> Evidence:
        """How much each segment of a recording carried one tag: what its logit loses when the segment is left out.

        Of a recording longer than the clips of the training it explains a part of that length: the one around the
        window in which the label scores highest (`hear`). All segments are in memory, some 20 MB an hour.

        Args:
            audio: The recording.
            label: Name or id of the label.

        Raises:
            AudioError: The recording cannot be read, is a bare array, or so short that it is a single segment.
            DataError: There is no such label.
        """
        index = self.labels.index(label)
        source = _Samples(audio, self.sample_rate)
        segments, first = self._all_segments(source), 0
        if self._is_long(len(segments)):
            windows = self._best_windows()
            start, end = windows.span(int(windows.finish(segments, source.duration)[:, index].argmax()))
            n_segments = round(self._clip_seconds / self.seconds_per_segment)
            first = min(max(0, (start + end - n_segments) // 2), len(segments) - n_segments)
            segments = segments[first : first + n_segments]
        try:
            return explain(self.engine, segments, index, duration=source.duration, first=first)
        except AudioError as error:
            named = "" if isinstance(audio, Audio) else f"{os.fspath(audio)}: "
            raise AudioError(f"{named}{error}") from error

    def embed(self, audio: Audio | str | os.PathLike[str]) -> Float[np.ndarray, " feature"]:
        """The pooled clip, of which the classifier makes the logits: similar recordings lie close together.

        A recording is pooled whole, however long; its segments are in memory together (some 20 MB an hour).

        Raises:
            AudioError: The recording cannot be read, or is a bare array.
        """
        source = _Samples(audio, self.sample_rate)
        embedding: np.ndarray = self.engine.pool(self._all_segments(source)[None])[0]
        return embedding

    def stream(
        self,
        sample_rate: int,
        *,
        n_channels: int = 1,
        window: float = 2.0,
        hop: float = 0.4,
        threshold: Threshold = None,
        release: float = RELEASE,
        step: float | None = None,
    ) -> Stream:
        """Live tagging: push samples as they come, get events and current tags; equal to the timeline's.

        Args:
            sample_rate: Hz of the samples that will come.
            n_channels: Of the samples that will come: (sample,) for one, (channel, sample) for more.
            window: As in `timeline`, and so the hop.
            hop: Seconds from row to row.
            threshold: As in `Timeline.events`, and so the release.
            release: The share of the threshold at which an event ends.
            step: Seconds of sound that are collected before the network runs; see `Stream`.

        Raises:
            ConfigError: A setting outside what it can be.
            AudioError: The sample rate is none.
        """
        return Stream(
            self.engine,
            sample_rate,
            n_channels=n_channels,
            window=window,
            hop=hop,
            threshold=threshold,
            release=release,
            step=step,
        )

    def _all_segments(self, source: "_Samples") -> Float[np.ndarray, "segment channel"]:
        return np.concatenate(list(encode_blocks(self.engine, source.blocks())))

    @property
    def _clip_seconds(self) -> float:
        return max(self.engine.clip_duration or CLIP_SECONDS, self.seconds_per_segment)

    def is_long(self, duration: float) -> bool:
        """Whether a recording of so many seconds is scored by its best windows (`hear`)."""
        return self._is_long(math.ceil(duration / self.seconds_per_segment - 1e-9))

    def _is_long(self, n_segments: int) -> bool:
        return (n_segments - 1) * self.seconds_per_segment > self._clip_seconds

    def _best_windows(self) -> SlidingWindows:
        # those that the end cuts off hold so little that their scores run wild
        window = max(WINDOW_SHARE * self._clip_seconds, self.seconds_per_segment)
        return SlidingWindows(self.engine, window, HOP_SHARE * self._clip_seconds, cut=False)

    def _logits(self, chunks: Iterator[np.ndarray], source: "_Samples") -> Float[np.ndarray, " label"]:
        """Of a whole recording, pooled whole or by its best windows."""
        windows = self._best_windows()
        waiting: list[np.ndarray] | None = []  # all there is so far, while the recording may turn out to be short
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


class _Samples:
    """A recording as blocks of one channel at the network's rate. Takes any object, to say what is wrong with it."""

    def __init__(self, audio: object, sample_rate: int, progress: Callable[[float], None] | None = None) -> None:
        if not isinstance(audio, Audio | str | os.PathLike):
            raise AudioError(
                f"a path or earmark.Audio(waveform, sample_rate) was expected, not {type(audio).__name__}: "
                "samples alone do not say how fast they were taken"
            )
        self._audio = audio
        self._sample_rate = sample_rate
        self._progress = progress
        self._n_samples = 0

    @property
    def duration(self) -> float:
        """Seconds of what has been read."""
        return samples_to_seconds(self._n_samples, self._sample_rate)

    def blocks(self) -> Iterator[np.ndarray]:
        """All of it, a block after the other."""
        for block in one_ahead(self._read()):  # the processors are seldom all busy with the network
            self._n_samples += block.size
            if self._progress is not None:
                self._progress(self.duration)
            yield block

    def _read(self) -> Iterator[np.ndarray]:
        if isinstance(self._audio, Audio):
            return iter([self._audio.mono(self._sample_rate).waveform])
        return blocks(os.fspath(self._audio), self._sample_rate, _BLOCK_SECONDS)


def _with_last(chunks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each chunk, and whether it is the last."""
    before = next(chunks)
    for chunk in chunks:
        yield before, False
        before = chunk
    yield before, True


def _choice(
    top: int | None, threshold: float | Literal["auto"] | None, known: tuple[float, ...] | None, n_labels: int
) -> tuple[int, Float[np.ndarray, " label"]]:
    """How many tags at most, and what each label has to score."""
    if top is not None and threshold is not None:
        raise ConfigError("no number of tags was expected beside a threshold; give one of the two", "top")
    if threshold is None:
        n_tags = 5 if top is None else top
        if n_tags < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_tags}", "top")
        return n_tags, np.zeros(n_labels)
    return n_labels, label_thresholds(threshold, known, n_labels)
