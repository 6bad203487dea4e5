"""The decoder for files of several parts, and for parts with gaps in their clock."""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import soundfile

from earmark.audio.resampling import StreamResampler
from earmark.errors import AudioError, EarmarkWarning

if TYPE_CHECKING:
    from earmark.audio.decoding import Decoder

_BLOCK_SAMPLES: Final = 1 << 16
_MAX_MISSING: Final = 0.2
"""Seconds by which the sound of a part may be shorter than its frames: encoders pad both ends."""


@dataclass(frozen=True)
class Part:
    """A file within a file."""

    open: "Callable[[], Decoder]"
    seconds: float | None
    """Duration of the sound that its frames hold, without gaps; None if unknown."""
    gaps: Sequence[tuple[float, float]] = ()
    """Seconds of sound before each gap, and the seconds of silence that fill it."""


class JoinedDecoder:
    """The parts one after another, at the rate and with the channels of the first.

    A part with another number of channels is mixed to mono, which all channels then have.

    Args:
        parts: At least one.
        name: Name of the recording in warnings.

    Raises:
        soundfile.SoundFileError: libsndfile does not read the first part.
        AudioError: FFmpeg does not read it.
    """

    def __init__(self, parts: Sequence[Part], name: str) -> None:
        self._name = name
        self._first = first = parts[0].open()
        self.sample_rate, self.n_channels = first.sample_rate, first.n_channels
        self.n_samples: int | None = None
        self.slack = 0
        self._n_decoded = 0
        self._pending = np.zeros((0, self.n_channels), np.float32)
        self._blocks = self._decode(first, parts)

    def read(self, n_samples: int) -> np.ndarray:
        pieces, n_waiting = [self._pending], len(self._pending)
        while n_waiting < min(n_samples, _BLOCK_SAMPLES):
            block = next(self._blocks, None)
            if block is None:
                break
            pieces.append(block)
            n_waiting += len(block)
            self._n_decoded += len(block)
        joined = np.concatenate(pieces)
        self._pending = joined[n_samples:]
        return joined[:n_samples]

    def skip(self, n_samples: int) -> None:
        # parts need not state their length
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, _BLOCK_SAMPLES))) or n_samples

    def close(self) -> None:
        if not self._n_decoded:
            self._first.close()  # a generator that has not begun does not do it
        self._blocks.close()

    def _decode(self, first: "Decoder", parts: Sequence[Part]) -> Generator[np.ndarray, None, None]:
        yield from self._part(first, parts[0])
        for part in parts[1:]:
            try:
                decoder = part.open()
            except (soundfile.SoundFileError, AudioError) as error:
                self._warn(f"a part of it cannot be read and is left out ({error})")
                continue
            is_other = decoder.sample_rate != self.sample_rate
            if is_other:
                self._warn(f"its rate changes to {decoder.sample_rate} Hz; that part is resampled")
            resampler = StreamResampler(decoder.sample_rate, self.sample_rate)
            for block in self._part(decoder, part):
                if is_other:
                    yield self._spread(resampler.push(np.ascontiguousarray(block.mean(axis=1))))
                else:
                    yield block if block.shape[1] == self.n_channels else self._spread(block.mean(axis=1))
            if is_other:
                yield self._spread(resampler.finish())

    def _part(self, decoder: "Decoder", part: Part) -> Iterator[np.ndarray]:
        """The samples of one part, with silence in its gaps."""
        rate = decoder.sample_rate
        # what stands behind the stated end may be no sound
        n_exact = decoder.n_samples if part.seconds is None else None
        n_decoded = 0
        with closing(decoder):
            for before, seconds in (*part.gaps, (None, 0.0)):
                n_wanted = None if before is None else max(0, round(before * rate) - n_decoded)
                while n_wanted is None or n_wanted > 0:
                    limits = [_BLOCK_SAMPLES, n_wanted, None if n_exact is None else n_exact - n_decoded]
                    block = decoder.read(min(limit for limit in limits if limit is not None))
                    if not len(block):
                        break
                    n_decoded += len(block)
                    n_wanted = None if n_wanted is None else n_wanted - len(block)
                    yield block
                n_silent = round(seconds * rate)
                for start in range(0, n_silent, _BLOCK_SAMPLES):
                    yield np.zeros((min(_BLOCK_SAMPLES, n_silent - start), decoder.n_channels), np.float32)
        stated = decoder.n_samples / rate if part.seconds is None and decoder.n_samples else part.seconds or 0.0
        if n_decoded / rate < stated - _MAX_MISSING - decoder.slack / rate:
            self._warn(f"{stated - n_decoded / rate:.1f} s of its sound could not be decoded")

    def _spread(self, mono: np.ndarray) -> np.ndarray:
        return np.repeat(mono[:, None], self.n_channels, axis=1)

    def _warn(self, text: str) -> None:
        seconds = self._n_decoded / self.sample_rate
        warnings.warn(f"{self._name}: {text} (after {seconds:.1f} s)", EarmarkWarning, stacklevel=2)
