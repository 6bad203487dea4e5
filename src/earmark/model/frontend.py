"""The first stage, waveform to log-mel: part of the model, so that no checkpoint gets the wrong features."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from earmark.model.mel import FLOOR_DB, FrontendConfig, mel_edges, mel_filters

__all__ = ["FLOOR_DB", "FrontendConfig", "LogMel", "mel_edges", "mel_filters"]


class LogMel(nn.Module):
    """Log-mel spectrogram: `10 log10(max(filters . |STFT|^2, 1e-10))`, centred reflect-padded frames, always float32.

    Frame i is centred at sample `i * hop_length`, for all centres inside the clip: 10 s give 400 frames. The result
    equals librosa's power mel spectrogram in decibels without the last centred frame, which `last_frame` keeps.
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
            padded = self._reflect(waveform.float(), n_samples)
            # on the CPU four clips at a time fit into the cache; a GPU is faster with all at once
            step = 4 if padded.device.type == "cpu" else len(padded)
            log_mel = torch.cat([self._transform(part) for part in padded.split(step)])
        if n_samples is not None:
            frame = torch.arange(log_mel.shape[1], device=log_mel.device)
            padding = frame >= self.n_frames(n_samples.to(log_mel.device))[:, None]
            log_mel = log_mel.masked_fill(padding[..., None], FLOOR_DB)
        return log_mel

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

    def _transform(self, padded: Tensor) -> Tensor:
        config = self.config
        # (batch, sample) -> (batch, frequency, frame), complex
        spectrum = torch.stft(
            padded, config.n_fft, config.hop_length, window=self.window, center=False, return_complex=True
        )
        n_frames = config.n_frames(padded.shape[1] - 2 * (config.n_fft // 2))
        power = torch.view_as_real(spectrum[..., :n_frames]).square().sum(-1)
        mel = power.transpose(1, 2) @ self.filters
        # without the floor the logarithm of silence is minus infinity
        return 10.0 * mel.clamp(min=1e-10).log10()
