"""`train`: from settings and data sets to a folder with a trained network."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from earmark.audio.recording import seconds_to_samples
from earmark.data.clips import Dataset
from earmark.data.segment_store import read_manifest, read_segments
from earmark.errors import ConfigError, EarmarkError, EarmarkWarning, first_few
from earmark.model.head import Stages
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.training.batches import Order, TrainBatches, ValidBatches, killed_worker_reported
from earmark.training.encoding import EncodeConfig, encode
from earmark.training.features import (
    Columns,
    check_data,
    check_waveforms,
    chosen_cache,
    read_features,
    segment_features,
)
from earmark.training.folder import Epoch, RunFolder, best_epoch, figures, fixed_settings
from earmark.training.initial import encoder_of, initial_stages
from earmark.training.interruption import TrainingInterrupted
from earmark.training.launch import launch, needs_launch
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers
from earmark.training.plan import Plan
from earmark.training.provenance import commit, data_facts, versions
from earmark.training.ranks import Rank, joined
from earmark.training.settings import TrainConfig

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
    if needs_launch(config):
        same = partial(train, config, data, out, valid, resume=resume, progress=progress)
        return launch(config, partial(same, request=request, features=features))
    rank = Rank.from_environment()
    rank.check(config)
    check_data(config, data, valid)
    keep_big_buffers()
    device = chosen_device(config, rank)
    with joined(rank, device), ExitStack() as held:
        about = _origin(config, data, valid, device, rank, None if resume else request)
        hashes = [part and part["exact_sha256"] for part in about["data"].values()]
        rank.check_same(settings=fixed_settings(config.to_json()), clips=hashes)
        folder = RunFolder(out, is_writer=rank.is_first)
        folder.facts, state = rank.from_first(lambda: _open(folder, config, about, resume, held))
        if state is not None and state["n_steps_done"] >= Plan.of(config, len(data)).n_steps:
            return _finished(folder, [Epoch(**row) for row in state["history"]])
        folder.facts |= about
        bar = held.enter_context(_progress_bar(progress is True and rank.is_first))
        with _end_noted(folder, is_new=state is None):
            loop = _prepare(config, data, valid, folder, state, device, rank, bar, features)
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
    folder.check_same(config, about["data"])
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
) -> "Loop":
    """The loop before its first step or at `state`."""
    from earmark.training.loop import Loop

    facts = folder.facts
    datasets = [data] if valid is None else [data, valid]
    skipped: list[tuple[str, str]] = []
    if config.freeze == "backbone":
        datasets, skipped = _encoded(config, datasets, folder.segments, device, rank, bar)
        data = datasets[0]
    with rank.one_after_the_first():  # the others find the checkpoint that the first has downloaded
        stages = initial_stages(config, data, facts, state is None, partial(_print, bar))
    if isinstance(stages, Network):
        check_waveforms(config, stages)
        stages.backbone.synchronise(config.sync_batch_norm and not rank.is_alone)
    facts["n_parameters"] = stages.n_parameters
    resolved = rank.from_first(lambda: _resolved(config, datasets, stages, device, rank))
    # `auto` means for a resumed run what it meant when the run started
    is_cached = facts.setdefault("resolved", resolved)["cache"] == "log_mel"
    if isinstance(stages, Network):
        read = _read(config, datasets, stages, is_cached, rank, bar, features)
    else:
        longest = math.ceil(config.clip_duration / stages.extra["encoder"]["seconds_per_segment"])
        read = _Read([segment_features(dataset, data.labels) for dataset in datasets], skipped, longest, 0)
    rank.check_same(**{"unreadable clips": read.skipped})
    if state is not None and is_cached:
        # clips that are read each time may come and go in any run, stopped or not
        folder.check_same_skipped(read.skipped)
    order: Order = "balanced" if config.balanced else config.shuffle
    training, *validation = read.columns
    batches = TrainBatches(*training, Plan.of(config, len(training[2])), order, read.crop, config.seed, rank)
    valid_batches = ValidBatches(*validation[0], config.batch_size) if validation else None
    unread, encoder = dict(read.skipped), encoder_of(data)
    loop = Loop(config, stages, batches, valid_batches, read.n_workers, device, folder, bar, unread, encoder)
    if state is not None:
        loop.load(state)
    folder.note("running", skipped=_skipped(loop))
    return loop


def _encoded(
    config: TrainConfig, datasets: Sequence[Dataset], folder: Path, device: torch.device, rank: Rank, bar: Progress
) -> tuple[list[Dataset], list[tuple[str, str]]]:
    """The same clips as segments, by the checkpoint `init`, and id and error of those that cannot be read."""
    stores: list[Dataset] = []
    skipped: list[tuple[str, str]] = []
    for part, dataset in zip(("training", "validation"), datasets, strict=False):
        task = bar.add_task(f"encoding {part} clips", total=len(dataset), note="")
        n_crops = config.encoded_crops if part == "training" else 1
        settings = EncodeConfig(n_crops=n_crops, seed=config.seed if n_crops > 1 else 0)
        n_readers = 2 if config.n_workers is None else max(1, config.n_workers)

        def show(n_done: int, _: int, task: TaskID = task) -> None:
            bar.update(task, completed=n_done)

        with rank.one_after_the_first():
            if rank.is_first:
                encode(
                    dataset,
                    str(config.init),
                    folder / part,
                    settings,
                    skip_bad=config.skip_bad,
                    device=str(device),
                    n_readers=n_readers,
                    progress=show,
                )
        shards = read_manifest(folder / part)["shards"]
        skipped += [clip for shard in shards for clip in shard.skipped]
        stores.append(read_segments(folder / part))
    return stores, skipped


class _Read(NamedTuple):
    """The clips of a run, read or ready to be read."""

    columns: list[Columns]
    """Training clips, then the validation clips if there are any."""
    skipped: list[tuple[str, str]]
    """Id and error of the clips that were left out."""
    crop: int
    """Longest crop of a clip, as `TrainBatches` takes it."""
    n_workers: int
    """Processes that read clips while the network is trained."""


def _read(
    config: TrainConfig,
    datasets: Sequence[Dataset],
    network: Network,
    is_cached: bool,
    rank: Rank,
    bar: Progress,
    features: Path | str | None,
) -> _Read:
    """The clips as log-mels or waveforms."""
    n_readers = max(1, min(8, n_processors() // rank.n_local)) if config.n_workers is None else config.n_workers
    columns, skipped = [], []
    for part, dataset in zip(("training", "validation"), datasets, strict=False):
        task = bar.add_task(f"reading {part} clips", total=len(dataset), note="") if is_cached else TaskID(-1)
        advance = partial(bar.advance, task)
        with rank.one_after_the_first() if features is not None else nullcontext():
            kept = None if features is None else Path(features)
            found = read_features(
                dataset, datasets[0].labels, network.frontend, is_cached, config.skip_bad, n_readers, advance, kept
            )
        columns.append(found[0])
        skipped += found[1]
    n_samples = seconds_to_samples(config.clip_duration, network.config.frontend.sample_rate)
    crop = int(network.config.frontend.n_frames(n_samples)) if is_cached else n_samples
    return _Read(columns, skipped, crop, 0 if is_cached else n_readers)


def _resolved(
    config: TrainConfig, datasets: Sequence[Dataset], stages: Stages, device: torch.device, rank: Rank
) -> dict[str, str]:
    """The meaning of `auto` here."""
    cache: str = "segments"
    if isinstance(stages, Network):
        cache = chosen_cache(config, datasets, stages.frontend, rank.n_local, stages.backbone.takes_waveform)
    return {"cache": cache, "precision": chosen_precision(config, device)}


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
        text = f"{len(loop.bad_clips)} clips could not be read and were left out: {shown}; run.json says why"
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
