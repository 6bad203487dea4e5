"""The front end in operators that are fast in ONNX Runtime."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from earmark.model.frontend import LogMel, hann_window

Size = Any
"""An int; during export a torch.SymInt."""


class Spectrum(nn.Module):
    """`LogMel` with a scale and a shift, in operators that are fast in ONNX Runtime (its STFT is slow).

    The Fourier transform is a matrix product. About the middle of the window cosines are even and sines odd, so the sum
    and the difference of a frame and its mirror image suffice, with half the work. The matrices include the window and
    leave out frequencies without a mel bin. A clip of fewer than `min_frames` frames is padded with silence.

    Args:
        frontend: The front end.
        scale: Factors of the log-mel (dB), one for each bin or for all.
        shift: Added to the product.
        min_frames: Frames of the shortest result.
    """

    cosines: Tensor
    sines: Tensor
    filters: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, frontend: LogMel, scale: Tensor, shift: Tensor, min_frames: int = 1) -> None:
        super().__init__()
        self.config = config = frontend.config
        self.min_frames = min_frames
        self.n_fft, self.hop = config.n_fft, config.hop_length
        length = config.window_length or self.n_fft
        before = (self.n_fft - length) // 2
        # the first sample of a periodic window is 0 and has no mirror image
        self.first, self.last = before + (0 if config.symmetric_window else 1), before + length - 1
        self.n_pairs = (self.last - self.first) // 2 + 1
        used = frontend.filters.abs().sum(1) > 0
        position = torch.arange(self.first, self.first + self.n_pairs, dtype=torch.float64)[:, None]
        weight = hann_window(config, torch.float64)[self.first : self.first + self.n_pairs, None].clone()
        weight[2 * position == self.first + self.last] /= 2  # a sample that is its own mirror image
        # a middle at half the transform changes no more than signs
        middle = 0.0 if self.first + self.last == self.n_fft else (self.first + self.last) / 2
        turns = (position - middle) * torch.nonzero(used).T.double() / self.n_fft
        self.register_buffer("cosines", (weight * torch.cos(2 * torch.pi * turns)).float())
        self.register_buffer("sines", (weight * torch.sin(2 * torch.pi * turns)).float())
        self.register_buffer("filters", frontend.filters[used].clone())
        self.register_buffer("scale", (scale * 10 / np.log(10)).float())
        self.register_buffer("shift", shift.float())

    def forward(self, waveform: Tensor) -> Tensor:
        length = waveform.shape[1]
        margin, n_frames = self.n_fft // 2, self.config.n_frames(length)
        n_rows = -(-self.n_fft // self.hop)  # rows of one hop that a frame covers
        n_samples = (n_frames + n_rows) * self.hop - margin
        if self.config.preemphasis:
            # a sample shorter; the 0 is all that is left of a clip of one sample
            emphasized = waveform[:, 1:] - self.config.preemphasis * waveform[:, :-1]
            source, length = torch.cat([emphasized, 0.0 * waveform[:, :1]], 1), length - 1
        else:
            source = waveform
        before = source.index_select(1, reflected(torch.arange(-margin, 0), length - 1))
        after = source.index_select(1, reflected(torch.arange(length, n_samples), length - 1))
        inside = source[:, :-1] if self.config.preemphasis else source
        padded = torch.cat([before, inside, after], 1)
        rows = operator(
            "Reshape", padded, torch.tensor([0, -1, self.hop]), shape=(waveform.shape[0], n_frames + n_rows, self.hop)
        )
        # (batch, frame, sample)
        frames = torch.cat([rows[:, row : n_frames + row] for row in range(n_rows)], 2)[..., : self.n_fft]
        left = frames[..., self.first : self.first + self.n_pairs]
        right = frames[..., self.last + 1 - self.n_pairs : self.last + 1].flip(-1)
        power = ((left + right) @ self.cosines).square() + ((left - right) @ self.sines).square()
        mel = power @ self.filters
        if self.config.power_offset:
            mel = mel + self.config.power_offset
        if self.min_frames > 1:
            n_more = (self.min_frames - torch.full((1,), n_frames)).clamp(min=0)
            mel = operator("Pad", mel, torch.tensor([0, 0, 0, 0, 1, 0]) * n_more, shape=mel.shape)
        return mel.clamp(min=1e-10).log() * self.scale + self.shift


def reflected(position: Tensor, last: Size) -> Tensor:
    """Source positions of samples that are mirrored at both ends of a clip, repeatedly for short clips."""
    position = position.remainder(torch.full((1,), 2 * last).clamp(min=1))
    return torch.minimum(position, 2 * last - position).clamp(min=0)


def operator(name: str, *inputs: Tensor, shape: tuple[Size, ...], **attributes: Any) -> Tensor:
    """An operator of ONNX itself; PyTorch's own would be exported for one remainder of the length only."""
    result: Tensor = torch.onnx.ops.symbolic(name, inputs, attributes, dtype=inputs[0].dtype, shape=shape)
    return result
