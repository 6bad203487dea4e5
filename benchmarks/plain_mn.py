"""EfficientAT's mn networks as their authors define and run them, in plain PyTorch, with random weights."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# kernel, expanded channels, channels, squeeze, hardswish, stride
BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def eighths(channels: float) -> int:
    """A multiple of 8 near the number."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def convolution(n_in: int, n_out: int, kernel: int, stride: int, groups: int, act: type[nn.Module]) -> nn.Sequential:
    """A convolution with batch norm and an activation."""
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out, eps=0.001), act())


class Squeeze(nn.Module):
    """Squeeze-and-excitation over channels."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        n_squeezed = eighths(n_channels // 4)
        self.fc1, self.fc2 = nn.Linear(n_channels, n_squeezed), nn.Linear(n_squeezed, n_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class Block(nn.Module):
    """Expansion, depthwise convolution, squeeze, projection."""

    def __init__(
        self, n_in: int, kernel: int, n_expanded: int, n_out: int, squeeze: bool, hardswish: bool, stride: int
    ) -> None:
        super().__init__()
        act = nn.Hardswish if hardswish else nn.ReLU
        layers: list[nn.Module] = []
        if n_expanded != n_in:
            layers.append(convolution(n_in, n_expanded, 1, 1, 1, act))
        layers.append(convolution(n_expanded, n_expanded, kernel, stride, n_expanded, act))
        if squeeze:
            layers.append(Squeeze(n_expanded))
        layers.append(convolution(n_expanded, n_out, 1, 1, 1, nn.Identity))
        self.layers, self.is_residual = nn.Sequential(*layers), stride == 1 and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class PlainMn(nn.Module):
    """MobileNetV3-Large at a width, with the published front end.

    Args:
        width: As a factor, 0.4 for mn04.
        n_labels: Number of labels.
    """

    def __init__(self, width: float, n_labels: int) -> None:
        super().__init__()
        mel = 1127 * np.log(1 + np.arange(513) * 32000 / 1024 / 700)
        edges = np.linspace(0, 1127 * np.log(1 + 15000 / 700), 130)
        rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
        fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
        self.register_buffer("filters", torch.from_numpy(np.clip(np.minimum(rise, fall), 0, None)).float().T)
        self.register_buffer("window", torch.hann_window(800, periodic=False))
        self.register_buffer("emphasis", torch.tensor([[[-0.97, 1.0]]]))
        n_in = eighths(16 * width)
        layers: list[nn.Module] = [convolution(1, n_in, 3, 2, 1, nn.Hardswish)]
        for kernel, expanded, channels, squeeze, hardswish, stride in BLOCKS:
            n_out = eighths(channels * width)
            layers.append(Block(n_in, kernel, eighths(expanded * width), n_out, squeeze, hardswish, stride))
            n_in = n_out
        layers.append(convolution(n_in, 6 * n_in, 1, 1, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(6 * n_in, eighths(1280 * width))
        self.fc2 = nn.Linear(eighths(1280 * width), n_labels)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        x = F.conv1d(waveform[:, None], self.emphasis)[:, 0]
        x = torch.stft(x, 1024, 320, 800, self.window, center=True, return_complex=True)
        x = self.filters @ x.abs().square()
        x = ((x + 1e-5).log() + 4.5) / 5
        x = self.features(x[:, None]).mean((2, 3))
        return torch.sigmoid(self.fc2(F.hardswish(self.fc1(x))))
