"""PANNs' ResNet38 (Kong et al., 2020): residual blocks, with average pooling in place of strides."""

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.layers import (
    AveragePool,
    ConvNorm,
    MaskedBatchNorm,
    dropout,
    folded,
    frame_mask,
    lengthened,
)

STAGES: Final = (3, 4, 6, 3)
"""Blocks of each stage; from the second stage on the first block halves frames and mel bins, and doubles channels."""
_LAST_FACTOR: Final = 32
"""Channels of a segment, in widths."""


class ResidualBlock(nn.Module):
    """Two convolutions, and the input added to their result.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        halves: Whether the input is halved first; a convolution of one position then widens what is added.
    """

    def __init__(self, n_in: int, n_out: int, halves: bool) -> None:
        super().__init__()
        self.pool = AveragePool() if halves else None
        self.conv1 = ConvNorm(n_in, n_out, activation="relu")
        self.conv2 = ConvNorm(n_out, n_out)
        self.shortcut = ConvNorm(n_in, n_out, (1, 1)) if halves else None
        # a block begins as the identity
        nn.init.zeros_(self.conv2.norm.get_parameter("weight"))

    def forward(
        self,
        x: Float[Tensor, "batch n_in frame mel"],
        mask: Bool[Tensor, "batch 1 frame 1"] | None,
        partial: bool,
        drop: float = 0.0,
    ) -> tuple[Float[Tensor, "batch n_out new_frame new_mel"], Bool[Tensor, "batch 1 new_frame 1"] | None]:
        """The result and its mask.

        Args:
            x: Zero outside the mask.
            mask: True = a real frame.
            partial: As for `average_pooled`.
            drop: Dropout between the convolutions.
        """
        if self.pool is not None:
            x, mask = self.pool(x, mask, partial)
        y, _ = self.conv1(x, mask)
        y, _ = self.conv2(dropout(y, drop), mask)
        shortcut = x if self.shortcut is None else self.shortcut(x, mask)[0]
        return F.relu(y + shortcut), mask


class ResNet38(Backbone):
    """Two convolutions, 16 residual blocks and two more convolutions, then the mean over frequency.

    A segment covers 32 frames and has 32 times `width` channels. Dropout within a residual block is half of
    `block_dropout`.
    """

    frames_per_segment = 32
    halo = 2 * (1 + 3 * 2 + 4 * 4 + 6 * 8 + 3 * 16 + 32)
    """Pairs of 3x3 convolutions: one at step 1, 3 at 2, 4 at 4, 6 at 8, 3 at 16 and one at 32."""
    can_drop_frames = True
    mel_divisor = 32

    def __init__(
        self, n_mels: int = 64, width: int = 64, block_dropout: float = 0.2, partial_segments: bool = True
    ) -> None:
        super().__init__(n_mels, width, block_dropout, partial_segments)
        self.bn0 = MaskedBatchNorm(n_mels)
        self.first = nn.ModuleList(ConvNorm(n, width, activation="relu") for n in (1, width))
        self.pool = AveragePool()
        channels = [width] + [width * 2**stage for stage, n in enumerate(STAGES) for _ in range(n)]
        self.blocks = nn.ModuleList(ResidualBlock(a, b, halves=a != b) for a, b in pairwise(channels))
        n_out = self.n_channels
        self.last = nn.ModuleList(ConvNorm(n, n_out, activation="relu") for n in (channels[-1], n_out))

    @staticmethod
    def channels_of(width: int) -> int:
        return _LAST_FACTOR * width

    def forward(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        if not self.partial_segments:
            log_mel, n_frames = lengthened(log_mel, n_frames, self.frames_per_segment)
        mask = frame_mask(log_mel, n_frames)
        x = self.bn0(log_mel.transpose(1, 2)[..., None], mask).permute(0, 3, 2, 1)
        return self.convolved(x.to(next(self.first.parameters()).dtype), mask)

    def convolved(
        self, x: Float[Tensor, "batch 1 frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments from normalised input."""
        partial, drop = self.partial_segments, self.block_dropout if self.training else 0.0
        for layer in self.first:
            x, _ = layer(x, mask)
        x, mask = self.pool(x, mask, partial)
        x = dropout(x, drop)
        for block in self.blocks:
            x, mask = block(x, mask, partial, drop / 2)
        x, mask = self.pool(x, mask, partial)
        x = dropout(x, drop)
        for layer in self.last:
            x, _ = layer(x, mask)
        return dropout(x, drop).float().mean(3).transpose(1, 2)

    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        return folded(self, dtype)
