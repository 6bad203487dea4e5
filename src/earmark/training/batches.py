"""What a step is shown: features of clips read or remembered, and batches that the step number alone decides."""

import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from earmark.data.clips import Clip
from earmark.data.targets import Targets
from earmark.errors import DataError, EarmarkError, EarmarkWarning
from earmark.model.frontend import FLOOR_DB
from earmark.training.ranks import ALONE, Rank
from earmark.training.sampling import balanced_order, block_order, shuffled_order
from earmark.training.settings import Plan

_BLOCK: Final = 64
"""Neighbours that are read one after the other; of 10 s clips in a pack some 20 MB."""
_BLOCKS_SIDE_BY_SIDE: Final = 8
_WORKER_KILLED: Final = (
    "a process that reads clips was killed; if nobody did it, memory may have run out: fewer --n-workers take less, "
    "and --resume continues from the last epoch"
)

# what a number derived from the seed is for: two uses of one seed must not draw the same numbers
ORDER, CROPS, AUGMENTATION, DROPOUT, WEIGHTS = range(5)


def derived_seed(*entropy: int) -> int:
    """A 63-bit seed for PyTorch that depends on all of the numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


class LogMels:
    """Log-mels in memory, by the number of the clip."""

    padding = FLOOR_DB
    """What a shorter clip of a batch is filled up with."""
    are_log_mels = True

    def __init__(self, log_mels: Sequence[np.ndarray]) -> None:
        self.log_mels = log_mels

    def __len__(self) -> int:
        return len(self.log_mels)

    def __getitem__(self, clip: int) -> Float32[np.ndarray, "frame mel"]:
        return self.log_mels[clip]


class Waveforms:
    """Waveforms by the number of the clip, read anew each time."""

    padding = 0.0
    are_log_mels = False

    def __init__(self, clips: Sequence[Clip], sample_rate: int) -> None:
        self.clips = clips
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, clip: int) -> Float32[np.ndarray, " sample"]:
        """Raises EarmarkError or OSError for a clip that cannot be read."""
        return self.clips[clip].load(self.sample_rate).waveform


Features = LogMels | Waveforms
"""Every clip of a data set as one array whose first axis is time."""


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
    """Id and error of the clips that could not be read; the step puts readable ones in their place."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch with features and target on the device."""
        features = self.features.to(device, non_blocking=True)
        return replace(self, features=features, target=self.target.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in memory that a GPU can fetch by itself (the loader calls this)."""
        return replace(self, features=self.features.pin_memory(), target=self.target.pin_memory())


class _Clips:
    """Clips by number to a batch: what training and validation share."""

    def __init__(self, features: Features, target: Targets, ids: Sequence[str]) -> None:
        self.features = features
        self.target = target
        self.ids = ids

    def read(self, clips: Sequence[int]) -> tuple[dict[int, np.ndarray], tuple[tuple[str, str], ...]]:
        """Features of the readable clips, by their place among `clips`; (id, error) of the others."""
        readable, failed = {}, []
        for place, clip in enumerate(clips):
            try:
                readable[place] = self.features[clip]
            except (EarmarkError, OSError) as error:
                # errors travel as text: raised in a loader worker they would arrive wrapped in a traceback
                failed.append((self.ids[clip], str(error)))
        return readable, tuple(failed)

    def batch(
        self, step: int, clips: Sequence[int], arrays: Sequence[np.ndarray], failed: tuple[tuple[str, str], ...]
    ) -> Batch:
        """The features of these clips as one batch, padded to the longest."""
        lengths = [len(array) for array in arrays]
        shape = (len(arrays), max(lengths, default=0), *(arrays[0].shape[1:] if arrays else ()))
        features = np.empty(shape, dtype=np.float32)
        for row, array in enumerate(arrays):
            features[row, : len(array)] = array
            features[row, len(array) :] = self.features.padding
        return Batch(
            step,
            tuple(self.ids[clip] for clip in clips),
            torch.from_numpy(features),
            torch.tensor(lengths, dtype=torch.int64),
            torch.from_numpy(self.target.rows(clips)),
            self.features.are_log_mels,
            failed,
        )


class TrainBatches(Dataset[Batch]):
    """The batch of each step of a run; it depends on the seed and the step alone, not on the steps before.

    Args:
        features: The training clips, in the order of `target` and `ids`.
        target: Their truth.
        ids: Their ids, for messages.
        plan: How many steps, how large.
        order: What is drawn: labels equally often (`balanced`), or every clip once a pass, `clips` in random order or
            `blocks` of neighbours.
        crop: Longest stretch shown of a clip, in frames or samples as `features` has it.
        seed: The seed of the run.
        rank: The process that the batches are for: each has its share of every step's clips.
    """

    def __init__(
        self,
        features: Features,
        target: Targets,
        ids: Sequence[str],
        plan: Plan,
        order: Literal["balanced", "clips", "blocks"],
        crop: int,
        seed: int,
        rank: Rank = ALONE,
    ) -> None:
        self._clips = _Clips(features, target, ids)
        self.plan = plan
        self.order = order
        self.crop = crop
        self.seed = seed
        self.rank = rank
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return self.plan.n_steps

    def clips(self, step: int) -> Int[np.ndarray, " batch"]:
        """Numbers of the step's clips, those of all processes.

        Draws are counted through the whole run and come in passes as long as the data set, so that batches do not
        depend on how often the run is validated.
        """
        n_clips, first = len(self._clips.ids), step * self.plan.batch_size
        last = first + self.plan.batch_size
        passes = range(first // n_clips, -(-last // n_clips))
        drawn = np.concatenate([self._pass(number) for number in passes])
        start = first - passes.start * n_clips
        return drawn[start : start + self.plan.batch_size]

    def _pass(self, number: int) -> np.ndarray:
        if self._order[0] != number:
            rng = np.random.default_rng((self.seed, ORDER, number))
            target = self._clips.target
            if self.order == "balanced":
                # clips without a label have their turn too, as if "nothing" were one
                order = balanced_order([*target.by_label(), target.unlabelled()], len(target), rng)
            elif self.order == "blocks":
                order = block_order(len(target), _BLOCK, _BLOCKS_SIDE_BY_SIDE, rng)
            else:
                order = shuffled_order(len(target), len(target), rng)
            self._order = (number, order)
        return self._order[1]

    def __getitem__(self, step: int) -> Batch:
        share = self.rank.share(self.plan.batch_size)
        clips = self.clips(step)[share].tolist()
        places = np.random.default_rng((self.seed, CROPS, step)).random(self.plan.batch_size)[share]
        read, failed = self._clips.read(clips)
        # a clip that cannot be read leaves the crops of the others as they are
        arrays = [self._cropped(array, places[row]) for row, array in read.items()]
        return self._clips.batch(step, [clips[row] for row in read], arrays, failed)

    def _cropped(self, array: np.ndarray, place: float) -> np.ndarray:
        start = int(place * (max(0, len(array) - self.crop) + 1))
        return array[start : start + self.crop]


class ValidBatches(Dataset[Batch]):
    """All clips in their order, whole, each once; clips that cannot be read are left out."""

    def __init__(self, features: Features, target: Targets, ids: Sequence[str], batch_size: int) -> None:
        self._clips = _Clips(features, target, ids)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._clips.ids) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        first = step * self.batch_size
        clips = range(first, min(first + self.batch_size, len(self._clips.ids)))
        read, failed = self._clips.read(clips)
        return self._clips.batch(step, [clips[row] for row in read], list(read.values()), failed)


class Steps(Sampler[int]):
    """Steps in their order."""

    def __init__(self, steps: range) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class Loader:
    """The batches of some steps, read ahead by worker processes if there are any."""

    def __init__(
        self, batches: TrainBatches | ValidBatches, steps: range, n_workers: int, pin_memory: bool = False
    ) -> None:
        self._loader: DataLoader[Batch] = DataLoader(
            batches,
            batch_size=None,
            sampler=Steps(steps),
            num_workers=n_workers,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            worker_init_fn=_let_the_parent_decide,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader) if self._loader.num_workers == 0 else batches_of_workers(self._loader)


def batches_of_workers(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a loader; one clear error if a worker was killed before or while it handed one over.

    Raises:
        EarmarkError: A worker was killed.
    """
    iterator = iter(loader)
    while True:
        try:
            with killed_worker_reported():
                batch = next(iterator, None)
        except (EOFError, OSError) as error:
            # what a worker itself raises arrives as "Caught OSError in DataLoader worker process 0"
            is_cut_off = isinstance(error, (EOFError, ConnectionError)) or "end of file during message" in str(error)
            if str(error).startswith("Caught ") or not is_cut_off:
                raise
            raise EarmarkError(_WORKER_KILLED) from error
        if batch is None:
            return
        yield batch


@contextmanager
def killed_worker_reported() -> Iterator[None]:
    """Reports a killed loader worker in one line: PyTorch's signal handler raises its error wherever the program is."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(("DataLoader worker (pid", "Pin memory thread exited unexpectedly")):
            raise
        raise EarmarkError(_WORKER_KILLED) from error


def _unchanged(batch: Any) -> Any:
    return batch


def _let_the_parent_decide(_: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent finishes its step and then ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # each worker meets the same recordings again and again
    warnings.simplefilter("ignore", EarmarkWarning)


def unreadable_clips(failed: Sequence[tuple[str, str]], where: str, n_clips: int | None = None) -> DataError:
    """The one error for clips that cannot be read, however many."""
    shown = "; ".join(f"{name} ({reason})" for name, reason in failed[:3]) + ("; ..." if len(failed) > 3 else "")
    count = len(failed) if n_clips is None else f"{len(failed)} of {n_clips}"
    return DataError(
        f"{where}: {count} clips cannot be read: {shown}; mend or remove them, or set skip_bad to go on without"
    )
