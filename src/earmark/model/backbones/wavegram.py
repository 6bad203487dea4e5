"""PANNs' Wavegram-Logmel-CNN (Kong et al., 2020): a Cnn14 that takes the waveform beside the log-mel."""

import copy
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from earmark.model.backbones.cnn import Cnn14, FoldedCnn
from earmark.model.backbones.layers import ConvNorm, average_pooled, fold_norms, frame_mask

_STRIDE: Final = 5
"""Samples from one result of the first convolution to the next."""
POOL: Final = 4
"""Results that each of three poolings makes one: 5 * 4 * 4 * 4 samples are a frame of 10 ms at 32 kHz."""
N_IMAGES: Final = 4
"""Images of time and frequency that the last channels form."""
_FIRST_KERNEL: Final = 11


class WaveBlock(nn.Module):
    """Two convolutions over time, the second with holes, then the maximum of every four results."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(n_in, n_out, (3, 1), activation="relu")
        self.conv2 = ConvNorm(n_out, n_out, (3, 1), dilation=2, activation="relu")

    def forward(
        self, x: Float[Tensor, "batch n_in time 1"], n_real: Int[Tensor, " batch"] | None, partial: bool
    ) -> tuple[Float[Tensor, "batch n_out quarter 1"], Int[Tensor, " batch"] | None]:
        """The result, zero beyond a clip's end, and the real results of each clip.

        Args:
            x: Zero beyond a clip's end.
            n_real: Real positions of each clip; None: all are.
            partial: Whether the last fewer than four positions have a maximum too.
        """
        mask = _mask(x, n_real)
        x, _ = self.conv1(x, mask)
        x, _ = self.conv2(x, mask)
        x = F.max_pool2d(x, (POOL, 1), ceil_mode=partial)  # no value is below zero, that of padding
        if n_real is None:
            return x, None
        n_real = -(-n_real // POOL) if partial else n_real // POOL
        mask = _mask(x, n_real)
        return x if mask is None else x * mask, n_real


class WaveformBlocks(nn.Module):
    """Waveform to the wavegram: learned images of half the frames and half the mel bins of a log-mel.

    Args:
        n_mels: Mel bins of the log-mel.
        width: Channels of the result.
        least: Frames to which shorter clips are padded with silence.
        partial: Whether the last samples, if too few for two frames, count.
    """

    def __init__(self, n_mels: int, width: int, least: int, partial: bool) -> None:
        super().__init__()
        self.n_bins, self.least, self.partial = n_mels // 2, least, partial
        self.first = ConvNorm(1, width, (_FIRST_KERNEL, 1), stride=_STRIDE, activation="relu")
        n_last = N_IMAGES * self.n_bins
        pairs = ((width, width), (width, 2 * width), (2 * width, n_last))
        self.blocks = nn.ModuleList(WaveBlock(*pair) for pair in pairs)
        self.last = nn.ModuleList(ConvNorm(n, width, activation="relu") for n in (N_IMAGES, width))

    def forward(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None, n_frames: int
    ) -> Float[Tensor, "batch width half_frame half_mel"]:
        """The wavegram, zero beyond a clip's end.

        Args:
            waveform: Shorter clips are padded at their end, with anything finite.
            n_samples: Samples of each clip; None: all.
            n_frames: Frames of the log-mel; the wavegram is cut, or continued with zeros, to half of them.
        """
        x, n_samples = self._silenced(waveform, n_samples)
        n_real = None if n_samples is None else -(-n_samples // _STRIDE)
        x = x[:, None, :, None].to(self.first.conv.weight.dtype)
        x, _ = self.first(x, _mask(x[:, :, ::_STRIDE], n_real))
        for block in self.blocks:
            x, n_real = block(x, n_real, self.partial)
        # (batch, image * bin, frame, 1) -> (batch, image, frame, bin)
        x = x.unflatten(1, (N_IMAGES, self.n_bins)).squeeze(4).transpose(2, 3)
        mask = _mask(x, n_real)
        for layer in self.last:
            x, _ = layer(x, mask)
        x, _ = average_pooled(x, mask, self.partial, over_mel=False)
        n_frames = max(n_frames, self.least)
        return F.pad(x, (0, 0, 0, (-(-n_frames // 2) if self.partial else n_frames // 2) - x.shape[2]))

    def _silenced(self, waveform: Tensor, n_samples: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The clips with silence beyond their ends, each at least as long as the shortest log-mel."""
        mask = frame_mask(waveform[..., None], n_samples)
        if mask is not None:
            waveform = waveform.masked_fill(~mask[:, 0, :, 0], 0.0)
        least = self.least * Wavegram.hop_length
        waveform = F.pad(waveform, (0, max(0, least - waveform.shape[1])))
        return waveform, None if n_samples is None else n_samples.clamp(min=least)


def _mask(x: Tensor, n_real: Tensor | None) -> Tensor | None:
    """The mask of the real positions in time, (batch, 1, time, 1)."""
    return frame_mask(x[:, 0], n_real)


class Wavegram(Cnn14):
    """Cnn14 whose second block takes, beside the first block's result, as many channels that come from the waveform.

    Three blocks of convolutions over time turn the samples of a frame, 320, into images of half the mel bins. They see
    960 samples on either side, less than the convolutions over the log-mel, so that the context is that of Cnn14.
    """

    takes_waveform = True
    hop_length = _STRIDE * POOL**3

    def __init__(
        self, n_mels: int = 64, width: int = 64, block_dropout: float = 0.2, partial_segments: bool = True
    ) -> None:
        super().__init__(n_mels, width, block_dropout, partial_segments)
        self.blocks[1] = self._block(2 * width, 2 * width, 1)
        # without partial segments a log-mel has the frames of a segment or more
        self.wave = WaveformBlocks(n_mels, width, 0 if partial_segments else self.frames_per_segment, partial_segments)

    def forward(
        self,
        log_mel: Float[Tensor, "batch frame mel"],
        n_frames: Int[Tensor, " batch"] | None = None,
        waveform: Float[Tensor, "batch sample"] | None = None,
        n_samples: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments of each clip.

        Args:
            log_mel: As for every backbone, like `n_frames`.
            n_frames: Frames of each clip before padding.
            waveform: The samples that the log-mel was computed from.
            n_samples: Samples of each clip before padding; all of them when missing.

        Raises:
            ValueError: The waveform is missing.
        """
        if waveform is None:
            raise ValueError("a waveform beside the log-mel was expected")
        return self._convolved(log_mel, n_frames, self.wave(waveform, n_samples, log_mel.shape[1]))

    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        return FoldedWavegram(self, dtype)


class FoldedWavegram(FoldedCnn):
    """`Wavegram.folded`: log-mel and waveform to segments, with folded batch norms."""

    def __init__(self, backbone: Wavegram, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(backbone, dtype)
        self.wave = copy.deepcopy(backbone.wave).eval()
        fold_norms(self.wave)
        self.wave.to(dtype)

    def forward(  # type: ignore[override]
        self, log_mel: Float[Tensor, "batch frame mel"], waveform: Float[Tensor, "batch sample"]
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments of clips, all of one length."""
        return self._convolved(log_mel, self.wave(waveform, None, log_mel.shape[1]))
