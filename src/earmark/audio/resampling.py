"""Resampling of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import soxr

from earmark.errors import AudioError

if TYPE_CHECKING:
    from jaxtyping import Float32


def validate_rate(sample_rate: object) -> int:
    """The rate (Hz) as a plain int.

    Raises:
        AudioError: The rate is no positive whole number.
    """
    # other libraries return np.integer; 44100.0 or True is a mistake of the caller
    if isinstance(sample_rate, int | np.integer) and not isinstance(sample_rate, bool) and sample_rate > 0:
        return int(sample_rate)
    raise AudioError(f"a sample rate is a positive whole number of Hz, got {sample_rate!r}")


class StreamResampler:
    """A band-limited resampler of one channel, fed piece by piece; the result does not depend on the pieces.

    Raises:
        AudioError: A rate is no positive whole number.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = validate_rate(from_rate)
        same = self.from_rate == validate_rate(to_rate)
        self._stream = None if same else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")

    def push(self, waveform: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, " resampled"]:
        """Adds samples and returns the resampled ones that are ready."""
        return waveform if self._stream is None else self._stream.resample_chunk(waveform)

    def finish(self) -> Float32[np.ndarray, " resampled"]:
        """The remaining resampled samples; call it once, after the last `push`."""
        nothing = np.zeros(0, dtype=np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)
