"""The paper's network trained in plain PyTorch, the way it is usually written, to measure earmark's training against.

float32, NCHW, eager; the front end as convolutions inside the model, on every batch; audio read by a map-style data set
in the loader's workers; SpecAugment clip by clip. It does not use earmark.
"""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

SAMPLE_RATE = 32000


class Clips(Dataset):
    """FLAC files at the model's rate, cropped or padded to one length."""

    def __init__(self, files: list[Path], targets: np.ndarray, seconds: float, n_draws: int) -> None:
        self.files = files
        self.targets = targets
        self.n_samples = round(seconds * SAMPLE_RATE)
        self.order = np.random.default_rng(0).integers(0, len(files), n_draws)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        clip = self.order[index]
        waveform, _ = soundfile.read(self.files[clip], dtype="float32")
        waveform = waveform[: self.n_samples]
        return np.pad(waveform, (0, self.n_samples - len(waveform))), self.targets[clip]


class LogMel(nn.Module):
    """STFT as two convolutions, then the mel matrix and the logarithm."""

    def __init__(self, mel: np.ndarray, n_fft: int = 1024, hop_length: int = 800) -> None:
        super().__init__()
        self.hop_length, self.n_fft = hop_length, n_fft
        angle = 2 * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        for name, wave in (("real", np.cos(angle)), ("imag", -np.sin(angle))):
            self.register_buffer(name, torch.tensor((wave * window)[:, None], dtype=torch.float32))
        self.register_buffer("mel", torch.tensor(mel, dtype=torch.float32))

    def forward(self, waveform: Tensor) -> Tensor:
        x = F.pad(waveform[:, None], (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        real = F.conv1d(x, self.real, stride=self.hop_length)
        imag = F.conv1d(x, self.imag, stride=self.hop_length)
        power = (real**2 + imag**2).transpose(1, 2)[:, :-1]
        return 10 * torch.log10(torch.clamp(power @ self.mel, min=1e-10))


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.bn1(self.conv1(x)))
        x = F.relu_(self.bn2(self.conv2(x)))
        return F.dropout(F.avg_pool2d(x, 2), 0.2, self.training)


class Tagger(nn.Module):
    """The paper's network with GMAP."""

    def __init__(self, mel: np.ndarray, n_labels: int, n_heads: int = 4, width: int = 64) -> None:
        super().__init__()
        self.frontend = LogMel(mel)
        self.bn0 = nn.BatchNorm2d(mel.shape[1])
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(channels)))
        n_channels, self.n_heads = channels[-1], n_heads
        self.query = nn.Parameter(0.01 * torch.randn(n_heads, n_channels // n_heads))
        self.gate = nn.Linear(2 * n_channels, 2 * n_channels)
        self.fc1 = nn.Linear(2 * n_channels, n_channels)
        self.fc2 = nn.Linear(n_channels, n_labels)

    def forward(self, waveform: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad():
            x = self.frontend(waveform)[:, None]
            if self.training and target is not None:
                x = spec_augment(x)
                weight = torch.distributions.Beta(1.0, 1.0).sample((len(x),)).to(x.device)
                partner = torch.randperm(len(x))
                x = weight[:, None, None, None] * x + (1 - weight)[:, None, None, None] * x[partner]
                target = weight[:, None] * target + (1 - weight)[:, None] * target[partner]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = self.blocks(x).mean(3)  # (batch, channel, segment)
        heads = x.view(len(x), self.n_heads, -1, x.shape[2])
        attention = torch.softmax((self.query[None, :, :, None] * heads).sum(2), dim=-1)[:, :, None]
        mean = (attention * heads).sum(-1)
        deviation = (attention * (heads - mean[..., None]) ** 2).sum(-1).clamp(min=1e-6).sqrt()
        clip = torch.cat([mean, deviation], 2).flatten(1)
        clip = torch.sigmoid(self.gate(clip)) * clip
        x = F.relu_(self.fc1(F.dropout(clip, 0.5, self.training)))
        return self.fc2(x), target


def spec_augment(x: Tensor) -> Tensor:
    """Two stripes of time and two of frequency, clip by clip, filled with the mean."""
    mean = x.mean()
    for clip in x:
        for axis, widest in ((1, 26), (2, 8)):
            for _ in range(2):
                width = int(torch.randint(0, widest, ()))
                start = int(torch.randint(0, clip.shape[axis] - width, ()))
                clip.narrow(axis, start, width).fill_(mean)
    return x


def train(
    files: list[Path], targets: np.ndarray, mel: np.ndarray, seconds: float, batch_size: int, n_steps: int,
    n_workers: int, device: str, width: int = 64,
) -> list[float]:  # fmt: skip
    """Seconds of each step, data included."""
    torch.manual_seed(0)
    model = Tagger(mel, targets.shape[1], width=width).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    clips = Clips(files, targets, seconds, batch_size * n_steps)
    loader = DataLoader(clips, batch_size, num_workers=n_workers, pin_memory=device == "cuda", drop_last=True)
    model.train()
    times, start = [], time.perf_counter()
    for waveform, target in loader:
        logits, mixed = model(waveform.to(device), target.to(device))
        loss = F.binary_cross_entropy_with_logits(logits, mixed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        now = time.perf_counter()
        times.append(now - start)
        start = now
    return times
