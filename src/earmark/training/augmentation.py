"""Augmentation of log-mels and their targets: pure functions of their input and an explicit generator."""

import math
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from earmark.errors import ConfigError
from earmark.model.frontend import FLOOR_DB
from earmark.training.settings import TrainConfig

LOUD_DB: Final = 30.0
"""Frames less than this below the loudest of their clip are loud (dB)."""
N_EQUALIZER_POINTS: Final = 6
"""Points of a random frequency response, spaced evenly over the mel bins."""


def augment(
    config: TrainConfig,
    log_mel: Float[Tensor, "batch frame mel"],
    target: Float[Tensor, "batch label"],
    n_frames: Int[Tensor, " batch"],
    generator: torch.Generator,
    floor_db: float = FLOOR_DB,
) -> tuple[Float[Tensor, "batch new_frame mel"], Float[Tensor, "batch label"], Int[Tensor, " batch"]]:
    """Every augmentation that the config asks for, in a fixed order; `floor_db` is the level of digital silence."""
    if floor_db > FLOOR_DB:
        log_mel = log_mel.clamp(min=floor_db)  # padding is no quieter than silence
    if config.random_shift_stretch:
        log_mel = random_shift_stretch(log_mel, n_frames, generator, config.time_stretch, config.mel_shift)
    if config.shortest_crop < 1:
        log_mel, n_frames = crop(log_mel, n_frames, generator, config.shortest_crop)
    if config.mix_clips > 0:
        log_mel, target, n_frames = mix_clips(
            log_mel, target, n_frames, generator, config.mix_clips, config.mix_clips_db, floor_db
        )
    if config.gain_db > 0 or config.equalizer_db > 0:
        log_mel = random_equalizer(log_mel, generator, config.gain_db, config.equalizer_db, floor_db)
    if config.mixup_alpha > 0:
        log_mel, target, n_frames = mixup(log_mel, target, n_frames, config.mixup_alpha, generator)
    if config.spec_augment:
        log_mel = spec_augment(log_mel, n_frames, generator, config)
    return log_mel, target, n_frames


def augment_segments(
    config: TrainConfig,
    segments: Float[Tensor, "batch segment channel"],
    target: Float[Tensor, "batch label"],
    n_segments: Int[Tensor, " batch"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch segment channel"], Float[Tensor, "batch label"], Bool[Tensor, "batch segment"]]:
    """The augmentations of encoded segments that the config asks for, in a fixed order, and the mask.

    A blend has the segments that either of its clips has.
    """
    if config.mixup_alpha > 0:
        segments, target, n_segments = mixup(segments, target, n_segments, config.mixup_alpha, generator)
    mask = first_segments(n_segments, segments)
    if config.segment_dropout > 0:
        mask = drop_segments(mask, config.segment_dropout, generator)
    return segments, target, mask


def first_segments(
    n_segments: Int[Tensor, " batch"], segments: Float[Tensor, "batch segment channel"]
) -> Bool[Tensor, "batch segment"]:
    """The mask of clips whose real segments come first."""
    return torch.arange(segments.shape[1], device=segments.device) < n_segments.to(segments.device)[:, None]


def drop_segments(
    mask: Bool[Tensor, "batch segment"], probability: float, generator: torch.Generator
) -> Bool[Tensor, "batch segment"]:
    """Removes each real segment with this probability from the mask; every clip keeps at least one.

    Args:
        mask: True = a real segment.
        probability: Share of the segments to remove.
        generator: On the CPU; draws the segments.
    """
    draws = torch.rand(mask.shape, generator=generator).to(mask.device).masked_fill(~mask, -1.0)
    # the largest draw stays, whatever the probability
    return (draws >= probability) | (mask & (draws == draws.amax(1, keepdim=True)))


def mixup(
    log_mel: Float[Tensor, "batch frame mel"],
    target: Float[Tensor, "batch label"],
    n_frames: Int[Tensor, " batch"],
    alpha: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch frame mel"], Float[Tensor, "batch label"], Int[Tensor, " batch"]]:
    """Mixup: `l x_i + (1 - l) x_j` for each clip and another of its batch, targets likewise (paper's ref. [21]).

    A blend is as long as the longer of the two clips; the shorter contributes its padding. A label of a blend is known
    where both clips know it.

    Args:
        log_mel: Shorter clips padded at their end.
        target: Targets in 0..1; nan is unknown.
        n_frames: Frames of each clip before padding.
        alpha: `l` is drawn from Beta(alpha, alpha), once per clip.
        generator: On the CPU; draws partners and weights.

    Raises:
        ConfigError: `alpha` is not above 0.
    """
    if not alpha > 0:
        raise ConfigError(
            f"a number above 0 was expected, not {alpha}; 0 in a TrainConfig turns mixup off", "mixup_alpha"
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
    config: TrainConfig,
) -> Float[Tensor, "batch frame mel"]:
    """SpecAugment: random stripes of time and frequency, filled with the clip's mean (paper's ref. [22]).

    The time stripes together hide at most half of a clip, so that a short one keeps something to learn from.

    Args:
        log_mel: Shorter clips padded at their end.
        n_frames: Frames of each clip before padding; time stripes lie within them.
        generator: On the CPU; draws widths and positions.
        config: Gives number and largest width of the stripes.
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
    """Mask (batch, size), True in the stripes; their widths are uniform in 0..width."""
    draws = torch.rand((2, len(lengths), n_stripes), generator=generator)
    widest = (lengths // max(1, 2 * n_stripes)).clamp(max=width)[:, None]
    widths = (draws[0] * (widest + 1)).long()
    starts = (draws[1] * (lengths[:, None] - widths + 1)).long()
    place = torch.arange(size)
    inside = (place >= starts[..., None]) & (place < (starts + widths)[..., None])  # (batch, stripe, size)
    return inside.any(1)


def random_shift_stretch(
    log_mel: Float[Tensor, "batch frame mel"],
    n_frames: Int[Tensor, " batch"],
    generator: torch.Generator,
    time_stretch: float,
    mel_shift: float,
) -> Float[Tensor, "batch frame mel"]:
    """Random circular shift, time stretch and pitch shift.

    A clip keeps its length: a faster one repeats its beginning, a slower one loses its end.

    Args:
        log_mel: Shorter clips padded at their end.
        n_frames: Frames of each clip before padding.
        generator: On the CPU; draws shifts, speeds and pitches.
        time_stretch: Largest change of speed: 0.2 means 1/1.2 to 1.2 times as fast, uniform on a logarithmic scale.
        mel_shift: Largest shift in frequency (mel bins, fractions included); the edge bin fills the gap.
    """
    device, (n_clips, length, n_mels) = log_mel.device, log_mel.shape
    start, speed, shift = torch.rand((3, n_clips, 1), generator=generator).to(device)
    real = n_frames.to(device)[:, None]
    frame = torch.arange(length, device=device)
    place = (start * real + frame * (2 * speed - 1).mul(math.log1p(time_stretch)).exp()) % real
    place = torch.where(frame < real, place, frame)  # padding stays where it is
    bins = (torch.arange(n_mels, device=device) + (2 * shift - 1) * mel_shift).clamp(0, n_mels - 1)
    before, here = place.floor().long(), torch.where(frame < real, real, length)
    log_mel = _between(log_mel, before.clamp(max=length - 1), (before + 1) % here, place - before, 1)
    below = bins.floor().long()
    return _between(log_mel, below, (below + 1).clamp(max=n_mels - 1), bins - below, 2)


def _between(x: Tensor, left: Tensor, right: Tensor, share: Tensor, axis: int) -> Tensor:
    """Linear interpolation along an axis of (batch, frame, mel): `share` of the way from `left` to `right`."""
    left, right, share = (each.unsqueeze(3 - axis) for each in (left, right, share))
    shape = [x.shape[0], *(n if i == axis else x.shape[i] for i, n in ((1, left.shape[1]), (2, left.shape[2])))]
    return torch.lerp(x.gather(axis, left.expand(shape)), x.gather(axis, right.expand(shape)), share.to(x.dtype))


def crop(
    log_mel: Float[Tensor, "batch frame mel"],
    n_frames: Int[Tensor, " batch"],
    generator: torch.Generator,
    shortest: float,
) -> tuple[Float[Tensor, "batch crop mel"], Int[Tensor, " batch"]]:
    """Random crop of one length for the whole batch, around a loud frame of each clip.

    A random part of a clip need not contain the labelled sound; a loud frame most likely does. If the background is
    less than `LOUD_DB` below the loudest frame, all frames count as loud. Labels stay, though a crop may lack one of
    several sounds.

    Args:
        log_mel: Shorter clips padded at their end.
        n_frames: Frames of each clip before padding; clips shorter than the crop stay whole.
        generator: On the CPU; draws the length and the frames.
        shortest: Smallest share of the batch's length, above 0; lengths are uniform on a logarithmic scale up to 1.
    """
    device, (n_clips, longest, n_mels) = log_mel.device, log_mel.shape
    share = shortest ** float(torch.rand((), generator=generator))
    length = min(longest, max(1, round(share * longest)))
    chance = torch.rand((n_clips, longest), generator=generator).to(device)
    place = torch.rand((n_clips, 1), generator=generator).to(device)
    real = torch.arange(longest, device=device) < n_frames.to(device)[:, None]
    level = (log_mel * (math.log(10) / 10)).logsumexp(2) * (10 / math.log(10))
    level = level.masked_fill(~real, -torch.inf)
    loud = real & (level > level.amax(1, keepdim=True) - LOUD_DB)
    # the largest of independent draws picks each loud frame with equal probability
    moment = torch.where(loud, chance, -1.0).argmax(1, keepdim=True)
    last = (n_frames.to(device)[:, None] - length).clamp(min=0)
    start = (moment - (place * length).long()).clamp(min=0).minimum(last)
    frames = (start + torch.arange(length, device=device))[..., None].expand(-1, -1, n_mels)
    return log_mel.gather(1, frames), n_frames.clamp(max=length)


def mix_clips(
    log_mel: Float[Tensor, "batch frame mel"],
    target: Float[Tensor, "batch label"],
    n_frames: Int[Tensor, " batch"],
    generator: torch.Generator,
    probability: float,
    range_db: float,
    floor_db: float = FLOOR_DB,
) -> tuple[Float[Tensor, "batch frame mel"], Float[Tensor, "batch label"], Int[Tensor, " batch"]]:
    """Adds the power of another clip of the batch; the mix has the labels of both.

    A label is known to be absent only where both lack it.

    With random phases, adding waveforms adds powers on average. A mix is as long as the longer clip.

    Args:
        log_mel: Shorter clips padded at their end.
        target: Targets in 0..1; nan is unknown.
        n_frames: Frames of each clip before padding.
        generator: On the CPU; draws partners, levels and the clips to mix.
        probability: Share of the clips that are mixed.
        range_db: Largest difference between the mean powers of the added clip and the clip (dB), drawn uniformly.
        floor_db: Level of digital silence.
    """
    device, n_clips = log_mel.device, len(log_mel)
    partner = torch.randperm(n_clips, generator=generator)
    chance, place = torch.rand((2, n_clips), generator=generator)
    # a clip that is mixed with itself would only become louder
    is_mixed = ((chance < probability) & (partner != torch.arange(n_clips))).to(device)
    partner, offset_db = partner.to(device), ((2 * place - 1) * range_db).to(device)
    real = torch.arange(log_mel.shape[1], device=device) < n_frames.to(device)[:, None]
    # digital silence has no power, however much louder it is made
    power = torch.where(real[..., None] & (log_mel > floor_db), log_mel * (math.log(10) / 10), -torch.inf)
    audible = power.amax((1, 2)) > -torch.inf
    # no level relative to silence exists: if one of the two is silent the clip stays as it is
    is_mixed &= audible & audible[partner]
    level = torch.where(audible, power.logsumexp((1, 2)) - n_frames.to(device).log(), 0.0)
    louder = (level - level[partner] + offset_db * (math.log(10) / 10))[:, None, None]
    mixed = torch.logaddexp(power, power[partner] + louder) * (10 / math.log(10))
    longest = torch.maximum(n_frames, n_frames[partner.to(n_frames.device)])
    mixed = torch.where(is_mixed[:, None, None], mixed.clamp(min=floor_db), log_mel)
    either = torch.fmax(target, target[partner])  # ignores an unknown label
    both = torch.where(either >= 1, either, torch.maximum(target, target[partner]))
    return (
        mixed,
        torch.where(is_mixed[:, None], both, target),
        torch.where(is_mixed.to(n_frames.device), longest, n_frames),
    )


def random_equalizer(
    log_mel: Float[Tensor, "batch frame mel"],
    generator: torch.Generator,
    gain_db: float,
    equalizer_db: float,
    floor_db: float = FLOOR_DB,
) -> Float[Tensor, "batch frame mel"]:
    """Random gain and frequency response, as of another microphone; digital silence stays silent.

    Args:
        log_mel: Shorter clips padded at their end with `floor_db`.
        generator: On the CPU; draws gains and responses.
        gain_db: Largest gain, up or down (dB), drawn uniformly.
        equalizer_db: Largest gain at each of `N_EQUALIZER_POINTS` points of the response, linear in between (dB).
        floor_db: Level of digital silence.
    """
    n_clips, _, n_mels = log_mel.shape
    gain = (2 * torch.rand((n_clips, 1, 1), generator=generator) - 1) * gain_db
    points = (2 * torch.rand((n_clips, 1, N_EQUALIZER_POINTS), generator=generator) - 1) * equalizer_db
    response = F.interpolate(points, n_mels, mode="linear", align_corners=True)
    changed = log_mel + (gain + response).to(log_mel.device, log_mel.dtype)
    return torch.where(log_mel > floor_db, changed.clamp(min=floor_db), log_mel)
