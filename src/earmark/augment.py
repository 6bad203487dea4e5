"""Augmentation of log-mels and their targets: pure functions of their input and an explicit generator."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from earmark.errors import ConfigError


@dataclass(frozen=True)
class SpecAugmentConfig:
    """Stripes that SpecAugment hides; the defaults are PANNs', in frames of 25 ms."""

    n_time_stripes: int = 2
    """Stripes of time a clip."""
    time_width: int = 26
    """Widest stripe of time (frames)."""
    n_mel_stripes: int = 2
    """Stripes of frequency a clip."""
    mel_width: int = 8
    """Widest stripe of frequency (mel bins)."""

    def __post_init__(self) -> None:
        for name in ("n_time_stripes", "time_width", "n_mel_stripes", "mel_width"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: 0 or more was expected, not {getattr(self, name)}")


def mixup(
    log_mel: Float[Tensor, "batch frame mel"],
    target: Float[Tensor, "batch label"],
    n_frames: Int[Tensor, " batch"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch frame mel"], Float[Tensor, "batch label"], Int[Tensor, " batch"]]:
    """Each clip blended with another of its batch: `l x_i + (1 - l) x_j`, and the targets alike (paper's ref. [21]).

    A blend is as long as the longer of the two; the shorter goes on in what pads it.

    Args:
        log_mel: Shorter clips padded at their end.
        target: Truth in 0..1.
        n_frames: Frames of each clip before padding.
        alpha: `l` comes from Beta(alpha, alpha), one for each clip.
        generator: On the CPU; decides partners and weights.

    Raises:
        ConfigError: `alpha` is not above 0.
    """
    if not alpha > 0:
        raise ConfigError(
            f"mixup_alpha: a number above 0 was expected, not {alpha}; 0 in a TrainConfig turns mixup off"
        )
    n_clips = len(log_mel)
    partner = torch.randperm(n_clips, generator=generator)
    # PyTorch's Beta takes no generator, NumPy's does
    seed = int(torch.randint(2**62, (), generator=generator))
    weights = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n_clips))
    partner, weights = partner.to(log_mel.device), weights.to(log_mel.device, log_mel.dtype)
    blended = torch.lerp(log_mel[partner], log_mel, weights[:, None, None])
    blended_target = torch.lerp(target[partner], target, weights.to(target.dtype)[:, None])
    return blended, blended_target, torch.maximum(n_frames, n_frames[partner.to(n_frames.device)])


def spec_augment(
    log_mel: Float[Tensor, "batch frame mel"],
    n_frames: Int[Tensor, " batch"],
    generator: torch.Generator,
    config: SpecAugmentConfig,
) -> Float[Tensor, "batch frame mel"]:
    """Stripes of time and of frequency, different in each clip, filled with the clip's mean (paper's ref. [22]).

    All stripes of time together hide at most half of a clip, so a short one keeps something to learn from.

    Args:
        log_mel: Shorter clips padded at their end.
        n_frames: Frames of each clip before padding; the stripes of time lie within them.
        generator: On the CPU; decides widths and places.
        config: How many stripes, how wide at most.
    """
    device, (n_clips, length, n_mels) = log_mel.device, log_mel.shape
    lengths = n_frames.to("cpu")
    time = _stripes(lengths, length, config.n_time_stripes, config.time_width, generator).to(device)
    bins = torch.full((n_clips,), n_mels)
    mel = _stripes(bins, n_mels, config.n_mel_stripes, config.mel_width, generator).to(device)
    real = torch.arange(length, device=device) < lengths.to(device)[:, None]
    total = log_mel.masked_fill(~real[..., None], 0.0).sum((1, 2))
    mean = total / (lengths.to(device) * n_mels)
    hidden = (time[:, :, None] | mel[:, None, :]) & real[..., None]
    return torch.where(hidden, mean[:, None, None], log_mel)


def _stripes(lengths: Tensor, size: int, n_stripes: int, width: int, generator: torch.Generator) -> Tensor:
    """(batch, size), True where one of a clip's stripes lies; widths are uniform in 0..width."""
    draws = torch.rand((2, len(lengths), n_stripes), generator=generator)
    widest = (lengths // max(1, 2 * n_stripes)).clamp(max=width)[:, None]
    widths = (draws[0] * (widest + 1)).long()
    starts = (draws[1] * (lengths[:, None] - widths + 1)).long()
    place = torch.arange(size)
    inside = (place >= starts[..., None]) & (place < (starts + widths)[..., None])  # (batch, stripe, size)
    return inside.any(1)
