"""Layers of several backbones: dropout, batch norm and pooling that leave padding out."""

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from earmark.model.mel import FLOOR_DB

Activation = Literal["none", "relu", "relu6"]


def dropout(x: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Zeroes each element with probability `p` (to 1/65536) and scales the others by `1 / (1 - p)`.

    The distribution is that of `torch.nn.functional.dropout`, whose Bernoulli draws are a tenth of a training step on
    the CPU; here one 64-bit draw decides four elements. Draws come from PyTorch's global generator too.
    """
    if p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()] >= round(p * 65536) - 32768
    scale = kept.to(x.dtype).mul_(1.0 / (1.0 - p))
    # the order of the draws does not matter: they get the memory layout of x, channels last or not
    return x * (
        scale.as_strided(x.shape, x.stride()) if x.is_contiguous() or _channels_last(x) else scale.view(x.shape)
    )


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


class _RealFrames(torch.autograd.Function):
    """Chosen frames of a batch as one long clip; PyTorch's own gradient would add them one by one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(real)
        ctx.shape = x.shape
        return _frames(x, real)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (real,) = ctx.saved_tensors
        return _put(gradients[0], real, ctx.shape), None


class _PutFrames(torch.autograd.Function):
    """A batch with given frames at their places and zeros elsewhere: the inverse of `_RealFrames`."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, real: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(real)
        return _put(frames, real, shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (real,) = ctx.saved_tensors
        return _frames(gradients[0], real), None, None


def _frames(x: Float[Tensor, "batch channel frame mel"], real: Int[Tensor, " real"]) -> Tensor:
    """The frames with these numbers, (1, channel, real, mel) and channels last."""
    n_clips, n_channels, n_frames, n_mels = x.shape
    # rows are frames: a view where x is channels last
    rows = x.permute(0, 2, 3, 1).reshape(n_clips * n_frames, n_mels * n_channels).index_select(0, real)
    return rows.view(1, len(real), n_mels, n_channels).permute(0, 3, 1, 2)


def _put(frames: Tensor, real: Int[Tensor, " real"], shape: torch.Size) -> Tensor:
    """A batch of this shape, channels last, with the frames at their places; the inverse of `_frames`."""
    n_clips, n_channels, n_frames, n_mels = shape
    x = torch.empty(shape, dtype=frames.dtype, memory_format=torch.channels_last).zero_()
    rows = x.permute(0, 2, 3, 1).view(n_clips * n_frames, n_mels * n_channels)
    rows.index_copy_(0, real, frames.permute(0, 2, 3, 1).reshape(len(real), n_mels * n_channels))
    return x


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training count real positions only.

    Without a mask it is `torch.nn.BatchNorm2d`. With a mask, padding does not change the statistics, and is set to zero
    afterwards, which is the value that the next convolution reads beyond the end of a single clip.
    """

    is_synchronised = False
    """Whether training statistics cover all processes of a run (`torch.distributed`), not only this one."""

    def forward(
        self, x: Float[Tensor, "batch channel frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None = None
    ) -> Float[Tensor, "batch channel frame mel"]:
        if mask is None and not (self.training and self.is_synchronised):
            return super().forward(x)
        if mask is None:
            mask = x.new_ones((len(x), 1, x.shape[2], 1), dtype=torch.bool)
        if not self.training:
            return super().forward(x) * mask
        if x.device.type == "cpu" and not self.is_synchronised:
            return self._normalized_apart(x, mask)
        wide = torch.promote_types(x.dtype, torch.float32)  # sums in half precision lose small terms
        with torch.autocast(x.device.type, enabled=False):
            return self._normalized(x.to(wide), mask.to(wide)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor | float) -> None:
        """Moves the running statistics towards those of a batch of `count` positions."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = variance * (count / torch.as_tensor(count - 1).clamp(min=1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)

    def _sum_over_processes(self, share: Tensor) -> Tensor:
        """The differentiable sum over the processes of a run; without synchronisation, the share of this process."""
        if not self.is_synchronised:
            return share
        from torch.distributed.nn.functional import all_reduce

        total: Tensor = all_reduce(share)
        return total

    def _normalized_apart(self, x: Tensor, mask: Tensor) -> Tensor:
        """The result of `_normalized`, by PyTorch's own kernel on a copy of the real frames.

        On the CPU this takes a fraction of the time and memory of the sums in `_normalized`; on a GPU it would wait for
        the number of real frames.
        """
        real = mask.flatten().nonzero().flatten()
        frames = super().forward(_RealFrames.apply(x, real))  # type: ignore[no-untyped-call]
        y: Tensor = _PutFrames.apply(frames, real, x.shape)  # type: ignore[no-untyped-call]
        return y

    def _normalized(self, x: Tensor, weight: Tensor) -> Tensor:
        """Normalises by statistics over the positions of weight 1; positions of weight 0 become zero."""
        count = self._sum_over_processes(weight.sum() * x.shape[3])
        mean = self._sum_over_processes((x * weight).sum((0, 2, 3), keepdim=True)) / count
        deviation = (x - mean) * weight
        variance = self._sum_over_processes(deviation.square().sum((0, 2, 3), keepdim=True)) / count
        self._track(mean.flatten(), variance.flatten(), count)
        scale = (variance + self.eps).rsqrt() * self.weight.view(1, -1, 1, 1)
        return (deviation * scale + self.bias.view(1, -1, 1, 1)) * weight


def frame_mask(
    log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None
) -> Bool[Tensor, "batch 1 frame 1"] | None:
    """The mask of real frames, True = real; None if all are."""
    length = log_mel.shape[1]
    if n_frames is None or bool((n_frames == length).all()):
        return None
    frame = torch.arange(length, device=log_mel.device)
    return (frame < n_frames.to(log_mel.device)[:, None])[:, None, :, None]


def lengthened(
    log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None, least: int
) -> tuple[Float[Tensor, "batch longer_frame mel"], Int[Tensor, " batch"] | None]:
    """Pads clips shorter than `least` frames with silence; longer clips stay as they are."""
    if n_frames is not None and bool((n_frames < least).any()):
        frame, end = torch.arange(log_mel.shape[1], device=log_mel.device), n_frames.to(log_mel.device)[:, None]
        log_mel = log_mel.masked_fill(((frame >= end) & (frame < least))[..., None], FLOOR_DB)
        n_frames = n_frames.clamp(min=least)
    return F.pad(log_mel, (0, 0, 0, max(0, least - log_mel.shape[1])), value=FLOOR_DB), n_frames


def average_pooled(
    x: Float[Tensor, "batch channel frame mel"],
    mask: Bool[Tensor, "batch 1 frame 1"] | None,
    partial: bool,
    over_mel: bool = True,
) -> tuple[Float[Tensor, "batch channel half_frame new_mel"], Bool[Tensor, "batch 1 half_frame 1"] | None]:
    """Averages of two neighbouring frames and mel bins, or of frames alone, and their mask.

    Args:
        x: Zero outside the mask.
        mask: True = a real frame; None: all are.
        partial: Whether a last frame without a partner is its own average, instead of being dropped.
        over_mel: Whether two mel bins are averaged too; a last bin without a partner is averaged alone.
    """
    n_pairs, over_bins = x.shape[2] // 2, 2 if over_mel else 1
    x = F.avg_pool2d(x, (2, over_bins), ceil_mode=True)
    if mask is not None:
        # a last frame without a partner is its own average, at the end of the batch and of each clip
        share = F.avg_pool2d(mask.to(x.dtype), (2, 1), ceil_mode=True)
        x = x / share.clamp(min=0.5)
        # a pooled frame is real if its first frame is real; without partial segments, if both are
        mask = mask[:, :, 0 if partial else 1 :: 2]
    if not partial:
        x = x[:, :, :n_pairs] if mask is None else x[:, :, :n_pairs] * mask
    return x, mask


class AveragePool(nn.Module):
    """`average_pooled` over frames and mel bins as a module, which an export replaces by an operator of its own."""

    def forward(
        self, x: Float[Tensor, "batch channel frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None, partial: bool
    ) -> tuple[Float[Tensor, "batch channel new_frame new_mel"], Bool[Tensor, "batch 1 new_frame 1"] | None]:
        return average_pooled(x, mask, partial)


class ConvNorm(nn.Module):
    """Convolution, 2x2 average pooling where it halves, batch norm, activation: the layers of PANNs' networks.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        kernel: Size over frames and mel bins, odd; the input is padded with zeros, so that it keeps its size.
        stride: Frames from one result to the next.
        dilation: Frames from one weight of the kernel to the next.
        groups: Groups of channels that are convolved apart.
        halves: Whether an average pooling follows the convolution.
        activation: Function after the batch norm.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        halves: bool = False,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        padding = (dilation * (kernel[0] // 2), kernel[1] // 2)
        self.conv = nn.Conv2d(
            n_in, n_out, kernel, (stride, 1), padding, dilation=(dilation, 1), groups=groups, bias=False
        )
        self.norm: nn.Module = MaskedBatchNorm(n_out)
        self.pool = AveragePool() if halves else None
        self.activation = activation
        # by the inputs of a channel: those of a depthwise convolution are few
        nn.init.kaiming_uniform_(self.conv.weight, nonlinearity="relu")

    def forward(
        self,
        x: Float[Tensor, "batch n_in frame mel"],
        mask: Bool[Tensor, "batch 1 new_frame 1"] | None = None,
        partial: bool = True,
    ) -> tuple[Float[Tensor, "batch n_out last_frame last_mel"], Bool[Tensor, "batch 1 last_frame 1"] | None]:
        """The result, zero outside its mask, and this mask.

        Args:
            x: Zero outside the mask of its frames.
            mask: Frames of the convolution's result that are real.
            partial: As for `average_pooled`.
        """
        x = self.conv(x)
        if self.pool is not None:
            x, mask = self.pool(x if mask is None else x * mask, mask, partial)
        if isinstance(self.norm, MaskedBatchNorm):
            x = self.norm(x, mask)
        return self._activated(x), mask

    def _activated(self, x: Tensor) -> Tensor:
        if self.activation == "relu":
            return F.relu(x)
        # not F.relu6, whose gradient is wrong where the one that comes in has other strides (PyTorch 2.13)
        return x.clamp(0.0, 6.0) if self.activation == "relu6" else x

    def fold(self) -> None:
        """Folds the batch norm into the convolution; the average of a scaled value is the scaled average."""
        if isinstance(self.norm, MaskedBatchNorm):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


def fold_norms(module: nn.Module) -> None:
    """Folds the batch norm of each `ConvNorm` in a module in evaluation mode."""
    for part in module.modules():
        if isinstance(part, ConvNorm):
            part.fold()


def folded(backbone: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of a backbone of `ConvNorm`, with folded batch norms; the first one, `bn0`, stays float32."""
    copied = copy.deepcopy(backbone).eval()
    fold_norms(copied)
    copied.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # it precedes a convolution that pads its input: it cannot be folded exactly
    copied.get_submodule("bn0").float()
    return copied
