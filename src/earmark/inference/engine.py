"""What inference needs of a network, and the network run over a recording of any length in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from earmark.labels import LabelSet

CHUNK_SECONDS: Final = 40.0
"""Of a recording that the network hears at once: with the usual halo of 0.8 s the overlap with the chunks beside it is
4 % then. `benchmarks/bench_inference.py --only choices` compares others."""


@runtime_checkable
class Engine(Protocol):
    """A network behind NumPy's arrays, whatever it runs on: all that a Tagger knows of it."""

    labels: LabelSet
    thresholds: Sequence[float] | None
    """The score from which on each label is a tag; None where nobody has chosen them."""
    clip_duration: float | None
    """Seconds of the clips that the network was trained on; None where nobody knows."""
    sample_rate: int
    """Hz."""
    samples_per_segment: int
    halo: int
    """Segments on either side whose samples a segment depends on."""

    def encode(self, waveform: Float[np.ndarray, " sample"]) -> Float[np.ndarray, "segment channel"]:
        """Segments of one recording, the last of which may be partial."""

    def classify(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]:
        """Logits of each bag of segments; True in the mask is a real segment."""

    def pool(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]:
        """The pooled clip of each bag."""

    def attention(self, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "head segment"] | None:
        """Weights of the segments of one bag, summing to 1 per attention head; None: the pooling has no attention."""


class ChunkedEncoder:
    """Samples as they come to the segments of the whole recording, in bounded memory.

    A chunk is encoded with `halo` segments more on either side, which are dropped: those that the ends of the chunk
    would change. The segments are those of the recording in one piece but for rounding.

    Args:
        engine: Encodes.
        n_segments: Of a chunk. The fewer, the sooner they are there and the larger the share of the overlap.
    """

    def __init__(self, engine: Engine, n_segments: int) -> None:
        self._engine = engine
        self._n_segments = n_segments
        self._pieces: list[np.ndarray] = []
        self._n_waiting = 0
        self._n_before = 0  # segments at the head of what waits that were given already
        self.n_samples = 0
        """Samples that have come."""

    def push(self, waveform: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "_ channel"]]:
        """Takes samples and gives the segments that are complete with them, chunk by chunk."""
        engine = self._engine
        self._pieces.append(waveform)
        self._n_waiting += waveform.size
        self.n_samples += waveform.size
        # one sample more: the halo must not end with the recording, or the end would be partial and not the halo
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
        """The segments that are left when no more samples come; none only where no sample ever came."""
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
    """Segments of a recording that comes in blocks, `CHUNK_SECONDS` at a time."""
    encoder = ChunkedEncoder(engine, max(1, round(CHUNK_SECONDS * engine.sample_rate / engine.samples_per_segment)))
    for block in blocks:
        yield from encoder.push(block)
    yield encoder.finish()
