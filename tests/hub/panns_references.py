"""PANNs written down plainly, of any width, with the published names of their tensors."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earmark.model.frontend import FrontendConfig
from earmark.model.mel import mel_filters

FRONTEND = FrontendConfig(hop_length=320, last_frame=True)
FRONTEND_16K = FrontendConfig(sample_rate=16000, n_fft=512, hop_length=160, f_max=8000.0, last_frame=True)


def conv(n_in: int, n_out: int, size: int = 3, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2, groups=groups, bias=False)


def pair(n_in: int, n_out: int) -> nn.Module:
    """Two convolutions with their batch norms."""
    block = nn.Module()
    block.conv1, block.conv2 = conv(n_in, n_out), conv(n_out, n_out)
    block.bn1, block.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
    return block


def through(block: nn.Module, x: Tensor) -> Tensor:
    x = F.relu(block.bn1(block.conv1(x)))
    return F.relu(block.bn2(block.conv2(x)))


class Pann(nn.Module):
    """Front end as convolutions, and classifier; a subclass adds what lies between."""

    def __init__(self, n_channels: int, n_hidden: int, n_labels: int, frontend: FrontendConfig = FRONTEND) -> None:
        super().__init__()
        self.n_fft, self.hop = frontend.n_fft, frontend.hop_length
        n_bins = self.n_fft // 2 + 1
        self.spectrogram_extractor = nn.Module()
        self.spectrogram_extractor.stft = nn.Module()
        for part in ("real", "imag"):
            convolution = nn.Conv1d(1, n_bins, self.n_fft, stride=self.hop, bias=False)
            convolution.requires_grad_(False)
            setattr(self.spectrogram_extractor.stft, f"conv_{part}", convolution)
        self.logmel_extractor = nn.Module()
        self.logmel_extractor.melW = nn.Parameter(torch.from_numpy(mel_filters(frontend)).float(), requires_grad=False)
        self.bn0 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(n_channels, n_hidden)
        self.fc_audioset = nn.Linear(n_hidden, n_labels)

    def fill(self) -> "Pann":
        """Random weights, with statistics as unlike 0 and 1 as trained ones."""
        if self.fc1.weight.is_meta:
            return self
        matrix = np.exp(-2j * np.pi * np.outer(np.arange(self.n_fft // 2 + 1), np.arange(self.n_fft)) / self.n_fft)
        matrix *= 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.n_fft) / self.n_fft)
        stft = self.spectrogram_extractor.stft
        for convolution, part in ((stft.conv_real, matrix.real), (stft.conv_imag, matrix.imag)):
            convolution.weight.data = torch.from_numpy(part[:, None].copy()).float()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, -30 if module is self.bn0 else 0, 0.3)
                nn.init.uniform_(module.running_var, *((200, 400) if module is self.bn0 else (0.5, 2)))
                nn.init.uniform_(module.weight, 0.7, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
        nn.init.normal_(self.fc_audioset.weight, 0, 0.3)
        return self.eval()

    def log_mel(self, waveform: Tensor) -> Tensor:
        """The normalised log-mel, (batch, 1, frame, mel)."""
        stft, margin = self.spectrogram_extractor.stft, self.n_fft // 2
        x = F.pad(waveform[:, None], (margin, margin), mode="reflect")
        power = stft.conv_real(x).square() + stft.conv_imag(x).square()  # (batch, frequency, frame)
        mel = power.transpose(1, 2) @ self.logmel_extractor.melW
        x = 10 * torch.log10(mel.clamp(min=1e-10))[:, None]
        return self.bn0(x.transpose(1, 3)).transpose(1, 3)

    def maps(self, waveform: Tensor) -> Tensor:
        """The last feature maps, (batch, channel, segment, mel)."""
        raise NotImplementedError

    def segments(self, waveform: Tensor) -> Tensor:
        return self.maps(waveform).mean(3).transpose(1, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        """Scores."""
        x = self.segments(waveform)
        x = x.max(1).values + x.mean(1)
        return torch.sigmoid(self.fc_audioset(F.relu(self.fc1(x))))


class Cnn(Pann):
    """Cnn10 has 4 blocks, each followed by a pooling; Cnn14 has 6, the last without one."""

    def __init__(
        self, width: int = 4, n_labels: int = 527, frontend: FrontendConfig = FRONTEND, n_blocks: int = 4
    ) -> None:
        channels = [1] + [width * 2**i for i in range(n_blocks)]
        super().__init__(channels[-1], channels[-1], n_labels, frontend)
        self.n_blocks = n_blocks
        for number, (n_in, n_out) in enumerate(pairwise(channels), 1):
            setattr(self, f"conv_block{number}", pair(n_in, n_out))
        self.fill()

    def maps(self, waveform: Tensor) -> Tensor:
        return self.blocks(self.log_mel(waveform), 1)

    def blocks(self, x: Tensor, first: int) -> Tensor:
        for number in range(first, self.n_blocks + 1):
            x = through(getattr(self, f"conv_block{number}"), x)
            x = x if number == 6 else F.avg_pool2d(x, 2)
        return x


class WavegramLogmelCnn14(Cnn):
    def __init__(self, width: int = 4, n_labels: int = 527, frontend: FrontendConfig = FRONTEND) -> None:
        super().__init__(width, n_labels, frontend, 6)
        self.conv_block2 = pair(2 * width, 2 * width)
        self.pre_conv0 = nn.Conv1d(1, width, 11, stride=5, padding=5, bias=False)
        self.pre_bn0 = nn.BatchNorm1d(width)
        for number, (n_in, n_out) in enumerate(((width, width), (width, 2 * width), (2 * width, 128)), 1):
            block = nn.Module()
            block.conv1 = nn.Conv1d(n_in, n_out, 3, padding=1, bias=False)
            block.conv2 = nn.Conv1d(n_out, n_out, 3, padding=2, dilation=2, bias=False)
            block.bn1, block.bn2 = nn.BatchNorm1d(n_out), nn.BatchNorm1d(n_out)
            setattr(self, f"pre_block{number}", block)
        self.pre_block4 = pair(4, width)
        self.fill()

    def maps(self, waveform: Tensor) -> Tensor:
        wave = F.relu(self.pre_bn0(self.pre_conv0(waveform[:, None])))
        for block in (self.pre_block1, self.pre_block2, self.pre_block3):
            wave = F.max_pool1d(through(block, wave), 4)
        n_frames = wave.shape[2]
        images = torch.stack([wave[:, 32 * i : 32 * i + 32].transpose(1, 2) for i in range(4)], 1)
        assert images.shape[1:] == (4, n_frames, 32)
        images = F.avg_pool2d(through(self.pre_block4, images), (2, 1))
        x = F.avg_pool2d(through(self.conv_block1, self.log_mel(waveform)), 2)
        return self.blocks(torch.cat([x, images], 1), 2)


class ResNet38(Pann):
    def __init__(self, width: int = 4, n_labels: int = 527, frontend: FrontendConfig = FRONTEND) -> None:
        super().__init__(32 * width, 32 * width, n_labels, frontend)
        self.conv_block1, self.conv_block_after1 = pair(1, width), pair(8 * width, 32 * width)
        self.resnet = nn.Module()
        n_in = width
        for stage, n_blocks in enumerate((3, 4, 6, 3)):
            blocks = []
            for _ in range(n_blocks):
                block = pair(n_in, width * 2**stage)
                if n_in != width * 2**stage:
                    n_out = width * 2**stage
                    block.downsample = nn.Sequential(nn.AvgPool2d(2), conv(n_in, n_out, 1), nn.BatchNorm2d(n_out))
                blocks.append(block)
                n_in = width * 2**stage
            setattr(self.resnet, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fill()

    def maps(self, waveform: Tensor) -> Tensor:
        x = F.avg_pool2d(through(self.conv_block1, self.log_mel(waveform)), 2)
        for block in (block for layer in self.resnet.children() for block in layer):
            has_shortcut = hasattr(block, "downsample")
            y = F.avg_pool2d(x, 2) if has_shortcut else x
            y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(y)))))
            x = F.relu(y + (block.downsample(x) if has_shortcut else x))
        return through(self.conv_block_after1, F.avg_pool2d(x, 2))


class MobileNetV1(Pann):
    def __init__(self, width: int = 4, n_labels: int = 527, frontend: FrontendConfig = FRONTEND) -> None:
        super().__init__(16 * width, 16 * width, n_labels, frontend)
        half = width // 2
        channels = [half, width, 2 * width, 2 * width, 4 * width, 4 * width, *[8 * width] * 6, *[16 * width] * 2]
        first = nn.Sequential(conv(1, half), nn.AvgPool2d(2), nn.BatchNorm2d(half), nn.ReLU())
        self.features = nn.Sequential(first)
        for number, (n_in, n_out) in enumerate(pairwise(channels)):
            self.features.append(
                nn.Sequential(
                    conv(n_in, n_in, groups=n_in),
                    nn.AvgPool2d(2 if number in (1, 3, 5, 11) else 1),
                    nn.BatchNorm2d(n_in),
                    nn.ReLU(),
                    conv(n_in, n_out, 1),
                    nn.BatchNorm2d(n_out),
                    nn.ReLU(),
                )
            )
        self.fill()

    def maps(self, waveform: Tensor) -> Tensor:
        return self.features(self.log_mel(waveform))


class Inverted(nn.Module):
    def __init__(self, n_in: int, n_out: int, factor: int, stride: int) -> None:
        super().__init__()
        n, self.adds = factor * n_in, stride == 1 and n_in == n_out
        widened = [conv(n_in, n, 1), nn.BatchNorm2d(n), nn.ReLU6()] if factor > 1 else []
        filtered = [conv(n, n, groups=n), nn.AvgPool2d(stride), nn.BatchNorm2d(n), nn.ReLU6()]
        self.conv = nn.Sequential(*widened, *filtered, conv(n, n_out, 1), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x if self.adds else self.conv(x)


class MobileNetV2(Pann):
    """PANNs' MobileNetV2; its width must be a multiple of 8."""

    def __init__(self, width: int = 8, n_labels: int = 527, frontend: FrontendConfig = FRONTEND) -> None:
        super().__init__(20 * width, 16 * width, n_labels, frontend)
        eighth = width // 8
        n_in = 4 * eighth
        self.features = nn.Sequential(nn.Sequential(conv(1, n_in), nn.AvgPool2d(2), nn.BatchNorm2d(n_in), nn.ReLU6()))
        table = ((1, 2, 1, 1), (6, 3, 2, 2), (6, 4, 3, 2), (6, 8, 4, 2), (6, 12, 3, 2), (6, 20, 3, 1), (6, 40, 1, 1))
        for factor, n_eighths, n_blocks, stride in table:
            for number in range(n_blocks):
                self.features.append(Inverted(n_in, n_eighths * eighth, factor, 1 if number else stride))
                n_in = n_eighths * eighth
        n_out = 20 * width
        self.features.append(nn.Sequential(conv(n_in, n_out, 1), nn.BatchNorm2d(n_out), nn.ReLU6()))
        self.fill()

    def maps(self, waveform: Tensor) -> Tensor:
        return self.features(self.log_mel(waveform))
