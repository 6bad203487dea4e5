"""The interface of an engine, and the encoding of recordings of any length in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from earmark.errors import ConfigError
from earmark.labels import LabelSet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CHUNK_SECONDS: Final = 40.0
"""Seconds of audio encoded per call: with the usual halo of 0.8 s on either side, neighbouring chunks overlap by 4 %.
`benchmarks/bench_inference.py --only choices` compares other lengths."""
CLIP_SECONDS: Final = 10.0
"""Length of the training clips if the checkpoint does not state it: that of AudioSet's clips."""
BATCH_SIZE: Final = 8
"""Chunks per call on a GPU, some 300 s of audio. Not measured; chosen to need a few GB at most."""
OVERLAP: Final = 0.25
"""Overlap of neighbouring windows, as a share of a window, where a segment depends on its whole window."""


@runtime_checkable
class Engine(Protocol):
    """A network with NumPy inputs and outputs: the interface between Tagger and PyTorch or ONNX Runtime."""

    labels: LabelSet
    thresholds: Sequence[float] | None
    """Threshold of each label; None if the checkpoint has none."""
    clip_duration: float | None
    """Length of the training clips in seconds; None if the checkpoint does not state it."""
    sample_rate: int
    """Hz."""
    samples_per_segment: int
    halo: int | None
    """Number of segments on either side that a segment's value depends on; None: all that are encoded with it."""
    overlap: float
    """Overlap of neighbouring windows, as a share of a window, where `halo` is None."""
    batch_size: int
    """Number of chunks in a call of `encode` that keeps the device busy; 1 on a processor, which one chunk fills."""

    def encode(self, waveforms: Float[np.ndarray, "clip sample"]) -> Float[np.ndarray, "clip segment channel"]:
        """Segments of clips of the same length; the last one may be partial."""

    def classify(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]:
        """Logits of each bag of segments; True in the mask is a real segment."""

    def pool(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]:
        """The pooled clip of each bag; its logits where the pooling is at the instance level."""

    def attention(
        self, segments: Float[np.ndarray, "segment channel"], label: int | None = None
    ) -> Float[np.ndarray, "head segment"] | None:
        """Weights of the segments of one bag, summing to 1 per attention head; None: the pooling has no attention.

        Args:
            segments: The bag.
            label: Index of a label. Where each label has an attention head of its own, the result is that head alone.
        """


class _Batch:
    """Chunks that wait to be encoded in one call; of each, a range of its segments counts.

    Args:
        engine: The network.
        n_chunks: Number of chunks in a call; chunks of another length begin a new one.
    """

    def __init__(self, engine: Engine, n_chunks: int) -> None:
        self._engine, self._n_chunks = engine, n_chunks
        self._chunks: list[tuple[np.ndarray, int, int | None]] = []

    def add(
        self, waveform: Float[np.ndarray, " sample"], first: int, end: int | None
    ) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Takes a chunk and yields the segments of those that are encoded now, chunk by chunk."""
        if self._chunks and waveform.size != self._chunks[0][0].size:
            yield from self.encode()
        self._chunks.append((waveform, first, end))
        if len(self._chunks) >= self._n_chunks:
            yield from self.encode()

    def encode(self) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Encodes the chunks that wait and yields their segments, chunk by chunk."""
        chunks, self._chunks = self._chunks, []
        if chunks:
            encoded = self._engine.encode(np.stack([waveform for waveform, _, _ in chunks]))
            for segments, (_, first, end) in zip(encoded, chunks, strict=True):
                yield segments[first:end]


class ChunkedEncoder:
    """Encodes a recording as its samples come, in bounded memory.

    Each chunk is encoded with `halo` more segments on either side, which are then dropped because the ends of the chunk
    affect them. The segments equal those of the whole recording but for rounding.

    Args:
        engine: The network.
        n_segments: Segments per chunk. Fewer segments mean less delay and a larger share of overlap.
        n_chunks: Chunks per call of the engine. More mean more delay.
    """

    def __init__(self, engine: Engine, n_segments: int, n_chunks: int = 1) -> None:
        self._engine, self._halo = engine, engine.halo or 0
        self._n_segments, self._n_chunks = n_segments, n_chunks
        self._batch = _Batch(engine, n_chunks)
        self._pieces: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_before = 0  # segments at the start of the waiting samples that were returned before
        self.n_samples = 0
        """Number of samples pushed so far."""

    @property
    def n_needed(self) -> int:
        """Number of samples, pushed ones included, with which the next segments are complete."""
        waiting = (self._n_before + self._n_segments + self._halo) * self._engine.samples_per_segment
        return self.n_samples - self._n_waiting + waiting + 1

    @property
    def delay(self) -> int:
        """Maximum number of segments between a segment's end and its return."""
        return self._halo + self._n_segments * self._n_chunks

    def push(self, waveform: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Takes samples and yields the segments that are now complete, chunk by chunk."""
        engine = self._engine
        self._pieces.append(waveform)
        self._n_waiting += waveform.size
        self.n_samples += waveform.size
        # strictly more: a recording that ends with this halo is left to `finish`
        while self._n_waiting > (self._n_before + self._n_segments + self._halo) * engine.samples_per_segment:
            n_now = self._n_before + self._n_segments
            waiting = self._joined()
            chunk = waiting[: (n_now + self._halo) * engine.samples_per_segment]
            yield from self._batch.add(chunk, self._n_before, n_now)
            kept = min(self._halo, n_now)
            self._pieces = [waiting[(n_now - kept) * engine.samples_per_segment :]]
            self._n_waiting = self._pieces[0].size
            self._n_before = kept

    def finish(self) -> Float[np.ndarray, "segment channel"]:
        """Encodes the remaining samples; the result is empty only if no sample was ever pushed."""
        if not self.n_samples:
            return np.zeros((0, 0), np.float32)
        return np.concatenate([*self._batch.encode(), self._engine.encode(self._joined()[None])[0, self._n_before :]])

    def _joined(self) -> np.ndarray:
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]


class WindowedEncoder:
    """Encodes a recording as its samples come, in overlapping windows, for engines without a halo.

    Windows have the length of the training clips and start on a grid from 0. Of each window the middle counts; the
    first also counts from its start. The last window ends with the recording and counts to its end. A recording of at
    most one window is encoded whole. The result depends on the recording only, not on the blocks in which it comes.

    Args:
        engine: The network.
        n_windows: Windows per call of the engine. More mean more delay.

    Raises:
        ConfigError: The engine's overlap is not a share of a window.
    """

    def __init__(self, engine: Engine, n_windows: int = 1) -> None:
        check_overlap(engine.overlap)
        self._n_windows, self._batch = n_windows, _Batch(engine, n_windows)
        self._engine, self._step = engine, engine.samples_per_segment
        self._n_window = max(self._step, round((engine.clip_duration or CLIP_SECONDS) * engine.sample_rate))
        n_segments = self._n_window // self._step
        self._hop = max(1, round((1 - engine.overlap) * n_segments))
        self._margin = (n_segments - self._hop) // 2
        self._waiting = np.zeros(0, np.float32)
        self._first = 0  # index of the segment with which the waiting samples start
        self._start = 0  # index of the segment with which the next window starts
        self.n_samples = 0
        """Number of samples pushed so far."""

    @property
    def n_needed(self) -> int:
        """Number of samples, pushed ones included, with which the next segments are complete."""
        return self._start * self._step + self._n_window + 1

    @property
    def delay(self) -> int:
        """Maximum number of segments between a segment's end and its return."""
        # the first window counts from its start
        return -(-self._n_window // self._step) + (self._n_windows - 1) * self._hop

    def push(self, waveform: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Takes samples and yields the segments that are now complete, window by window."""
        self._waiting = np.concatenate([self._waiting, waveform]) if self._waiting.size else waveform
        self.n_samples += waveform.size
        # strictly more: a recording that ends with this window is left to `finish`
        while self.n_samples > self._start * self._step + self._n_window:
            window = self._samples(self._start, self._n_window)
            yield from self._batch.add(window, self._margin if self._start else 0, self._margin + self._hop)
            # the last window may begin before the next one
            self._waiting = self._waiting[(self._start - self._first) * self._step :]
            self._first = self._start
            self._start += self._hop

    def finish(self) -> Float[np.ndarray, "segment channel"]:
        """Encodes the last window; the result is empty only if no sample was ever pushed."""
        if not self.n_samples:
            return np.zeros((0, 0), np.float32)
        if not self._start:
            return self._engine.encode(self._samples(0, self.n_samples)[None])[0]
        start = -(-(self.n_samples - self._n_window) // self._step)
        last = self._batch.add(self._samples(start, self._n_window), self._start + self._margin - start, None)
        return np.concatenate([*last, *self._batch.encode()])

    def _samples(self, start: int, n_samples: int) -> Float[np.ndarray, " sample"]:
        at = (start - self._first) * self._step
        return self._waiting[at : at + n_samples]


def check_device_name(name: str) -> None:
    """Checks the name of a device, whether there is one or not.

    Raises:
        ConfigError: It is none of auto, cpu, cuda, cuda:N and mps.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"auto, cpu, cuda, cuda:N or mps was expected, not {name!r}", "device")


def check_overlap(overlap: float) -> None:
    """Checks a share of a window.

    Raises:
        ConfigError: It is not from 0 to below 1.
    """
    if not 0 <= overlap < 1:
        raise ConfigError(f"a share of a window from 0 to below 1 was expected, not {overlap:g}", "overlap")


def encode_blocks(
    engine: Engine, blocks: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[Float[np.ndarray, "_ channel"]]:
    """Segments of a recording given in blocks, in chunks of `CHUNK_SECONDS` or in windows, `batch_size` at a time."""
    encoder: ChunkedEncoder | WindowedEncoder
    if engine.halo is None:
        encoder = WindowedEncoder(engine, engine.batch_size)
    else:
        n_segments = max(1, round(CHUNK_SECONDS * engine.sample_rate / engine.samples_per_segment))
        encoder = ChunkedEncoder(engine, n_segments, engine.batch_size)
    for block in blocks:
        yield from encoder.push(block)
    yield encoder.finish()


def encode_clips(
    engine: Engine, waveforms: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[Float[np.ndarray, "_ channel"]]:
    """Segments of each clip, equal to those of `encode_blocks`; neighbours of the same length are encoded together."""
    seconds = CHUNK_SECONDS if engine.halo is not None else engine.clip_duration or CLIP_SECONDS
    batch = _Batch(engine, engine.batch_size)
    for waveform in waveforms:
        if waveform.size <= seconds * engine.sample_rate:
            yield from batch.add(waveform, 0, None)
        else:
            yield from batch.encode()
            yield np.concatenate(list(encode_blocks(engine, [waveform])))
    yield from batch.encode()
