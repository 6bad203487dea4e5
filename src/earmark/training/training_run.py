"""`train`: from settings and data sets to a folder with a trained network."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from earmark.audio.recording import seconds_to_samples
from earmark.data.clips import Dataset
from earmark.errors import ConfigError, EarmarkError, EarmarkWarning
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.training.batches import TrainBatches, ValidBatches, killed_worker_reported
from earmark.training.features import FeatureSet, check_data, chosen_cache, read_features
from earmark.training.folder import Epoch, RunFolder, best_epoch, figures, fixed_settings
from earmark.training.initial import initial_network
from earmark.training.interruption import TrainingInterrupted
from earmark.training.launch import launch, needs_launch
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers
from earmark.training.provenance import commit, data_facts, versions
from earmark.training.ranks import Rank, joined
from earmark.training.settings import Plan, TrainConfig
from earmark.training.store import FeatureStore

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
    progress: bool = True,
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
        progress: Draw a progress bar on standard error.
        request: Plain JSON to keep in `run.json` under that name: how the caller selected the data.
        features: Folder that keeps the log-mels for the next run on the same clips, if `cache` has them in memory.

    Raises:
        ConfigError: `out` holds other files, a run of another process or with other settings, or no run to resume.
        CheckpointError: The state to resume from or the checkpoint of `init` is damaged or belongs to another run.
        DataError: The data are unlabelled, overlap, hold unknown labels or unreadable clips; or they differ from those
            of the run to resume; or the loss became nan or infinite.
        TrainingInterrupted: Ctrl-C or SIGTERM; the run was saved.
        EarmarkError: A process of the run was killed.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError("training needs tensorboard, not installed here: pip install 'earmark[train]'")
    if needs_launch(config):
        same = {"config": config, "data": data, "out": out, "valid": valid, "features": features}
        return launch(config, train, {**same, "resume": resume, "progress": progress, "request": request})
    rank = Rank.from_environment()
    rank.check(config)
    check_data(config, data, valid)
    keep_big_buffers()
    device = chosen_device(config, rank)
    with joined(rank, device), ExitStack() as held:
        folder = RunFolder(out)
        facts = {"train": data_facts(data), "valid": data_facts(valid)}
        about = {"config": config.to_json(), "versions": versions(), "commit": commit(), "seed": config.seed}
        about |= {"data": facts, "device": describe(device), "n_processes": rank.n_ranks}
        hashes = [part and part["exact_sha256"] for part in facts.values()]
        rank.check_same(settings=fixed_settings(config.to_json()), clips=hashes)
        if request is not None and not resume:
            about = {"request": dict(request), **about}
        record, state = rank.from_first(lambda: _open(folder, config, about, resume, held))
        folder.run_id = record.get("run_id")
        if state is not None and state["n_steps_done"] >= Plan.of(config, len(data)).n_steps:
            return _finished(folder, record, [Epoch(**row) for row in state["history"]], rank)
        with _progress_bar(progress and rank.is_first) as bar:
            store = None if features is None else FeatureStore(features)
            return _Run(config, data, valid, folder, {**record, **about}, device, bar, store, rank).go(state)


def _open(
    folder: RunFolder, config: TrainConfig, about: dict[str, Any], resume: bool, held: ExitStack
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The record of the run and the state to continue from, None for a new run; locks the folder until `held` ends."""
    if not resume:
        folder.check_new()
        # reading the clips may take minutes, and no other run may take the folder meanwhile
        record = {**about, "status": "preparing"}
        folder.claim(record)
        held.enter_context(folder.alone())
        return record, None
    record = folder.read_record()
    held.enter_context(folder.alone())
    folder.check_same(record, config, about["data"])
    now, before = about["n_processes"], record.get("n_processes", 1)
    if before != now:
        text = f"the run continues in {now} processes after {before}: dropout and batch norm differ from now on"
        warnings.warn(text, EarmarkWarning, stacklevel=2)
        # readers of the record must be able to see it
        about["earlier_n_processes"] = [*record.get("earlier_n_processes", ()), before]
    return record, folder.read_state()


class _Run:
    """One call of `train` with checked arguments: preparation, loop, record of how it ended."""

    def __init__(
        self,
        config: TrainConfig,
        data: Dataset,
        valid: Dataset | None,
        folder: RunFolder,
        record: dict[str, Any],
        device: torch.device,
        bar: Progress,
        store: FeatureStore | None,
        rank: Rank,
    ) -> None:
        self.config, self.data, self.valid, self.folder, self.record = config, data, valid, folder, record
        self.device, self.bar, self.store, self.rank = device, bar, store, rank

    def go(self, state: dict[str, Any] | None) -> TrainResult:
        """Trains from `state`, or from the start."""
        try:
            loop, skipped = self._prepare(state)
            with killed_worker_reported():
                loop.run()
            self._finish(loop, skipped)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not str(error):  # outside the loop, which gives it a text
                self._note_end("interrupted")
                how = "before the first step: --resume starts" if state is None else "early: --resume continues with"
                raise TrainingInterrupted(f"stopped {how} the run in {self.folder.path}") from None
            is_unread = self.record.get("status") == "preparing" and state is None
            if not (isinstance(error, EarmarkError) and is_unread):
                lines = str(error).splitlines()
                self._note_end("failed", error=": ".join([type(error).__name__, *lines[:1]]))
            elif self.rank.is_first:
                self.folder.withdraw()  # so that the same command works in the same folder after the repair
            raise
        if loop.stopped:
            how = f"stopped after step {loop.n_steps_done} of {loop.plan.n_steps}"
            raise TrainingInterrupted(f"training {how} and is saved in {self.folder.path}: --resume continues it")
        if loop.interruption.requested:
            raise TrainingInterrupted(f"stopped, but training had just finished; all of it is in {self.folder.path}")
        return TrainResult(self.folder.last, self.folder.best, tuple(loop.history))

    def _finish(self, loop: "Loop", skipped: list[tuple[str, str]]) -> None:
        """Records the end of the run, and warns of clips that were left out."""
        skipped = skipped + sorted(loop.bad_clips.items())
        result = {"result": figures(loop.history)} if loop.history else {}
        self._write_record("interrupted" if loop.stopped else "finished", skipped=_entries(skipped), **result)
        if skipped and self.rank.is_first:
            shown = ", ".join(clip for clip, _ in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
            text = f"{len(skipped)} clips could not be read and were left out: {shown}; run.json says why"
            warnings.warn(f"{self.folder.path}: {text}", EarmarkWarning, stacklevel=2)

    def _note_end(self, status: str, **entries: Any) -> None:
        # the error that ended the run is the one to report, not that it could not be written down
        with suppress(OSError, ValueError):
            self._write_record(status, **entries)

    def _prepare(self, state: dict[str, Any] | None) -> tuple["Loop", list[tuple[str, str]]]:
        """The loop before its first step, and the clips that it leaves out."""
        from earmark.training.loop import Loop

        config, record, rank = self.config, self.record, self.rank
        with rank.one_after_the_first():  # the others find the checkpoint that the first has downloaded
            network = initial_network(config, self.data.labels, record, state is None, self._print)
        network.backbone.synchronise(config.sync_batch_norm and not rank.is_alone)
        record["n_parameters"] = network.n_parameters
        # `auto` means for a resumed run what it meant when the run started
        record.setdefault("resolved", rank.from_first(lambda: self._resolved(network)))
        is_cached = record["resolved"]["cache"] == "log_mel"
        train_set = self._features(network, self.data, "training", is_cached)
        valid_set = self._features(network, self.valid, "validation", is_cached) if self.valid is not None else None
        skipped = [*train_set.skipped, *(valid_set.skipped if valid_set else ())]
        rank.check_same(**{"unreadable clips": skipped})
        known = skipped
        if state is not None and is_cached:
            # clips that are read each time may come and go in any run, stopped or not
            self.folder.check_same_skipped(record, known)
        elif state is not None:
            known = sorted(state["bad_clips"].items())
        self._write_record("running", skipped=_entries(known))
        plan, order = Plan.of(config, len(train_set.ids)), "balanced" if config.balanced else config.shuffle
        n_samples = seconds_to_samples(config.clip_duration, network.config.frontend.sample_rate)
        crop = int(network.config.frontend.n_frames(n_samples)) if is_cached else n_samples
        batches = TrainBatches(*train_set.columns, plan, order, crop, config.seed, rank)
        valid = None if valid_set is None else ValidBatches(*valid_set.columns, config.batch_size)
        n_workers, precision = 0 if is_cached else self._n_readers, record["resolved"]["precision"]
        loop = Loop(
            config, network, batches, valid, n_workers, self.device, precision, self.folder, self._about(), self.bar
        )
        if state is not None:
            loop.load(state)
        return loop, skipped

    def _print(self, text: str) -> None:
        if not self.bar.disable:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _resolved(self, network: Network) -> dict[str, str]:
        """The meaning of `auto` here."""
        cache = chosen_cache(self.config, (self.data, self.valid), network.frontend, self.rank.n_local)
        return {"cache": cache, "precision": chosen_precision(self.config, self.device)}

    @property
    def _n_readers(self) -> int:
        usual = max(1, min(8, n_processors() // self.rank.n_local))
        return usual if self.config.n_workers is None else self.config.n_workers

    def _features(self, network: Network, dataset: Dataset, part: str, is_cached: bool) -> FeatureSet:
        task = self.bar.add_task(f"reading {part} clips", total=len(dataset), note="") if is_cached else None
        with self.rank.one_after_the_first() if self.store is not None else nullcontext():
            return read_features(
                dataset,
                self.data.labels,
                network.frontend,
                is_cached=is_cached,
                skip_bad=self.config.skip_bad,
                n_readers=self._n_readers,
                advance=lambda n: None if task is None else self.bar.advance(task, n),
                store=self.store,
            )

    def _write_record(self, status: str, **entries: Any) -> None:
        self.record.pop("error", None)
        self.record |= {"status": status, **entries}
        if self.rank.is_first:
            self.folder.write_record(self.record)

    def _about(self) -> dict[str, Any]:
        """Facts about the training that every checkpoint carries."""
        valid = self.record["data"]["valid"]
        return {
            "data": self.data.name,
            "data_fingerprint": self.record["data"]["train"]["fingerprint"],
            "valid": valid and valid["name"],
            "seed": self.config.seed,
            "clip_duration": self.config.clip_duration,
            "earmark": self.record["versions"].get("earmark"),
        }


def _entries(skipped: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"id": clip, "error": error} for clip, error in skipped]


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


def _finished(folder: RunFolder, record: dict[str, Any], history: Sequence[Epoch], rank: Rank) -> TrainResult:
    """The result of a run that has taken all steps, though it may have been killed before it wrote so."""
    if record.get("status") != "finished" and rank.is_first:
        record.pop("error", None)
        folder.write_record({**record, "status": "finished", "result": figures(history)})
    return TrainResult(folder.last, folder.best, tuple(history))
