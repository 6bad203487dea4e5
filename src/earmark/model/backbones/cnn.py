"""The paper's four-block CNN (§4.3), a light version of it, and PANNs' six-block Cnn14 (Kong et al., 2020)."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.layers import MaskedBatchNorm, average_pooled, dropout, frame_mask, lengthened


class SeparableConv(nn.Module):
    """Depthwise 3x3 convolution, then pointwise 1x1 convolution: a ninth of the work (Xception).

    As in Xception, neither batch norm nor ReLU lies between the two.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(n_in, n_in, 3, padding=1, groups=n_in, bias=False)
        self.pointwise = nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Float[Tensor, "batch n_in frame mel"]) -> Float[Tensor, "batch n_out frame mel"]:
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


class HalvingConv(nn.Conv2d):
    """A 4x4 convolution with stride 2: each output covers two frames and mel bins, and one more on either side.

    The size is even, so that an output is centred on its inputs, as with average pooling.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 4, stride=2, bias=False)

    def forward(self, input: Float[Tensor, "batch n_in frame mel"]) -> Float[Tensor, "batch n_out half_frame half_mel"]:
        # one more frame of zeros at the end: the partner of a last frame without one; it changes nothing else
        return super().forward(F.pad(input, (1, 1, 1, 2)))


class Layer(NamedTuple):
    """One layer of a backbone."""

    convolutions: list[nn.Conv2d]
    """Convolutions in sequence."""
    norm: MaskedBatchNorm
    """Batch norm after the last convolution; a ReLU follows."""
    pool: int
    """Size of the average pooling after the ReLU."""


class ConvBlock(nn.Module):
    """(Convolution, batch norm, ReLU) twice, then 2x2 average pooling if `pools`."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, n_channels: int, pools: bool = True) -> None:
        super().__init__()
        self.conv1 = conv1
        self.bn1 = MaskedBatchNorm(n_channels)
        self.conv2 = conv2
        self.bn2 = MaskedBatchNorm(n_channels)
        self._pools = pools
        for convolution in (each for layer in self.layers() for each in layer.convolutions):
            nn.init.xavier_uniform_(convolution.weight)

    def layers(self) -> Iterator[Layer]:
        """The layers of the block, in order."""
        for convolution, norm, pool in (
            (self.conv1, self.bn1, 1),
            (self.conv2, self.bn2, 2 if self._pools else 1),
        ):
            yield Layer([module for module in convolution.modules() if isinstance(module, nn.Conv2d)], norm, pool)

    def forward(
        self, x: Float[Tensor, "batch n_in frame mel"], mask: Bool[Tensor, "batch 1 frame 1"] | None, partial: bool
    ) -> tuple[Float[Tensor, "batch n_out new_frame new_mel"], Bool[Tensor, "batch 1 new_frame 1"] | None]:
        """The result and its mask; `partial` is as for `average_pooled`."""
        x = self.conv1(x)
        if mask is not None and isinstance(self.conv1, HalvingConv):
            mask = mask[:, :, ::2]
        x = F.relu_(self.bn1(x, mask))
        x = F.relu_(self.bn2(self.conv2(x), mask))
        return average_pooled(x, mask, partial) if self._pools else (x, mask)


class Cnn(Backbone):
    """The paper's CNN: 4 blocks of `width`, 2, 4 and 8 times `width` channels, then the mean over frequency.

    A segment covers 16 frames and depends on `halo` more on either side. If the number of frames is no multiple of 16,
    the clip ends in a partial segment, averaged over its frames, so that no sound is ignored.

    Without partial segments average pooling drops a last frame that has no partner, as in PANNs; up to 15 frames at the
    end of a clip then only count as context of the segment before. A clip of fewer than 16 frames is padded with
    silence.
    """

    frames_per_segment = 16
    halo = 2 * (2**4 - 1)
    """Two 3x3 convolutions at steps 1, 2, 4 and 8."""
    can_drop_frames = True
    n_blocks: ClassVar[int] = 4

    def __init__(
        self, n_mels: int = 64, width: int = 64, block_dropout: float = 0.2, partial_segments: bool = True
    ) -> None:
        super().__init__(n_mels, width, block_dropout, partial_segments)
        channels = [1] + [width * 2**i for i in range(self.n_blocks)]
        self.bn0 = MaskedBatchNorm(n_mels)
        self.blocks = nn.ModuleList(self._block(*pair, number) for number, pair in enumerate(pairwise(channels)))

    @classmethod
    def channels_of(cls, width: int) -> int:
        return width * 2 ** (cls.n_blocks - 1)

    @staticmethod
    def _block(n_in: int, n_out: int, number: int) -> ConvBlock:
        """The block of this number, from 0 on."""
        first, second = (nn.Conv2d(n, n_out, 3, padding=1, bias=False) for n in (n_in, n_out))
        # Cnn14's sixth block keeps the size
        return ConvBlock(first, second, n_out, pools=number < 5)

    def layers(self) -> Iterator[Layer]:
        """The layers between the first batch norm and the mean over frequency."""
        for block in self.blocks:
            yield from cast(ConvBlock, block).layers()

    def forward(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        return self._convolved(log_mel, n_frames)

    def _convolved(
        self,
        log_mel: Tensor,
        n_frames: Tensor | None,
        beside: Float[Tensor, "batch other half_frame half_mel"] | None = None,
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments; after the first block the channels of `beside` stand beside its own."""
        if not self.partial_segments:
            log_mel, n_frames = lengthened(log_mel, n_frames, self.frames_per_segment)
        mask = frame_mask(log_mel, n_frames)
        x = log_mel.transpose(1, 2)[..., None]  # (batch, mel, frame, 1): statistics are per mel bin
        x = self.bn0(x, mask)
        x = x.permute(0, 3, 2, 1)  # (batch, 1, frame, mel)
        for block in self.blocks:
            x, mask = block(x, mask, self.partial_segments)
            if beside is not None:
                x, beside = torch.cat([x, beside], 1), None
            x = dropout(x, self.block_dropout) if self.training else x
        return x.mean(3).transpose(1, 2)  # (batch, channel, segment, mel) -> (batch, segment, channel)

    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        return FoldedCnn(self, dtype)


class LightCnn(Cnn):
    """The same shapes with a tenth of the multiplications, for phones and small boards.

    All convolutions but the first are separable. The first has stride 2: at full resolution the first block would hold
    as many activations as all others together. From the second block on the resolutions are the paper's.
    """

    halo = 1 + 2 + 2 * (2**4 - 2)
    """A 4x4 convolution, one of 3x3 at step 2, and two each at steps 2, 4 and 8."""
    can_drop_frames = False

    @staticmethod
    def _block(n_in: int, n_out: int, number: int) -> ConvBlock:
        if number == 0:
            return ConvBlock(HalvingConv(n_in, n_out), SeparableConv(n_out, n_out), n_out, pools=False)
        return ConvBlock(SeparableConv(n_in, n_out), SeparableConv(n_out, n_out), n_out)


class Cnn14(Cnn):
    """PANNs' Cnn14: two more blocks, of 16 and 32 times `width` channels; the last one has no pooling.

    A segment covers 32 frames; all else is as in `Cnn`.
    """

    frames_per_segment = 32
    halo = 2 * (2**6 - 1)
    """Two 3x3 convolutions at steps 1, 2, 4, 8, 16 and 32."""
    mel_divisor = 32
    n_blocks = 6


class FoldedCnn(nn.Module):
    """`Cnn.folded`: each batch norm is folded into the convolution before it.

    It is slightly faster in float32, and twice as fast in bfloat16 where the processor has instructions for it
    (results/bench.md).

    Args:
        backbone: Backbone to copy the weights from.
        dtype: Precision of the convolutions.
    """

    def __init__(self, backbone: Cnn, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        original = copy.deepcopy(backbone).eval()
        # the first batch norm precedes a convolution that pads its input: it cannot be folded exactly
        self.bn0 = original.bn0
        layers = list(original.layers())
        self.convolutions = nn.ModuleList(
            nn.Sequential(*layer.convolutions[:-1], fuse_conv_bn_eval(layer.convolutions[-1], layer.norm))
            for layer in layers
        )
        self.convolutions.to(dtype)
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._pools = [layer.pool for layer in layers]
        self._dtype = dtype
        self._partial_segments = backbone.partial_segments
        self._frames_per_segment = backbone.frames_per_segment

    def forward(self, log_mel: Float[Tensor, "batch frame mel"]) -> Float[Tensor, "batch segment channel"]:
        """Segments of clips, all of one length."""
        return self._convolved(log_mel)

    def _convolved(
        self, log_mel: Tensor, beside: Float[Tensor, "batch other half_frame half_mel"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments; after the first block the channels of `beside` stand beside its own."""
        if not self._partial_segments:
            log_mel, _ = lengthened(log_mel, None, self._frames_per_segment)
        x = self.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1).to(self._dtype)
        for convolution, pool in zip(self.convolutions, self._pools, strict=True):
            x = F.relu_(convolution(x))
            if pool > 1:
                x = F.avg_pool2d(x, pool, ceil_mode=self._partial_segments)
                if beside is not None:
                    x, beside = torch.cat([x, beside], 1), None
        segments: Tensor = x.float().mean(3).transpose(1, 2)
        return segments
