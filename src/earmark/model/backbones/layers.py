"""Layers of several backbones: dropout, and batch norm that leaves padding out."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


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
        with torch.autocast(x.device.type, enabled=False):  # sums in half precision lose small terms
            return self._normalized(x.float(), mask.float()).to(x.dtype)

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
