"""`train`: from settings and data sets to a folder with a trained network."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from earmark.data.clips import Dataset
from earmark.errors import ConfigError, EarmarkError, EarmarkWarning, counted, first_few
from earmark.model.network import Network
from earmark.training.batches import Order, TrainBatches, ValidBatches, killed_worker_reported
from earmark.training.features import check_data, check_waveforms, segment_features
from earmark.training.folder import Epoch, RunFolder, best_epoch, figures, fixed_settings
from earmark.training.initial import encoder_of, initial_stages
from earmark.training.interruption import TrainingInterrupted
from earmark.training.launch import launch, needs_launch
from earmark.training.machine import chosen_device, describe, keep_big_buffers
from earmark.training.plan import Plan
from earmark.training.provenance import commit, data_facts, versions
from earmark.training.ranks import Rank, joined
from earmark.training.reading import Read, encoded, read_clips, resolved, softened
from earmark.training.settings import TrainConfig
from earmark.training.teacher import LiveTeacher, Teacher, TeacherConfig, for_student
from earmark.training.variants import with_variants

if TYPE_CHECKING:
    from earmark.training.loop import Loop


@dataclass(frozen=True)
class TrainResult:
    """Files and figures of a finished run."""

    last: Path
    """Checkpoint of the last epoch."""
    best: Path
    """Checkpoint of the epoch with the highest validation mAP, the latest of equals; without validation the last."""
    history: tuple[Epoch, ...]
    """One entry per epoch, as in `metrics.csv`."""

    @property
    def best_epoch(self) -> Epoch:
        """The epoch of the checkpoint `best`."""
        return best_epoch(self.history)


def train(
    config: TrainConfig,
    data: Dataset,
    out: Path | str,
    valid: Dataset | None = None,
    *,
    resume: bool = False,
    progress: bool | Callable[[int], None] = True,
    request: Mapping[str, Any] | None = None,
    features: Path | str | None = None,
    teacher: TeacherConfig | None = None,
) -> TrainResult:
    """Trains a network and returns its checkpoints and history.

    All randomness of a step follows from the seed and the step's number. So a resumed run ends with the same weights as
    an uninterrupted one, bit for bit on the CPU of one machine.

    Args:
        config: Settings of the run.
        data: Training clips; the network learns their label set.
        out: Folder of the run, new or empty: run.json, metrics.csv, checkpoints, TensorBoard's events, resume.ckpt.
        valid: Clips to validate on after each epoch; their labels are matched by name.
        resume: Continue the run in `out`; return the result of a finished one.
        progress: Draw a progress bar on standard error; or call this with the number of clips seen.
        request: Plain JSON to keep in `run.json` under that name: how the caller selected the data.
        features: Folder that keeps the log-mels for the next run on the same clips, if `cache` has them in memory.
        teacher: Taggers whose scores are learned, from clips with or without labels: once where log-mels or
            segments are kept, otherwise in each step, after the crop.

    Raises:
        ConfigError: `out` holds other files, a run with other settings, or no run to resume.
        CheckpointError: The state to resume from or the checkpoint of `init` is damaged or belongs to another run.
        DataError: The data are unlabelled, overlap, hold unknown labels or unreadable clips; or they differ from those
            of the run to resume; or another process is at work in `out`; or the loss became nan or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the run was saved.
        EarmarkError: A process of the run was killed.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError("training needs tensorboard, not installed here: pip install 'earmark[train]'")
    options: dict[str, Any] = {
        "resume": resume,
        "progress": progress,
        "request": request,
        "features": features,
        "teacher": teacher,
    }
    task = partial(_train, config, data, out, valid, **options)
    return launch(config, task) if needs_launch(config) else task()


def _train(
    config: TrainConfig,
    data: Dataset,
    out: Path | str,
    valid: Dataset | None,
    *,
    resume: bool,
    progress: bool | Callable[[int], None],
    request: Mapping[str, Any] | None,
    features: Path | str | None,
    teacher: TeacherConfig | None,
) -> TrainResult:
    """`train` in one of its processes."""
    rank = Rank.from_environment()
    rank.check(config)
    device = chosen_device(config, rank)
    taught = None if teacher is None else Teacher(teacher, str(device))
    if taught is not None:
        data = for_student(data, taught, config.allow_unlabelled)
        valid = valid and for_student(valid, taught, config.allow_unlabelled)
    check_data(config, data, valid, is_taught=taught is not None)
    keep_big_buffers()
    with joined(rank, device), ExitStack() as held:
        about = _origin(config, data, valid, device, rank, None if resume else request, taught)
        hashes = [part and part["exact_sha256"] for part in about["data"].values()]
        rank.check_same(settings=fixed_settings(config.to_json()), clips=hashes)
        folder = RunFolder(out, is_writer=rank.is_first)
        folder.facts, state = rank.from_first(lambda: _open(folder, config, about, resume, held))
        if state is not None and state["n_steps_done"] >= Plan.of(config, len(data)).n_steps:
            return _finished(folder, [Epoch(**row) for row in state["history"]])
        folder.facts |= about
        bar = held.enter_context(_progress_bar(progress is True and rank.is_first))
        with _end_noted(folder, is_new=state is None):
            loop = _prepare(config, data, valid, folder, state, device, rank, bar, features, taught)
            with killed_worker_reported():
                loop.run(progress if callable(progress) and rank.is_first else None)
            _finish(folder, loop)
    return TrainResult(folder.last, folder.best, tuple(loop.history))


def _origin(
    config: TrainConfig,
    data: Dataset,
    valid: Dataset | None,
    device: torch.device,
    rank: Rank,
    request: Mapping[str, Any] | None,
    teacher: Teacher | None,
) -> dict[str, Any]:
    """The entries of `run.json` about request, settings, clips and machine."""
    return {
        **({} if request is None else {"request": dict(request)}),
        "config": config.to_json(),
        "versions": versions(),
        "commit": commit(),
        "seed": config.seed,
        "data": {"train": data_facts(data), "valid": data_facts(valid)},
        "device": describe(device),
        "n_processes": rank.n_ranks,
        **({} if teacher is None else {"teacher": teacher.facts()}),
    }


def _open(
    folder: RunFolder, config: TrainConfig, about: dict[str, Any], resume: bool, held: ExitStack
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The record of the run and the state to continue from, None for a new run; locks the folder until `held` ends."""
    if not resume:
        folder.check_new()
        # reading the clips may take minutes, and no other run may take the folder meanwhile
        folder.claim({**about, "status": "preparing"})
        held.enter_context(folder.alone())
        return folder.facts, None
    record = folder.read_record()
    held.enter_context(folder.alone())
    folder.check_same(config, about["data"], about.get("teacher"))
    now, before = about["n_processes"], record.get("n_processes", 1)
    if before != now:
        text = f"the run continues in {now} processes after {before}: dropout and batch norm differ from now on"
        warnings.warn(text, EarmarkWarning, stacklevel=2)
        # readers of the record must be able to see it
        about["earlier_n_processes"] = [*record.get("earlier_n_processes", ()), before]
    return record, folder.read_state()


@contextmanager
def _end_noted(folder: RunFolder, is_new: bool) -> Iterator[None]:
    """Writes to `run.json` how the block failed; withdraws a new run that fails by its data, before its first step."""
    try:
        yield
    except TrainingInterrupted:
        raise
    except BaseException as error:
        # the error that ended the run is the one to report, not that it could not be written down
        if isinstance(error, KeyboardInterrupt) and not str(error):  # outside the loop, which gives it a text
            with suppress(OSError, ValueError):
                folder.note("interrupted")
            how = "before the first step: --resume starts" if is_new else "early: --resume continues with"
            raise TrainingInterrupted(f"stopped {how} the run in {folder.path}") from None
        if isinstance(error, EarmarkError) and is_new and folder.facts.get("status") == "preparing":
            folder.withdraw()  # so that the same command works in the same folder after the repair
        else:
            with suppress(OSError, ValueError):
                folder.note("failed", error=": ".join([type(error).__name__, *str(error).splitlines()[:1]]))
        raise


def _prepare(
    config: TrainConfig,
    data: Dataset,
    valid: Dataset | None,
    folder: RunFolder,
    state: dict[str, Any] | None,
    device: torch.device,
    rank: Rank,
    bar: Progress,
    features: Path | str | None,
    teacher: Teacher | None,
) -> "Loop":
    """The loop before its first step or at `state`."""
    from earmark.training.loop import Loop

    facts = folder.facts
    data = with_variants(data, config)
    datasets = sounds = [data] if valid is None else [data, valid]
    skipped: list[tuple[str, str]] = []
    if config.freeze == "backbone":
        datasets, skipped = encoded(config, datasets, folder.segments, device, rank, bar)
        data = datasets[0]
    with rank.one_after_the_first():  # the others find the checkpoint that the first has downloaded
        stages = initial_stages(config, data, facts, state is None, partial(_print, bar))
    if isinstance(stages, Network):
        check_waveforms(config, stages)
        stages.backbone.synchronise(config.sync_batch_norm and not rank.is_alone)
    facts["n_parameters"] = stages.n_parameters
    now = rank.from_first(lambda: resolved(config, datasets, stages, device, rank))
    # `auto` means for a resumed run what it meant when the run started
    cache = facts.setdefault("resolved", now)["cache"]
    is_cached, live = cache == "log_mel", None
    if isinstance(stages, Network):
        read = read_clips(config, datasets, stages, is_cached, rank, bar, features)
    else:
        longest = math.ceil(config.clip_duration / stages.extra["encoder"]["seconds_per_segment"])
        read = Read([segment_features(dataset, data.labels) for dataset in datasets], skipped, longest, 0)
    rank.check_same(**{"unreadable clips": read.skipped})
    if state is not None and is_cached:
        # clips that are read each time may come and go in any run, stopped or not
        folder.check_same_skipped(read.skipped)
    if teacher is not None:
        read = softened(read, sounds, teacher, config, folder.teacher, rank, bar, is_live=cache == "none")
    if teacher is not None and isinstance(stages, Network) and cache == "none":
        live = LiveTeacher(teacher, stages.config.frontend.sample_rate)
    order: Order = "balanced" if config.balanced else config.shuffle
    training, *validation = read.columns
    batches = TrainBatches(*training, Plan.of(config, len(training[2])), order, read.crop, config.seed, rank)
    valid_batches = ValidBatches(*validation[0], config.batch_size) if validation else None
    unread, encoder = dict(read.skipped), encoder_of(data)
    loop = Loop(config, stages, batches, valid_batches, read.n_workers, device, folder, bar, unread, encoder, live)
    if state is not None:
        loop.load(state)
    folder.note("running", skipped=_skipped(loop))
    return loop


def _print(bar: Progress, text: str) -> None:
    if not bar.disable:
        bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _finish(folder: RunFolder, loop: "Loop") -> None:
    """Records the end of the run, and warns of clips that were left out.

    Raises:
        TrainingInterrupted: The loop was asked to stop.
    """
    result = {"result": figures(loop.history)} if loop.history else {}
    folder.note("interrupted" if loop.stopped else "finished", skipped=_skipped(loop), **result)
    if loop.bad_clips and folder.is_writer:
        shown = first_few(sorted(loop.bad_clips))
        text = f"left out {counted(len(loop.bad_clips), 'unreadable clip')}: {shown}; run.json says why"
        warnings.warn(f"{folder.path}: {text}", EarmarkWarning, stacklevel=2)
    if loop.stopped:
        how = f"stopped after step {loop.n_steps_done} of {loop.plan.n_steps}"
        raise TrainingInterrupted(f"training {how} and is saved in {folder.path}: --resume continues it")
    if loop.interruption.requested:
        raise TrainingInterrupted(f"stopped, but training had just finished; all of it is in {folder.path}")


def _skipped(loop: "Loop") -> list[dict[str, str]]:
    return [{"id": clip, "error": error} for clip, error in sorted(loop.bad_clips.items())]


def _progress_bar(enabled: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=not enabled,
        redirect_stdout=False,
    )


def _finished(folder: RunFolder, history: Sequence[Epoch]) -> TrainResult:
    """The result of a run that has taken all steps, though it may have been killed before it wrote so."""
    if folder.facts.get("status") != "finished":
        folder.note("finished", result=figures(history))
    return TrainResult(folder.last, folder.best, tuple(history))
