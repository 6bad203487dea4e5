"""MobileNetV3-Large with squeeze-and-excitation (Howard et al., 2019), as in EfficientAT (Schmid et al., 2023)."""

import copy
import math
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.layers import MaskedBatchNorm, frame_mask


class _Row(NamedTuple):
    """A block, at full width: a row of Table 1 of MobileNetV3."""

    kernel: int
    n_expanded: int
    n_out: int
    has_squeeze: bool
    is_hardswish: bool
    stride: int


_N_FIRST: Final = 16
_ROWS: Final = (
    _Row(3, 16, 16, False, False, 1),
    _Row(3, 64, 24, False, False, 2),
    _Row(3, 72, 24, False, False, 1),
    _Row(5, 72, 40, True, False, 2),
    _Row(5, 120, 40, True, False, 1),
    _Row(5, 120, 40, True, False, 1),
    _Row(3, 240, 80, False, True, 2),
    _Row(3, 200, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 184, 80, False, True, 1),
    _Row(3, 480, 112, True, True, 1),
    _Row(3, 672, 112, True, True, 1),
    _Row(5, 672, 160, True, True, 2),
    _Row(5, 960, 160, True, True, 1),
    _Row(5, 960, 160, True, True, 1),
)
_LAST_EXPANSION: Final = 6
_N_HIDDEN: Final = 1280
"""Width of the hidden layer of the classifier, at full width."""
_SQUEEZE: Final = 4
"""Factor by which squeeze-and-excitation reduces the channels."""
_EPS: Final = 1e-3
_MOMENTUM: Final = 1e-2


def hidden_width(width: int) -> int:
    """Width of the hidden layer of the published classifier."""
    return _scaled(_N_HIDDEN, width)


def _scaled(n_channels: int, width: int) -> int:
    """`width` percent of the channels."""
    return _multiple_of_8(n_channels * (width / 100))


def _multiple_of_8(n_channels: int | float) -> int:
    """The nearest multiple of 8 that is at least 8 and not below nine tenths of the number."""
    nearest = max(8, int(n_channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * n_channels else nearest + 8


class MobileConvNorm(nn.Module):
    """Convolution, batch norm, activation: the layer of MobileNetV3, with a stride over frames and mel bins."""

    def __init__(
        self, n_in: int, n_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: str = "none"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        self.norm: nn.Module = MaskedBatchNorm(n_out, eps=_EPS, momentum=_MOMENTUM)
        self.activation, self.stride = activation, stride
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(
        self, x: Float[Tensor, "batch n_in frame mel"], mask: Bool[Tensor, "batch 1 new_frame 1"] | None = None
    ) -> Float[Tensor, "batch n_out new_frame new_mel"]:
        """The mask is that of the result; what it removes becomes zero."""
        x = self.conv(x)
        if isinstance(self.norm, MaskedBatchNorm):
            x = self.norm(x, mask)
        if self.activation == "relu":
            return F.relu(x)
        return F.hardswish(x) if self.activation == "hardswish" else x

    def fold(self) -> None:
        """Folds the batch norm into the convolution."""
        if isinstance(self.norm, MaskedBatchNorm):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


class Squeeze(nn.Module):
    """Squeeze-and-excitation: weights of the channels from their means over time and frequency (Hu et al., 2018)."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        n_squeezed = _multiple_of_8(n_channels // _SQUEEZE)
        self.fc1 = nn.Linear(n_channels, n_squeezed)
        self.fc2 = nn.Linear(n_squeezed, n_channels)
        for layer in (self.fc1, self.fc2):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Float[Tensor, "batch channel frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None = None
    ) -> Float[Tensor, "batch channel frame mel"]:
        """Positions outside the mask are zero."""
        mean = x.mean((2, 3))
        if mask is not None:
            mean = mean * (x.shape[2] / mask.sum((2, 3)))
        weights: Tensor = self.fc2(F.relu(self.fc1(mean))).sigmoid()
        return x * weights[:, :, None, None]


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, squeeze-and-excitation, 1x1 convolution to fewer."""

    def __init__(self, n_in: int, row: _Row, width: int) -> None:
        super().__init__()
        n_expanded, n_out = _scaled(row.n_expanded, width), _scaled(row.n_out, width)
        activation = "hardswish" if row.is_hardswish else "relu"
        self.expand = MobileConvNorm(n_in, n_expanded, activation=activation) if n_expanded != n_in else None
        self.depthwise = MobileConvNorm(n_expanded, n_expanded, row.kernel, row.stride, n_expanded, activation)
        self.squeeze = Squeeze(n_expanded) if row.has_squeeze else None
        self.project = MobileConvNorm(n_expanded, n_out)
        self.is_residual = row.stride == 1 and n_in == n_out

    def forward(
        self, x: Float[Tensor, "batch n_in frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None = None
    ) -> Float[Tensor, "batch n_out new_frame new_mel"]:
        """The mask is that of the input."""
        y = x if self.expand is None else self.expand(x, mask)
        mask = halved(mask, self.depthwise.stride)
        y = self.depthwise(y, mask)
        y = y if self.squeeze is None else self.squeeze(y, mask)
        y = self.project(y, mask)
        return x + y if self.is_residual else y


def halved(mask: Bool[Tensor, "batch 1 frame 1"] | None, stride: int) -> Bool[Tensor, "batch 1 new_frame 1"] | None:
    """The mask after a convolution: a frame is real if the frame at its middle is."""
    return mask if mask is None else mask[:, :, ::stride]


class Mn(Backbone):
    """MobileNetV3-Large at a width in percent, then the mean over frequency: 0.32 s a segment at frames of 10 ms.

    Squeeze-and-excitation weights the channels by their means over the whole clip, so a segment depends on all others.
    Widths of 40, 50, 100, 200 and 400 are EfficientAT's mn04 to mn40.
    """

    frames_per_segment = 32
    halo = None

    def __init__(
        self, n_mels: int = 128, width: int = 100, block_dropout: float = 0.0, partial_segments: bool = True
    ) -> None:
        super().__init__(n_mels, width, block_dropout, partial_segments)
        n_first = n_in = _scaled(_N_FIRST, width)
        self.first = MobileConvNorm(1, n_first, 3, 2, activation="hardswish")
        blocks = []
        for row in _ROWS:
            blocks.append(InvertedResidual(n_in, row, width))
            n_in = _scaled(row.n_out, width)
        self.blocks = nn.ModuleList(blocks)
        self.last = MobileConvNorm(n_in, self.n_channels, activation="hardswish")

    @staticmethod
    def channels_of(width: int) -> int:
        return _LAST_EXPANSION * _scaled(_ROWS[-1].n_out, width)

    def forward(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        mask = frame_mask(log_mel, n_frames)
        x = normalized(log_mel)[:, None]
        if mask is not None:
            x = x.masked_fill(~mask, 0.0)
        mask = halved(mask, self.first.stride)
        x = self.first(x, mask)
        for block, row in zip(self.blocks, _ROWS, strict=True):
            x = block(x, mask)
            mask = halved(mask, row.stride)
        return self.last(x, mask).mean(3).transpose(1, 2)  # (batch, channel, segment, mel) -> (batch, segment, channel)

    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        return FoldedMn(self, dtype)


def normalized(log_mel: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The published scale of the input, `(ln x + 4.5) / 5`, from decibels."""
    return log_mel * (math.log(10) / 50) + 0.9


class FoldedMn(nn.Module):
    """`Mn.folded`: each batch norm is folded into the convolution before it.

    Args:
        backbone: Backbone to copy the weights from.
        dtype: Precision of all layers but the first scaling.
    """

    def __init__(self, backbone: Mn, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).eval()
        for module in self.backbone.modules():
            if isinstance(module, MobileConvNorm):
                module.fold()
        self.backbone.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._dtype = dtype

    def forward(self, log_mel: Float[Tensor, "batch frame mel"]) -> Float[Tensor, "batch segment channel"]:
        """Segments of clips, all of one length."""
        return self.convolved(normalized(log_mel))

    def convolved(self, x: Float[Tensor, "batch frame mel"]) -> Float[Tensor, "batch segment channel"]:
        """Segments from normalised input."""
        x = self.backbone.first(x[:, None].to(self._dtype))
        for block in self.backbone.blocks:
            x = block(x)
        return self.backbone.last(x).float().mean(3).transpose(1, 2)
