"""The interface of a backbone."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from earmark.model.backbones.layers import MaskedBatchNorm


class Backbone(nn.Module):
    """The second stage, log-mel (dB) to segments.

    Every backbone is made from the number of mel bins, its width, the dropout after its blocks, and whether the last
    frames of a clip form a partial segment.
    """

    frames_per_segment: ClassVar[int]
    halo: ClassVar[int | None]
    """Frames of context on either side of a segment; None: a segment depends on the whole clip."""
    can_drop_frames: ClassVar[bool] = False
    """Whether the last frames of a clip may be dropped instead of forming a partial segment."""
    mel_divisor: ClassVar[int] = 16
    """Number that the number of mel bins is a multiple of."""
    takes_waveform: ClassVar[bool] = False
    """Whether `forward` and the folded copy take the waveform beside the log-mel, see `Wavegram`."""
    hop_length: ClassVar[int | None] = None
    """Samples from frame to frame that the backbone needs; None: any number."""
    n_channels: int
    """Channels of a segment."""
    blocks: nn.ModuleList
    """The parts that training may compile, in order."""

    def __init__(self, n_mels: int, width: int, block_dropout: float, partial_segments: bool) -> None:
        super().__init__()
        self.n_channels = self.channels_of(width)
        self.block_dropout = block_dropout
        self.partial_segments = partial_segments

    @staticmethod
    @abstractmethod
    def channels_of(width: int) -> int:
        """Channels of a segment at this width."""

    @abstractmethod
    def forward(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments of each clip; the caller masks those beyond a clip's end (`Network.segment_mask`).

        Args:
            log_mel: Shorter clips are padded at their end, with anything finite.
            n_frames: Frames of each clip before padding; all frames if missing. In evaluation a padded clip gives the
                segments that it gives alone.
        """

    @abstractmethod
    def folded(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A copy for inference on clips of one length, log-mel to segments, with folded batch norms.

        Segments are the same up to rounding.

        Args:
            dtype: Precision of the convolutions.
        """

    def n_segments(self, n_frames: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Number of segments of clips with so many frames."""
        if self.partial_segments:
            return -(-n_frames // self.frames_per_segment)
        return (n_frames // self.frames_per_segment).clamp(min=1)

    def synchronise(self, wanted: bool) -> None:
        """Makes training statistics of batch norm cover all processes of a run, or only this one."""
        for module in self.modules():
            if isinstance(module, MaskedBatchNorm):
                module.is_synchronised = wanted
