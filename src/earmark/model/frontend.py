"""The first stage, waveform to log-mel: part of the model, so that no checkpoint gets the wrong features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from earmark.model.mel import FLOOR_DB, FrontendConfig, mel_edges, mel_filters

__all__ = ["FLOOR_DB", "FrontendConfig", "LogMel", "mel_edges", "mel_filters"]


def hann_window(config: FrontendConfig, dtype: torch.dtype = torch.float32) -> Float[Tensor, " sample"]:
    """The window over all samples of the Fourier transform."""
    length = config.window_length or config.n_fft
    window = torch.hann_window(length, periodic=not config.symmetric_window, dtype=dtype)
    before = (config.n_fft - length) // 2
    return F.pad(window, (before, config.n_fft - length - before))


class LogMel(nn.Module):
    """Log-mel spectrogram: `10 log10(max(filters . |STFT|^2 + offset, 1e-10))`, always float32.

    Frames are centred and reflect-padded. Frame i is centred at sample `i * hop_length`, for all centres inside the
    clip: 10 s give 400 frames. By default the result equals librosa's power mel spectrogram in decibels without the
    last centred frame, which `last_frame` keeps.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", hann_window(config), persistent=False)
        filters = torch.from_numpy(mel_filters(config)).float()
        self.register_buffer("filters", filters, persistent=False)

    def n_frames(self, n_samples: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Number of frames of clips with these numbers of samples."""
        return self.config.n_frames(n_samples)

    def forward(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch frame mel"]:
        """Log-mel of each clip (dB); frames beyond a clip's end hold `FLOOR_DB`.

        Args:
            waveform: Mono, at `config.sample_rate`, full scale 1; shorter clips are padded at their end.
            n_samples: Samples of each clip before padding; all of them when missing. Padding does not change the
                frames of a clip.

        Raises:
            ValueError: A clip has no sample.
        """
        if waveform.shape[1] == 0 or (n_samples is not None and int(n_samples.min()) < 1):
            raise ValueError("a clip of at least one sample was expected")
        if n_samples is not None and bool((n_samples == waveform.shape[1]).all()):
            n_samples = None
        with torch.autocast(waveform.device.type, enabled=False):
            n_frames = int(self.config.n_frames(waveform.shape[1]))
            padded = self._reflect(*self._emphasized(waveform.float(), n_samples))
            # on the CPU four clips at a time fit into the cache; a GPU is faster with all at once
            step = 4 if padded.device.type == "cpu" else len(padded)
            log_mel = torch.cat([self._transform(part, n_frames) for part in padded.split(step)])
        if n_samples is not None:
            frame = torch.arange(log_mel.shape[1], device=log_mel.device)
            padding = frame >= self.n_frames(n_samples.to(log_mel.device))[:, None]
            log_mel = log_mel.masked_fill(padding[..., None], FLOOR_DB)
        return log_mel

    def _emphasized(self, waveform: Tensor, n_samples: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Pre-emphasis, if there is one: clips that are a sample shorter; of a single sample nothing is left but 0."""
        if not self.config.preemphasis:
            return waveform, n_samples
        if waveform.shape[1] == 1:
            return torch.zeros_like(waveform), n_samples
        waveform = waveform[:, 1:] - self.config.preemphasis * waveform[:, :-1]
        if n_samples is None:
            return waveform, None
        waveform = waveform * (n_samples > 1).to(waveform.device)[:, None]
        return waveform, (n_samples - 1).clamp(min=1)

    def _reflect(self, waveform: Tensor, n_samples: Tensor | None) -> Tensor:
        """Reflect-pads each clip by half a window at its own ends, repeatedly where the clip is shorter than that."""
        margin, length = self.config.n_fft // 2, waveform.shape[1]
        if n_samples is None and length > margin:
            return F.pad(waveform[:, None], (margin, margin), mode="reflect")[:, 0]
        device = waveform.device
        last = (n_samples.to(device) if n_samples is not None else torch.tensor([length], device=device))[:, None] - 1
        period = (2 * last).clamp(min=1)
        position = torch.arange(-margin, length + margin, device=device).remainder(period)
        index = torch.minimum(position, 2 * last - position).clamp(min=0)
        return waveform.gather(1, index.expand(len(waveform), -1))

    def _transform(self, padded: Tensor, n_frames: int) -> Tensor:
        config = self.config
        # (batch, sample) -> (batch, frequency, frame), complex
        spectrum = torch.stft(
            padded, config.n_fft, config.hop_length, window=self.window, center=False, return_complex=True
        )
        spectrum = spectrum[..., :n_frames]
        # a sum over an axis of two is several times as slow
        power = (spectrum.real.square() + spectrum.imag.square()).contiguous()
        mel = power.transpose(1, 2) @ self.filters
        if config.power_offset:
            mel = mel + config.power_offset
        # without the floor the logarithm of silence is minus infinity
        return 10.0 * mel.clamp(min=1e-10).log10()
