"""The interface of an engine, and the encoding of recordings of any length in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np

from earmark.labels import LabelSet

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

CHUNK_SECONDS: Final = 40.0
"""Seconds of audio encoded per call: with the usual halo of 0.8 s on either side, neighbouring chunks overlap by 4 %.
`benchmarks/bench_inference.py --only choices` compares other lengths."""


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
    halo: int
    """Number of segments on either side that a segment's value depends on."""

    def encode(self, waveform: Float[np.ndarray, " sample"]) -> Float[np.ndarray, "segment channel"]:
        """Segments of one recording; the last one may be partial."""

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


class ChunkedEncoder:
    """Encodes a recording as its samples come, in bounded memory.

    Each chunk is encoded with `halo` more segments on either side, which are then dropped because the ends of the chunk
    affect them. The segments equal those of the whole recording but for rounding.

    Args:
        engine: The network.
        n_segments: Segments per chunk. Fewer segments mean less delay and a larger share of overlap.
    """

    def __init__(self, engine: Engine, n_segments: int) -> None:
        self._engine = engine
        self._n_segments = n_segments
        self._pieces: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_before = 0  # segments at the start of the waiting samples that were returned before
        self.n_samples = 0
        """Number of samples pushed so far."""

    @property
    def n_needed(self) -> int:
        """Number of samples, pushed ones included, with which the next segments are complete."""
        waiting = (self._n_before + self._n_segments + self._engine.halo) * self._engine.samples_per_segment
        return self.n_samples - self._n_waiting + waiting + 1

    def push(self, waveform: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Takes samples and yields the segments that are now complete, chunk by chunk."""
        engine = self._engine
        self._pieces.append(waveform)
        self._n_waiting += waveform.size
        self.n_samples += waveform.size
        # strictly more: a recording that ends with this halo is left to `finish`
        while self._n_waiting > (self._n_before + self._n_segments + engine.halo) * engine.samples_per_segment:
            n_now = self._n_before + self._n_segments
            waiting = self._joined()
            segments = engine.encode(waiting[: (n_now + engine.halo) * engine.samples_per_segment])
            yield segments[self._n_before : n_now]
            kept = min(engine.halo, n_now)
            self._pieces = [waiting[(n_now - kept) * engine.samples_per_segment :]]
            self._n_waiting = self._pieces[0].size
            self._n_before = kept

    def finish(self) -> Float[np.ndarray, "segment channel"]:
        """Encodes the remaining samples; the result is empty only if no sample was ever pushed."""
        if not self.n_samples:
            return np.zeros((0, 0), np.float32)
        return self._engine.encode(self._joined())[self._n_before :]

    def _joined(self) -> np.ndarray:
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]


def encode_blocks(
    engine: Engine, blocks: Iterable[Float[np.ndarray, " _"]]
) -> Iterator[Float[np.ndarray, "_ channel"]]:
    """Segments of a recording given in blocks, `CHUNK_SECONDS` per chunk."""
    encoder = ChunkedEncoder(engine, max(1, round(CHUNK_SECONDS * engine.sample_rate / engine.samples_per_segment)))
    for block in blocks:
        yield from encoder.push(block)
    yield encoder.finish()
