"""Features of clips, read or kept in memory, and batches that depend on the step number alone."""

import signal
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from earmark.audio.recording import Audio
from earmark.data.clips import Clip
from earmark.data.segments import ClipSegments
from earmark.errors import DataError, EarmarkError, EarmarkWarning, counted, first_few
from earmark.model.frontend import FLOOR_DB
from earmark.training.plan import Plan
from earmark.training.ranks import ALONE, Rank
from earmark.training.sampling import balanced_order, block_order, shuffled_order

_BLOCK: Final = 64
"""Neighbouring clips that are read one after the other; some 20 MB of a pack of 10 s clips."""
_BLOCKS_SIDE_BY_SIDE: Final = 8
_WORKER_KILLED: Final = (
    "a process that reads clips was killed; if nobody did it, memory may have run out: fewer --n-workers take less, "
    "and --resume continues from the last epoch"
)

# uses of the seed: two of them must not draw the same numbers
ORDER, CROPS, AUGMENTATION, DROPOUT, WEIGHTS = range(5)


def derived_seed(*entropy: int) -> int:
    """A 63-bit seed for PyTorch that depends on all the numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class Waveforms:
    """Waveforms by clip number, read again each time."""

    clips: Sequence[Clip]
    sample_rate: int

    def __getitem__(self, clip: int) -> Float32[np.ndarray, " sample"]:
        """Reads the clip; raises EarmarkError or OSError if it cannot be read."""
        return self.clips[clip].load(self.sample_rate).waveform


@runtime_checkable
class AnyTargets(Protocol):
    """Targets of the clips of a data set, by clip number."""

    def __len__(self) -> int: ...

    @property
    def has_unknown(self) -> bool:
        """Whether a label of a clip is unknown."""

    def rows(self, clips: Sequence[int]) -> Float32[np.ndarray, "clip label"]:
        """The targets of the clips with these indices, in 0..1; unknown labels are nan."""

    def by_label(self) -> list[Int[np.ndarray, " _"]]:
        """Indices of the clips of each label, ascending."""

    def unlabelled(self) -> Int[np.ndarray, " clip"]:
        """Indices of the clips without a label."""


Order = Literal["balanced", "clips", "blocks"]
Features = Sequence[np.ndarray] | Waveforms | ClipSegments
"""One array per clip of a data set: log-mels in memory, or waveforms; its first axis is time. Or all segments."""


@dataclass(frozen=True)
class Batch:
    """The clips of one step."""

    step: int
    ids: tuple[str, ...]
    features: Float[Tensor, "batch time ..."]
    """Log-mels (batch, frame, mel), waveforms (batch, sample) or segments (batch, segment, channel), shorter ones
    padded at their end."""
    lengths: Int[Tensor, " batch"]
    """Frames, samples or segments of each clip before padding; always on the CPU: the network needs their values."""
    target: Float[Tensor, "batch label"]
    """0 or 1; nan where a label is unknown."""
    are_log_mels: bool
    failed: tuple[tuple[str, str], ...] = ()
    """Id and error of the clips that could not be read; the step repeats readable ones in their place."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch with features and target on the device."""
        features = self.features.to(device, non_blocking=True)
        return replace(self, features=features, target=self.target.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory, for fast copies to a GPU; the loader calls this."""
        return replace(self, features=self.features.pin_memory(), target=self.target.pin_memory())


@dataclass(eq=False)
class _Batches(Dataset[Batch]):
    """Builds batches from clip numbers, for training and validation."""

    features: Features
    target: AnyTargets
    ids: Sequence[str]

    def batch(self, step: int, clips: Sequence[int], crop: int | None = None, places: Sequence[float] = ()) -> Batch:
        """The readable ones of these clips as one batch, padded to the longest.

        Args:
            step: Number of the batch.
            clips: Numbers of the clips.
            crop: Longest crop of a clip, in steps of its first axis; None takes clips whole.
            places: Places of the crops, from 0 (start) to below 1 (end).
        """
        if isinstance(self.features, ClipSegments):
            return self._segments(self.features, step, clips, crop, np.array(places))
        readable, arrays, failed = [], [], []
        for row, clip in enumerate(clips):
            try:
                array = self.features[clip]
                if crop is not None:
                    # a clip that cannot be read does not change the crops of the others
                    start = int(places[row] * (max(0, len(array) - crop) + 1))
                    array = array[start : start + crop]
                arrays.append(array)
                readable.append(clip)
            except (EarmarkError, OSError) as error:
                # errors travel as text: raised in a loader worker they would arrive wrapped in a traceback
                failed.append((self.ids[clip], str(error)))
        lengths = [len(array) for array in arrays]
        shape = (len(arrays), max(lengths, default=0), *(arrays[0].shape[1:] if arrays else ()))
        features = np.empty(shape, dtype=np.float32)
        are_log_mels = not isinstance(self.features, Waveforms)
        for row, array in enumerate(arrays):
            features[row, : len(array)] = array
            features[row, len(array) :] = FLOOR_DB if are_log_mels else 0.0
        return Batch(
            step,
            tuple(self.ids[clip] for clip in readable),
            torch.from_numpy(features),
            torch.tensor(lengths, dtype=torch.int64),
            torch.from_numpy(self.target.rows(readable)),
            are_log_mels,
            tuple(failed),
        )

    def _segments(
        self, features: ClipSegments, step: int, clips: Sequence[int], crop: int | None, places: np.ndarray
    ) -> Batch:
        """The same for encoded segments, for all clips at once."""
        rows = features.rows[np.asarray(clips)]
        if crop is not None and (n_crops := features.table.n_crops) > 1:
            # the fraction that is left after choosing an encoded crop is a place again
            rows = rows + (places * n_crops).astype(np.int64)
            places = places * n_crops % 1
        whole = features.table.lengths[rows]
        lengths = whole if crop is None else np.minimum(whole, crop)
        skip = np.zeros_like(whole) if crop is None else (places * (whole - lengths + 1)).astype(np.int64)
        return Batch(
            step,
            tuple(self.ids[clip] for clip in clips),
            torch.from_numpy(features.table.gather(rows, skip, lengths)),
            torch.from_numpy(lengths),
            torch.from_numpy(self.target.rows(clips)),
            are_log_mels=False,
        )


@dataclass(eq=False)
class TrainBatches(_Batches):
    """The batch of each step of a run; it depends on the seed and the step only, not on earlier steps."""

    plan: Plan
    order: Order
    """`balanced` draws labels equally often; `clips` and `blocks` draw every clip once per pass, single clips or blocks
    of neighbours in random order."""
    crop: int
    """Longest crop of a clip, in frames, samples or segments as in `features`."""
    seed: int
    rank: Rank = ALONE
    """The process that the batches are for; it gets its share of every step's clips."""
    _order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
    """Number and order of the last pass."""

    def __len__(self) -> int:
        return self.plan.n_steps

    def clips(self, step: int) -> Int[np.ndarray, " batch"]:
        """Numbers of the step's clips in all processes.

        Passes over the data set are counted through the whole run, so that batches do not depend on how often the run
        is validated.
        """
        n_clips, first = len(self.ids), step * self.plan.batch_size
        last = first + self.plan.batch_size
        passes = range(first // n_clips, -(-last // n_clips))
        drawn = np.concatenate([self._pass(number) for number in passes])
        start = first - passes.start * n_clips
        return drawn[start : start + self.plan.batch_size]

    def _pass(self, number: int) -> np.ndarray:
        if self._order[0] != number:
            rng = np.random.default_rng((self.seed, ORDER, number))
            target = self.target
            if self.order == "balanced":
                # clips without a label take turns too, as if "nothing" were a label
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
        return self.batch(step, clips, self.crop, places.tolist())


@dataclass(eq=False)
class ValidBatches(_Batches):
    """All clips in order, uncropped; clips that cannot be read are left out."""

    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        first = step * self.batch_size
        return self.batch(step, range(first, min(first + self.batch_size, len(self.ids))))


def load_batches(
    batches: TrainBatches | ValidBatches, steps: range, n_workers: int, pin_memory: bool = False
) -> Iterator[Batch]:
    """The batches of some steps, read ahead by worker processes if there are any."""
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=n_workers,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_the_parent,
    )
    return iter(loader) if n_workers == 0 else batches_of_workers(loader)


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


def _leave_signals_to_the_parent(_: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent finishes its step and then ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # each worker reads the same recordings again and again
    warnings.simplefilter("ignore", EarmarkWarning)


def sound_or_error(clip: Clip, sample_rate: int) -> Audio | str:
    """The clip's sound, or the text of the error that prevents it."""
    try:
        return clip.load(sample_rate)
    except (EarmarkError, OSError) as error:
        return str(error)


def unreadable_clips(failed: Sequence[tuple[str, str]], where: str, n_clips: int | None = None) -> DataError:
    """The error for any number of clips that cannot be read."""
    shown = first_few([f"{name} ({reason})" for name, reason in failed], separator="; ")
    count = counted(len(failed), "clip") if n_clips is None else f"{len(failed)} of {counted(n_clips, 'clip')}"
    them = "it" if len(failed) == 1 else "them"
    return DataError(
        f"{where}: {count} cannot be read: {shown}; repair or remove {them}, or train without {them}",
        remedy={"skip_bad": True},
    )
