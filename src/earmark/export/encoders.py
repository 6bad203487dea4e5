"""Front end and backbone as modules that can be exported."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.export.spectrum import Spectrum, operator
from earmark.model.backbones.cnn import Cnn
from earmark.model.backbones.layers import AveragePool, fold_norms
from earmark.model.backbones.mn import FoldedMn, Mn, normalized
from earmark.model.backbones.mobilenet import MobileNetV1
from earmark.model.backbones.resnet import ResNet38
from earmark.model.backbones.wavegram import N_IMAGES, POOL, Wavegram
from earmark.model.frontend import LogMel
from earmark.model.network import Network

_N_FRAMES = 64
"""Number of frames in the shapes of tracing."""


def encoder_of(network: Network) -> nn.Module:
    """Waveform to segments."""
    frontend, backbone = network.frontend, network.backbone
    if isinstance(backbone, Wavegram):
        return WavegramEncoder(frontend, backbone)
    if isinstance(backbone, Cnn):
        return CnnEncoder(frontend, backbone)
    if isinstance(backbone, Mn):
        return MnEncoder(frontend, backbone)
    if isinstance(backbone, ResNet38 | MobileNetV1):
        return ConvNormEncoder(frontend, backbone)
    raise ConfigError(f"the backbone {network.config.backbone} cannot be exported", "backbone")


def _spectrum(frontend: LogMel, backbone: Cnn | ResNet38 | MobileNetV1) -> Spectrum:
    """The front end with the backbone's first batch norm."""
    return Spectrum(frontend, *_affine(backbone.bn0), 1 if backbone.partial_segments else backbone.frames_per_segment)


class CnnEncoder(nn.Module):
    """Front end and CNN, with each batch norm folded into the convolution before it."""

    def __init__(self, frontend: LogMel, backbone: Cnn) -> None:
        super().__init__()
        self.partial_segments = backbone.partial_segments
        self.spectrum = _spectrum(frontend, backbone)
        layers = list(backbone.layers())
        self.convolutions = nn.ModuleList(
            nn.Sequential(*layer.convolutions[:-1], _fold(layer.convolutions[-1], layer.norm)) for layer in layers
        )
        self._pools = [layer.pool for layer in layers]

    def forward(self, waveform: Tensor) -> Tensor:
        return self.convolved(self.spectrum(waveform)[:, None], 0, len(self._pools)).mean(3).transpose(1, 2)

    def convolved(self, x: Tensor, first: int, end: int) -> Tensor:
        """The result of these convolutions."""
        for number in range(first, end):
            x = F.relu(self.convolutions[number](x))
            if self._pools[number] > 1:
                x = _halve(x, self.partial_segments)
        return x


class WavegramEncoder(CnnEncoder):
    """The same with the wavegram beside the result of the first block."""

    def __init__(self, frontend: LogMel, backbone: Wavegram) -> None:
        super().__init__(frontend, backbone)
        self.wave: Any = copy.deepcopy(backbone.wave).eval()
        fold_norms(self.wave)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.convolved(_of_known_length(self.spectrum(waveform), _N_FRAMES)[:, None], 0, 2)
        wavegram = self.wavegram(waveform)
        # as many frames as the log-mel has, with zeros where the wavegram ends before
        n_more = torch.tensor([0, 0, 0, 0, 0, 0, 1, 0])
        longer = operator("Pad", wavegram, n_more, shape=wavegram.shape)
        n_frames = torch.full((1,), self.spectrum.config.n_frames(waveform.shape[1])).clamp(min=self.wave.least)
        n_halves = (n_frames + int(self.partial_segments)).div(2, rounding_mode="floor")
        cut = operator("Slice", longer, torch.tensor([0]), n_halves, torch.tensor([2]), shape=x.shape)
        x = torch.cat([x, cut], 1)
        return self.convolved(x, 2, len(self._pools)).mean(3).transpose(1, 2)

    def wavegram(self, waveform: Tensor) -> Tensor:
        """The wavegram of half the log-mel's frames, or one frame fewer."""
        n_more = (self.wave.least * Wavegram.hop_length - torch.full((1,), waveform.shape[1])).clamp(min=0)
        waveform = operator("Pad", waveform, torch.tensor([0, 0, 0, 1]) * n_more, shape=waveform.shape)
        waveform = _of_known_length(waveform, _N_FRAMES * Wavegram.hop_length)
        x = F.relu(self.wave.first.conv(waveform[:, None, :, None]))
        for block in self.wave.blocks:
            x = F.relu(block.conv2.conv(F.relu(block.conv1.conv(x))))
            # the shape keeps the length, as that of `_halve`
            x = operator(
                "MaxPool",
                x,
                shape=x.shape,
                kernel_shape=[POOL, 1],
                strides=[POOL, 1],
                ceil_mode=int(self.partial_segments),
            )
        n_bins = self.wave.n_bins
        shape = (x.shape[0], N_IMAGES, n_bins, x.shape[2])
        x = operator("Reshape", x, torch.tensor([0, N_IMAGES, n_bins, -1]), shape=shape).transpose(2, 3)
        for layer in self.wave.last:
            x = F.relu(layer.conv(x))
        return _halve(x, self.partial_segments, over_mel=False)


class ConvNormEncoder(nn.Module):
    """Front end and a backbone of `ConvNorm`, whose poolings are those of ONNX."""

    def __init__(self, frontend: LogMel, backbone: ResNet38 | MobileNetV1) -> None:
        super().__init__()
        self.spectrum = _spectrum(frontend, backbone)
        self.backbone: Any = backbone.folded()
        for module in list(self.backbone.modules()):
            if isinstance(getattr(module, "pool", None), AveragePool):
                module.pool = OnnxPool()

    def forward(self, waveform: Tensor) -> Tensor:
        x = _of_known_length(self.spectrum(waveform), _N_FRAMES)
        segments: Tensor = self.backbone.convolved(x[:, None])
        return segments


class OnnxPool(nn.Module):
    """`AveragePool` by ONNX's operator."""

    def forward(self, x: Tensor, mask: None, partial: bool) -> tuple[Tensor, None]:
        return _halve(x, partial), mask


class MnEncoder(nn.Module):
    """Front end and MobileNetV3, with each batch norm folded into the convolution before it."""

    def __init__(self, frontend: LogMel, backbone: Mn) -> None:
        super().__init__()
        shift = normalized(torch.zeros(1, dtype=torch.float64))
        self.spectrum = Spectrum(frontend, normalized(torch.ones(1, dtype=torch.float64)) - shift, shift)
        self.backbone = FoldedMn(backbone)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.backbone.convolved(_of_known_length(self.spectrum(waveform), _N_FRAMES))


def _of_known_length(x: Tensor, length: int) -> Tensor:
    """The same; nothing reads the length, and symbolic fractions of it make tracing many times as slow."""
    return operator("Identity", x, shape=(x.shape[0], length, *x.shape[2:]))


def _halve(x: Tensor, partial: bool, over_mel: bool = True) -> Tensor:
    """2 x 2 average pooling; a last frame without a partner is its own average if `partial`, otherwise dropped."""
    size = [2, 2 if over_mel else 1]
    # the shape keeps the number of frames: nothing reads it, and halving it makes tracing three times as slow
    shape = (*x.shape[:3], x.shape[3] // size[1])
    return operator("AveragePool", x, shape=shape, kernel_shape=size, strides=size, ceil_mode=int(partial))


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation, in double precision."""
    if norm.running_mean is None or norm.running_var is None:
        raise ConfigError("a batch norm without running statistics cannot be exported; train the network with them")
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale.detach(), (norm.bias.double() - norm.running_mean.double() * scale).detach()


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    scale, shift = _affine(norm)
    folded = copy.deepcopy(convolution)
    folded.weight.data = (convolution.weight.detach().double() * scale[:, None, None, None]).float().contiguous()
    folded.bias = nn.Parameter(shift.float())
    return folded
