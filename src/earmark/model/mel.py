"""Settings of the front end, and its mel filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np

from earmark.errors import ConfigError, Limit, check_settings

if TYPE_CHECKING:
    from jaxtyping import Float

FLOOR_DB: Final = -100.0
"""Level of digital silence in the log-mel (dB), and of the frames that pad a batch."""


@dataclass(frozen=True)
class FrontendConfig:
    """Settings of the log-mel spectrogram; the defaults are the paper's, at 32 kHz."""

    sample_rate: Annotated[int, Limit(at_least=1)] = 32000
    """Sample rate of the waveform (Hz)."""
    n_fft: Annotated[int, Limit(at_least=1)] = 1024
    """Length of the Hann window and of the Fourier transform (samples)."""
    hop_length: Annotated[int, Limit(at_least=1)] = 800
    """Samples from frame to frame; 800 at 32 kHz are 25 ms, 400 frames in 10 s."""
    n_mels: Annotated[int, Limit(at_least=16, multiple_of=16)] = 64
    """Number of mel bins; the backbone halves it 4 times."""
    f_min: float = 50.0
    """Lower edge of the lowest bin (Hz)."""
    f_max: float = 14000.0
    """Upper edge of the highest bin (Hz)."""
    last_frame: bool = False
    """Whether to keep the frame centred at the end of a clip, as PANNs do: 1001 frames in 10 s, not 1000."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ConfigError(
                f"0 <= f_min < f_max <= {self.sample_rate / 2:g} Hz was expected at a sample rate of "
                f"{self.sample_rate} Hz, not bins from {self.f_min:g} to {self.f_max:g} Hz",
                "f_max",
            )
        if self.last_frame and self.n_fft % 2:
            raise ConfigError(f"an even number was expected where last_frame is set, not {self.n_fft}", "n_fft")

    @classmethod
    def at_16k(cls) -> FrontendConfig:
        """The same settings at 16 kHz: hop of 25 ms, 64 bins up to 8 kHz."""
        return cls(sample_rate=16000, n_fft=512, hop_length=400, f_max=8000.0)

    @property
    def seconds_per_frame(self) -> float:
        return self.hop_length / self.sample_rate

    def n_frames(self, n_samples: Any) -> Any:
        """Number of frames of a clip with this number of samples; elementwise for an array or a tensor.

        >>> FrontendConfig().n_frames(320_000), FrontendConfig(hop_length=320, last_frame=True).n_frames(320_000)
        (400, 1001)
        """
        return (n_samples + (self.hop_length if self.last_frame else self.hop_length - 1)) // self.hop_length


def _hz_to_mel(hz: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    # Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above, 27 steps to a factor of 6.4
    linear = hz / (200.0 / 3.0)
    with np.errstate(divide="ignore"):
        logarithmic = 15.0 + np.log(hz / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hz < 1000.0, linear, logarithmic)


def _mel_to_hz(mel: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    return np.where(mel < 15.0, mel * (200.0 / 3.0), 1000.0 * np.exp((mel - 15.0) * (np.log(6.4) / 27.0)))


def mel_edges(config: FrontendConfig) -> Float[np.ndarray, " edge"]:
    """Edges of the triangular bins in Hz, `n_mels + 2`: bin m rises from edge m to m + 1 and falls to m + 2."""
    low, high = _hz_to_mel(np.array([config.f_min, config.f_max]))
    return _mel_to_hz(np.linspace(low, high, config.n_mels + 2))


def mel_filters(config: FrontendConfig) -> Float[np.ndarray, "frequency mel"]:
    """Slaney's mel filter bank: triangles over the FFT's frequencies, each of unit area in Hz."""
    edges = mel_edges(config)
    frequency = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return triangles * (2.0 / (edges[2:] - edges[:-2]))
