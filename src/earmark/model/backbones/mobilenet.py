"""PANNs' MobileNetV1 and MobileNetV2 (Kong et al., 2020), with average pooling in place of strides."""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.layers import Activation, ConvNorm, MaskedBatchNorm, folded, frame_mask, lengthened

_PUBLISHED_WIDTH = 64
"""Width at which the channels are the published ones."""


def _scaled(n_channels: int, width: int) -> int:
    return max(1, n_channels * width // _PUBLISHED_WIDTH)


class SeparableBlock(nn.Module):
    """1x1 convolution to more channels (MobileNetV2), depthwise 3x3 convolution, 1x1 convolution.

    Args:
        n_in: Channels that come in.
        n_out: Channels that go out.
        expansion: Factor of the first convolution; at 1 there is none.
        halves: Whether the depthwise convolution halves frames and mel bins.
        activation: Function after all convolutions but the last.
        last: Function after the last one; `none` is a block of MobileNetV2, which adds its input where sizes agree.
    """

    def __init__(
        self, n_in: int, n_out: int, expansion: int, halves: bool, activation: Activation, last: Activation
    ) -> None:
        super().__init__()
        n_wide = expansion * n_in
        self.expand = ConvNorm(n_in, n_wide, (1, 1), activation=activation) if expansion > 1 else None
        self.depthwise = ConvNorm(n_wide, n_wide, groups=n_wide, halves=halves, activation=activation)
        self.project = ConvNorm(n_wide, n_out, (1, 1), activation=last)
        self.is_residual = last == "none" and not halves and n_in == n_out

    def forward(
        self, x: Float[Tensor, "batch n_in frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None, partial: bool
    ) -> tuple[Float[Tensor, "batch n_out new_frame new_mel"], Bool[Tensor, "batch 1 new_frame 1"] | None]:
        """The result and its mask; `partial` is as for `average_pooled`."""
        y = x if self.expand is None else self.expand(x, mask)[0]
        y, mask = self.depthwise(y, mask, partial)
        y, _ = self.project(y, mask)
        return (x + y if self.is_residual else y), mask


class MobileNetV1(Backbone):
    """A convolution and 13 separable ones, then the mean over frequency.

    A segment covers 32 frames. At a width of 64 channels are the published ones; no layer has dropout.
    """

    frames_per_segment = 32
    halo = 1 + 2 * 2 + 2 * 4 + 2 * 8 + 6 * 16 + 32
    """3x3 convolutions: one at step 1, 2 at 2, 4 and 8, 6 at 16, one at 32."""
    can_drop_frames = True
    mel_divisor = 32
    n_first: ClassVar[int] = 32
    rows: ClassVar[tuple[tuple[int, int, bool], ...]] = (
        (1, 64, False),
        (1, 128, True),
        (1, 128, False),
        (1, 256, True),
        (1, 256, False),
        (1, 512, True),
        *[(1, 512, False)] * 5,
        (1, 1024, True),
        (1, 1024, False),
    )
    """Expansion, channels and whether it halves, of each block."""
    n_last: ClassVar[int] = 1024
    activation: ClassVar[Activation] = "relu"
    last_activation: ClassVar[Activation] = "relu"
    """Function after the last convolution of a block."""

    def __init__(
        self, n_mels: int = 64, width: int = 64, block_dropout: float = 0.0, partial_segments: bool = True
    ) -> None:
        super().__init__(n_mels, width, block_dropout, partial_segments)
        self.bn0 = MaskedBatchNorm(n_mels)
        n_in = _scaled(self.n_first, width)
        self.first = ConvNorm(1, n_in, halves=True, activation=self.activation)
        blocks = []
        for expansion, n_channels, halves in self.rows:
            n_out = _scaled(n_channels, width)
            blocks.append(SeparableBlock(n_in, n_out, expansion, halves, self.activation, self.last_activation))
            n_in = n_out
        self.blocks = nn.ModuleList(blocks)
        self.last = self._last(n_in)

    def _last(self, n_in: int) -> ConvNorm | None:
        """The convolution after the blocks, if there is one."""
        return None

    @classmethod
    def channels_of(cls, width: int) -> int:
        return _scaled(cls.n_last, width)

    def forward(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        if not self.partial_segments:
            log_mel, n_frames = lengthened(log_mel, n_frames, self.frames_per_segment)
        mask = frame_mask(log_mel, n_frames)
        x = self.bn0(log_mel.transpose(1, 2)[..., None], mask).permute(0, 3, 2, 1).to(self.first.conv.weight.dtype)
        return self.convolved(x, mask)

    def convolved(
        self, x: Float[Tensor, "batch 1 frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments from normalised input."""
        x, mask = self.first(x, mask, self.partial_segments)
        for block in self.blocks:
            x, mask = block(x, mask, self.partial_segments)
        if self.last is not None:
            x, _ = self.last(x, mask)
        return x.float().mean(3).transpose(1, 2)

    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        return folded(self, dtype)


class MobileNetV2(MobileNetV1):
    """A convolution, 17 inverted residual blocks and a last convolution, then the mean over frequency."""

    halo = 1 + 2 * 2 + 2 * 4 + 3 * 8 + 4 * 16 + 6 * 32
    rows = (
        (1, 16, False),
        (6, 24, True),
        (6, 24, False),
        (6, 32, True),
        *[(6, 32, False)] * 2,
        (6, 64, True),
        *[(6, 64, False)] * 3,
        (6, 96, True),
        *[(6, 96, False)] * 2,
        *[(6, 160, False)] * 3,
        (6, 320, False),
    )
    n_last = 1280
    activation = "relu6"
    last_activation = "none"

    def _last(self, n_in: int) -> ConvNorm | None:
        return ConvNorm(n_in, self.n_channels, (1, 1), activation="relu6")
