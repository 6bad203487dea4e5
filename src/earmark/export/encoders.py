"""Front end and backbone as modules that can be exported."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.export.spectrum import Spectrum, operator
from earmark.model.backbones.cnn import Cnn
from earmark.model.backbones.mn import FoldedMn, Mn, normalized
from earmark.model.frontend import LogMel
from earmark.model.network import Network

_N_FRAMES = 64
"""Number of frames in the shapes of tracing."""


def encoder_of(network: Network) -> nn.Module:
    """Waveform to segments."""
    if isinstance(network.backbone, Cnn):
        return CnnEncoder(network.frontend, network.backbone)
    if isinstance(network.backbone, Mn):
        return MnEncoder(network.frontend, network.backbone)
    raise ConfigError(f"the backbone {network.config.backbone} cannot be exported; cnn, light and mn can", "backbone")


class CnnEncoder(nn.Module):
    """Front end and CNN, with each batch norm folded into the convolution before it."""

    def __init__(self, frontend: LogMel, backbone: Cnn) -> None:
        super().__init__()
        self.partial_segments = backbone.partial_segments
        min_frames = 1 if self.partial_segments else backbone.frames_per_segment
        self.spectrum = Spectrum(frontend, *_affine(backbone.bn0), min_frames)
        layers = list(backbone.layers())
        self.convolutions = nn.ModuleList(
            nn.Sequential(*layer.convolutions[:-1], _fold(layer.convolutions[-1], layer.norm)) for layer in layers
        )
        self._pools = [layer.pool for layer in layers]

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.spectrum(waveform)[:, None]
        for convolution, pool in zip(self.convolutions, self._pools, strict=True):
            x = F.relu(convolution(x))
            if pool > 1:
                x = _halve(x, self.partial_segments)
        return x.mean(3).transpose(1, 2)


class MnEncoder(nn.Module):
    """Front end and MobileNetV3, with each batch norm folded into the convolution before it."""

    def __init__(self, frontend: LogMel, backbone: Mn) -> None:
        super().__init__()
        shift = normalized(torch.zeros(1, dtype=torch.float64))
        self.spectrum = Spectrum(frontend, normalized(torch.ones(1, dtype=torch.float64)) - shift, shift)
        self.backbone = FoldedMn(backbone)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.spectrum(waveform)
        # nothing reads the number of frames, and symbolic halves of it make tracing many times as slow
        x = operator("Identity", x, shape=(x.shape[0], _N_FRAMES, x.shape[2]))
        return self.backbone.convolved(x)


def _halve(x: Tensor, partial: bool) -> Tensor:
    """2 x 2 average pooling; a last frame without a partner is its own average if `partial`, otherwise dropped."""
    # the shape keeps the number of frames: nothing reads it, and halving it makes tracing three times as slow
    shape = (*x.shape[:3], x.shape[3] // 2)
    return operator("AveragePool", x, shape=shape, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=int(partial))


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
