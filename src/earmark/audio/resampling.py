"""Samples at another rate, as they come."""

import numpy as np
import soxr
from jaxtyping import Float32

from earmark.errors import AudioError


def checked_rate(sample_rate: object) -> int:
    """The rate (Hz) as a plain int.

    Raises:
        AudioError: It is no positive whole number.
    """
    # np.integer comes from headers read by other libraries; 44100.0 or True is a mistake somewhere
    if isinstance(sample_rate, int | np.integer) and not isinstance(sample_rate, bool) and sample_rate > 0:
        return int(sample_rate)
    raise AudioError(f"a sample rate is a positive whole number of Hz, got {sample_rate!r}")


class StreamResampler:
    """One channel at another rate, band-limited, while its samples come; however they are cut, the result is the same
    to the bit.

    Raises:
        AudioError: A rate is no positive whole number.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        self.from_rate = checked_rate(from_rate)
        same = self.from_rate == checked_rate(to_rate)
        self._stream = None if same else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="HQ")
        self._n_in = 0

    @property
    def seconds_in(self) -> float:
        """What has come."""
        return self._n_in / self.from_rate

    def push(self, waveform: Float32[np.ndarray, " sample"]) -> Float32[np.ndarray, " resampled"]:
        """Takes samples and gives those at the new rate that are ready."""
        self._n_in += waveform.size
        return waveform if self._stream is None else self._stream.resample_chunk(waveform)

    def finish(self) -> Float32[np.ndarray, " resampled"]:
        """What is left when no more samples come."""
        nothing = np.zeros(0, dtype=np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)
