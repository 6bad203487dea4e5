"""The first stage: waveform to log-mel, inside the model so that no checkpoint is fed the wrong features."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from earmark.errors import ConfigError

FLOOR_DB: Final = -100.0
"""Level of digital silence in the log-mel (dB), and of the frames that pad a batch."""


@dataclass(frozen=True)
class FrontendConfig:
    """How a waveform becomes a log-mel spectrogram; the defaults are the paper's setting at 32 kHz."""

    sample_rate: int = 32000
    """Rate of the waveform (Hz)."""
    n_fft: int = 1024
    """Length of the Hann window and of the Fourier transform (samples)."""
    hop_length: int = 800
    """Samples from one frame to the next; 800 at 32 kHz is 25 ms, 400 frames in 10 s."""
    n_mels: int = 64
    """Number of mel bins, a multiple of 16."""
    f_min: float = 50.0
    """Lower edge of the lowest bin (Hz)."""
    f_max: float = 14000.0
    """Upper edge of the highest bin (Hz)."""

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length", "n_mels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: a positive whole number was expected, not {getattr(self, name)}")
        if self.n_mels % 16:
            raise ConfigError(
                f"n_mels: a multiple of 16 was expected (the backbone halves it 4 times), not {self.n_mels}"
            )
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ConfigError(
                f"mel bins from {self.f_min:g} to {self.f_max:g} Hz do not fit a sample rate of {self.sample_rate} Hz; "
                f"0 <= f_min < f_max <= {self.sample_rate / 2:g} was expected"
            )

    @classmethod
    def at_16k(cls) -> "FrontendConfig":
        """The same frames and bins for recordings at 16 kHz: 25 ms hop, 64 bins up to 8 kHz."""
        return cls(sample_rate=16000, n_fft=512, hop_length=400, f_max=8000.0)

    @property
    def seconds_per_frame(self) -> float:
        return self.hop_length / self.sample_rate


def _hz_to_mel(hz: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    # Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above, 27 steps to a factor of 6.4
    linear = hz / (200.0 / 3.0)
    with np.errstate(divide="ignore"):
        logarithmic = 15.0 + np.log(hz / 1000.0) * (27.0 / np.log(6.4))
    return np.where(hz < 1000.0, linear, logarithmic)


def _mel_to_hz(mel: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.where(mel < 15.0, mel * (200.0 / 3.0), 1000.0 * np.exp((mel - 15.0) * (np.log(6.4) / 27.0)))


def mel_edges(config: FrontendConfig) -> Float[np.ndarray, " edge"]:
    """Edges of the triangular bins in Hz, `n_mels + 2` of them; bin m rises from edge m to m + 1, falls to m + 2."""
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


class LogMel(nn.Module):
    """Log-mel spectrogram: `10 log10(max(filters . |STFT|^2, 1e-10))`, centred reflect-padded frames, always float32.

    There is a frame for every centre, `i * hop_length`, that lies inside the clip: 10 s give 400 frames. Equal to
    librosa's power mel spectrogram in decibels with the last of its centred frames dropped.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        filters = torch.from_numpy(mel_filters(config)).float()
        self.register_buffer("filters", filters, persistent=False)

    def n_frames(self, n_samples: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Frames of clips of so many samples."""
        return -(-n_samples // self.config.hop_length)

    def forward(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frame mel"]:
        """The log-mel of each clip (dB); frames past a clip's own end hold `FLOOR_DB`.

        Args:
            waveform: Mono, at `config.sample_rate`, full scale 1; shorter clips are padded at their end.
            n_samples: Samples of each clip before padding; all of them when missing. A padded clip gives exactly
                the frames that it gives alone.

        Raises:
            ValueError: There is no sample.
        """
        if waveform.shape[1] == 0 or (n_samples is not None and int(n_samples.min()) < 1):
            raise ValueError("a clip of at least one sample was expected")
        if n_samples is not None and bool((n_samples == waveform.shape[1]).all()):
            n_samples = None
        with torch.autocast(waveform.device.type, enabled=False):
            padded = self._reflect(waveform.float(), n_samples)
            # on the CPU four clips at a time stay in the cache; a GPU wants all at once
            step = 4 if padded.device.type == "cpu" else len(padded)
            log_mel = torch.cat([self._transform(part) for part in padded.split(step)])
        if n_samples is not None:
            frame = torch.arange(log_mel.shape[1], device=log_mel.device)
            padding = frame >= self.n_frames(n_samples.to(log_mel.device))[:, None]
            log_mel = log_mel.masked_fill(padding[..., None], FLOOR_DB)
        return log_mel

    def _reflect(self, waveform: Tensor, n_samples: Tensor | None) -> Tensor:
        """Each clip mirrored by half a window at its own two ends, as often as a short clip needs."""
        margin, length = self.config.n_fft // 2, waveform.shape[1]
        if n_samples is None and length > margin:
            return F.pad(waveform[:, None], (margin, margin), mode="reflect")[:, 0]
        device = waveform.device
        last = (n_samples.to(device) if n_samples is not None else torch.tensor([length], device=device))[:, None] - 1
        period = (2 * last).clamp(min=1)
        position = torch.arange(-margin, length + margin, device=device).remainder(period)
        index = torch.minimum(position, 2 * last - position).clamp(min=0)
        return waveform.gather(1, index.expand(len(waveform), -1))

    def _transform(self, padded: Tensor) -> Tensor:
        config = self.config
        # (batch, sample) -> (batch, frequency, frame), complex
        spectrum = torch.stft(
            padded, config.n_fft, config.hop_length, window=self.window, center=False, return_complex=True
        )
        n_frames = -(-(padded.shape[1] - 2 * (config.n_fft // 2)) // config.hop_length)
        power = torch.view_as_real(spectrum[..., :n_frames]).square().sum(-1)
        mel = power.transpose(1, 2) @ self.filters
        # silence has no energy; without the floor its logarithm is minus infinity
        return 10.0 * mel.clamp(min=1e-10).log10()
