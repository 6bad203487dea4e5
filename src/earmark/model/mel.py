"""Settings of the front end, and its mel filters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np

from earmark.errors import ConfigError, Limit, check_settings

if TYPE_CHECKING:
    from jaxtyping import Float

FLOOR_DB: Final = -100.0
"""Level of digital silence in the log-mel (dB), and of the frames that pad a batch."""
MelScale = Literal["slaney", "kaldi"]


@dataclass(frozen=True)
class FrontendConfig:
    """Settings of the log-mel spectrogram; the defaults are the paper's, at 32 kHz."""

    sample_rate: Annotated[int, Limit(at_least=1)] = 32000
    """Sample rate of the waveform (Hz)."""
    n_fft: Annotated[int, Limit(at_least=1)] = 1024
    """Length of the Fourier transform (samples)."""
    window_length: Annotated[int | None, Limit(at_least=1)] = None
    """Length of the Hann window (samples), centred in the Fourier transform; by default `n_fft`."""
    symmetric_window: bool = False
    """Whether both ends of the window are 0, instead of the first alone (periodic)."""
    preemphasis: Annotated[float, Limit(at_least=0, below=1)] = 0.0
    """Share a of the sample before in `x[t] - a x[t - 1]`, which the front end begins with; 0 is none."""
    hop_length: Annotated[int, Limit(at_least=1)] = 800
    """Samples from frame to frame; 800 at 32 kHz are 25 ms, 400 frames in 10 s."""
    n_mels: Annotated[int, Limit(at_least=16, multiple_of=16)] = 64
    """Number of mel bins; the backbone halves it 4 times."""
    f_min: float = 50.0
    """Lower edge of the lowest bin (Hz)."""
    f_max: float = 14000.0
    """Upper edge of the highest bin (Hz)."""
    mel_scale: MelScale = "slaney"
    """slaney: triangles of unit area, linear in Hz; kaldi: of unit height, linear in mel, as in Kaldi."""
    power_offset: Annotated[float, Limit(at_least=0)] = 0.0
    """Added to the power of each bin before the logarithm."""
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
        if self.last_frame and self.preemphasis:
            raise ConfigError("false was expected with pre-emphasis, which shortens a clip, not true", "last_frame")
        if self.window_length is not None and self.window_length > self.n_fft:
            raise ConfigError(
                f"at most the {self.n_fft} samples of the Fourier transform were expected, not {self.window_length}",
                "window_length",
            )

    @classmethod
    def at_16k(cls) -> FrontendConfig:
        """The same settings at 16 kHz: hop of 25 ms, 64 bins up to 8 kHz."""
        return cls(sample_rate=16000, n_fft=512, hop_length=400, f_max=8000.0)

    @property
    def seconds_per_frame(self) -> float:
        return self.hop_length / self.sample_rate

    @property
    def floor_db(self) -> float:
        """Level of digital silence in the log-mel (dB)."""
        return max(FLOOR_DB, 10.0 * math.log10(self.power_offset)) if self.power_offset else FLOOR_DB

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


def _hz_to_kaldi(hz: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    return 1127.0 * np.log1p(hz / 700.0)


def mel_edges(config: FrontendConfig) -> Float[np.ndarray, " edge"]:
    """Edges of the triangular bins in Hz, `n_mels + 2`: bin m rises from edge m to m + 1 and falls to m + 2."""
    limits = np.array([config.f_min, config.f_max])
    if config.mel_scale == "kaldi":
        low, high = _hz_to_kaldi(limits)
        return 700.0 * np.expm1(np.linspace(low, high, config.n_mels + 2) / 1127.0)
    low, high = _hz_to_mel(limits)
    return _mel_to_hz(np.linspace(low, high, config.n_mels + 2))


def mel_filters(config: FrontendConfig) -> Float[np.ndarray, "frequency mel"]:
    """The mel filter bank: triangles over the FFT's frequencies, each of unit area in Hz (Slaney) or height (Kaldi)."""
    edges = mel_edges(config)
    frequency = np.linspace(0.0, config.sample_rate / 2, config.n_fft // 2 + 1)[:, None]
    if config.mel_scale == "kaldi":
        edges, place = _hz_to_kaldi(edges), _hz_to_kaldi(frequency)
    else:
        place = frequency
    rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    if config.mel_scale == "kaldi":
        triangles[-1] = 0.0  # Kaldi leaves out the last frequency
        return triangles
    return triangles * (2.0 / (edges[2:] - edges[:-2]))
