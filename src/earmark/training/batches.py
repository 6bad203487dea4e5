"""What a step is shown: features of clips read or remembered, and batches that the step number alone decides."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from earmark.data.clips import Clip
from earmark.data.sampling import balanced_order, shuffled_order
from earmark.errors import EarmarkError
from earmark.frontend import FLOOR_DB
from earmark.training.settings import Plan

# what a number derived from the seed is for: two uses of one seed must not draw the same numbers
ORDER, CROPS, AUGMENTATION, DROPOUT, WEIGHTS = range(5)


def derived_seed(*entropy: int) -> int:
    """A 63-bit seed for PyTorch that depends on all of the numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Features(Protocol):
    """Every clip of a data set as one array whose first axis is time."""

    padding: float
    """What a shorter clip of a batch is filled up with."""
    are_log_mels: bool
    """(frame, mel) log-mels; otherwise (sample,) waveforms."""

    def __len__(self) -> int: ...

    def __getitem__(self, clip: int) -> Float32[np.ndarray, "time ..."]:
        """Raises EarmarkError or OSError for a clip that cannot be read."""
        ...


class LogMels:
    """Log-mels in memory."""

    padding = FLOOR_DB
    are_log_mels = True

    def __init__(self, log_mels: Sequence[Float32[np.ndarray, "frame mel"]]) -> None:
        self.log_mels = log_mels

    def __len__(self) -> int:
        return len(self.log_mels)

    def __getitem__(self, clip: int) -> Float32[np.ndarray, "frame mel"]:
        return self.log_mels[clip]


class Waveforms:
    """Waveforms, read anew each time."""

    padding = 0.0
    are_log_mels = False

    def __init__(self, clips: Sequence[Clip], sample_rate: int) -> None:
        self.clips = clips
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> Float32[np.ndarray, " sample"]:
        return self.clips[clip].load(self.sample_rate).waveform


@dataclass(frozen=True)
class Batch:
    """The clips of one step."""

    step: int
    ids: tuple[str, ...]
    features: Float[Tensor, "batch time ..."]
    """Log-mels (batch, frame, mel) or waveforms (batch, sample), shorter ones padded at their end."""
    lengths: Int[Tensor, " batch"]
    """Frames or samples of each clip before padding. On the CPU always: the network asks for their values."""
    target: Float[Tensor, "batch label"]
    are_log_mels: bool
    failed: tuple[tuple[str, str], ...] = ()
    """Id and error of the clips that could not be read; a readable one of the batch stands in for each."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch with features and target on the device."""
        features = self.features.to(device, non_blocking=True)
        return replace(self, features=features, target=self.target.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU can fetch by itself (the loader calls this)."""
        return replace(self, features=self.features.pin_memory(), target=self.target.pin_memory())


class _Reader:
    """Clips by number to a batch; the part that training and validation share."""

    def __init__(self, features: Features, target: Float32[np.ndarray, "clip label"], ids: Sequence[str]) -> None:
        self.features = features
        self.target = target
        self.ids = ids

    def read(self, step: int, clips: Int[np.ndarray, " batch"], crops: "Crops | None") -> Batch:
        arrays: list[np.ndarray | None] = []
        failed = []
        for row, clip in enumerate(clips.tolist()):
            try:
                arrays.append(self.features[clip])
            except (EarmarkError, OSError) as error:
                arrays.append(None)
                failed.append((self.ids[clip], str(error)))
                continue
            if crops is not None:
                arrays[row] = crops.cut(row, self.features[clip] if arrays[row] is None else arrays[row])
        readable = [row for row, array in enumerate(arrays) if array is not None]
        # a batch of unreadable clips alone is still a batch: who gets it reads `failed` first
        stand_in = readable[0] if readable else None
        rows = [row if array is not None else stand_in for row, array in enumerate(arrays)]
        kept = np.array([row for row in rows if row is not None], dtype=np.int64)
        features, lengths = self._padded([arrays[row] for row in kept.tolist()])
        chosen = clips[kept]
        return Batch(
            step,
            tuple(self.ids[clip] for clip in chosen.tolist()),
            features,
            lengths,
            torch.from_numpy(self.target[chosen]),
            self.features.are_log_mels,
            tuple(failed),
        )
