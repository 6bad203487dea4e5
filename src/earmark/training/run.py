"""`train`: from settings and data sets to a folder with a trained network."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from earmark.audio.recording import seconds_to_samples
from earmark.data.clips import Dataset
from earmark.errors import ConfigError, EarmarkError, EarmarkWarning
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.training.batches import Loader, TrainBatches, ValidBatches, killed_worker_reported
from earmark.training.features import FeatureSet, check_data, chosen_cache, read_features
from earmark.training.folder import Epoch, RunFolder, best_epoch, finite, steady
from earmark.training.initial import initial_network
from earmark.training.interruption import Interruption, TrainingInterrupted
from earmark.training.launch import launch, needs_launch
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers
from earmark.training.provenance import commit, data_facts, versions
from earmark.training.ranks import Rank, joined
from earmark.training.settings import Plan, TrainConfig
from earmark.training.store import FeatureStore

if TYPE_CHECKING:
    from earmark.training.journal import Journal


@dataclass(frozen=True)
class TrainResult:
    """What a finished run left behind."""

    last: Path
    """Checkpoint of the last epoch."""
    best: Path
    """Checkpoint of the epoch with the highest validation mAP, of equals the latest; without validation the last."""
    history: tuple[Epoch, ...]
    """One entry an epoch, as in `metrics.csv`."""

    @property
    def best_epoch(self) -> Epoch:
        """The epoch that `best` comes from."""
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
    """Trains a network and returns where it is.

    All that is random in a step follows from the seed and its number, so that a run that was stopped and resumed, at
    whatever step, ends with the weights of one that was not: bit for bit on the CPU of one machine.

    Args:
        config: How to train.
        data: The training clips; the network learns their label set.
        out: Folder of the run, new or empty: run.json, metrics.csv, checkpoints, TensorBoard's events, resume.ckpt.
        valid: Clips to validate on after each epoch; their labels are matched by name.
        resume: Go on with the run in `out`; on a finished run, return its result.
        progress: Draw a progress bar on standard error.
        request: What to keep in `run.json` under that name: how the caller came by the data, plain JSON.
        features: Folder that keeps the log-mels for the next run on the same clips, where `cache` has them in memory.

    Raises:
        ConfigError: `out` holds a run or other files, none to resume or other settings; a process is at work there.
        CheckpointError: The state to resume from, or the checkpoint of `init`, is damaged or another run's.
        DataError: The data are unlabelled, overlap, hold unknown labels or clips that cannot be read; or are not those
            of the run to resume; or the loss became nan or infinite.
        TrainingInterrupted: Ctrl-C, or SIGTERM; the run was saved. EarmarkError: A process of it was killed.
    """
    if missing := [package for package in ("lightning", "tensorboard") if find_spec(package) is None]:
        raise ConfigError(f"training needs {' and '.join(missing)}, not installed here: pip install 'earmark[train]'")
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
        rank.check_same(settings=steady(config.to_json()), clips=hashes)
        if request is not None and not resume:
            about = {"request": dict(request), **about}
        record, state = rank.from_first(lambda: _opened(folder, config, about, resume, held))
        folder.run_id = record.get("run_id")
        if state is not None and state["module"]["n_steps_done"] >= Plan.of(config, len(data)).n_steps:
            return _finished(folder, record, [Epoch(**row) for row in state["history"]], rank)
        with _progress_bar(progress and rank.is_first) as bar:
            store = None if features is None else FeatureStore(features)
            return _Run(config, data, valid, folder, {**record, **about}, device, bar, store, rank).go(state)


def _opened(
    folder: RunFolder, config: TrainConfig, about: dict[str, Any], resume: bool, held: ExitStack
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The record of the run and the state to go on from, of a new run none; while `held` is open, nobody else's."""
    if resume:
        record = folder.read_record()
        held.enter_context(folder.alone())
        folder.check_same(record, config, about["data"])
        before = record.get("n_processes", 1)
        if before != about["n_processes"]:
            text = (
                f"the run goes on in {about['n_processes']} processes where it was in {before}: dropout and batch norm"
            )
            warnings.warn(f"{text} differ from then on", EarmarkWarning, stacklevel=2)
            # who reads the record must be able to find out
            about["earlier_n_processes"] = [*record.get("earlier_n_processes", ()), before]
        return record, folder.read_state()
    folder.check_new()
    # reading the clips may take minutes, and no other run must take the folder meanwhile
    record = {**about, "status": "preparing"}
    folder.claim(record)
    held.enter_context(folder.alone())
    return record, None


class _Run:
    """One call of `train`, its arguments checked."""

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
        self.config = config
        self.data = data
        self.valid = valid
        self.folder = folder
        self.record = record
        self.device = device
        self.bar = bar
        self.store = store
        self.rank = rank
        self._skipped: list[tuple[str, str]] = []

    def go(self, state: dict[str, Any] | None) -> TrainResult:
        """Trains from `state` on, or from the start."""
        try:
            network, train_set, valid_set = self._prepare(state)
        except KeyboardInterrupt:
            self._note_end("interrupted")
            raise self._stopped_early(state) from None
        except BaseException as error:
            if isinstance(error, EarmarkError) and self.record.get("status") == "preparing" and state is None:
                if self.rank.is_first:
                    self.folder.withdraw()  # so that the same command works in the same folder once this is mended
            else:
                self._note_end("failed", error)
            raise
        try:
            journal = self._fit(network, train_set, valid_set, state)
            skipped = self._skipped + sorted(journal.module.bad_clips.items())
            self._write_record("interrupted" if journal.stopped else "finished", skipped, journal.history)
            if skipped and self.rank.is_first:
                shown = ", ".join(clip for clip, _ in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
                text = f"{len(skipped)} clips could not be read and were left out: {shown}; run.json says why"
                warnings.warn(f"{self.folder.path}: {text}", EarmarkWarning, stacklevel=2)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not str(error):  # while the trainer was being set up
                self._note_end("interrupted")
                raise self._stopped_early(state) from None
            self._note_end("failed", error)
            raise
        if journal.stopped:
            how = f"stopped after step {journal.module.n_steps_done} of {journal.module.plan.n_steps}"
            raise TrainingInterrupted(f"training {how} and is saved in {self.folder.path}: --resume goes on from there")
        if journal.interruption.requested:
            raise TrainingInterrupted(f"stopped, but training had just finished; all of it is in {self.folder.path}")
        return _result(self.folder, journal.history)

    def _stopped_early(self, state: dict[str, Any] | None) -> TrainingInterrupted:
        how = "before the first step: --resume starts" if state is None else "early on: --resume goes on with"
        return TrainingInterrupted(f"stopped {how} the run in {self.folder.path}")

    def _prepare(self, state: dict[str, Any] | None) -> tuple[Network, FeatureSet, FeatureSet | None]:
        config, record = self.config, self.record
        with self.rank.one_after_the_first():  # the others find what it has fetched
            network = initial_network(config, self.data.labels, record, state is None, self._tell)
        network.backbone.synchronise(config.sync_batch_norm and not self.rank.is_alone)
        record["n_parameters"] = network.n_parameters
        # what `auto` meant when the run started is what it means when the run goes on
        record.setdefault("resolved", self.rank.from_first(lambda: self._resolved(network)))
        train_set = self._features(network, self.data, "training")
        valid_set = self._features(network, self.valid, "validation") if self.valid is not None else None
        self._skipped = [*train_set.skipped, *(valid_set.skipped if valid_set else ())]
        self.rank.check_same(**{"unreadable clips": self._skipped})
        known = self._skipped
        if state is not None and self._is_cached:
            # clips that are read anew each time may come and go in any run, stopped or not
            self.folder.check_same_skipped(record, known)
        elif state is not None:
            known = sorted(state["module"]["bad_clips"].items())
        self._write_record("running", known, None)
        return network, train_set, valid_set

    def _tell(self, text: str) -> None:
        if not self.bar.disable:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _resolved(self, network: Network) -> dict[str, str]:
        """What `auto` means here."""
        datasets = (self.data, self.valid)
        cache = chosen_cache(self.config, datasets, network.frontend, self.rank.n_local)
        return {"cache": cache, "precision": chosen_precision(self.config, self.device)}

    @property
    def _is_cached(self) -> bool:
        return bool(self.record["resolved"]["cache"] == "log_mel")

    @property
    def _n_readers(self) -> int:
        usual = max(1, min(8, n_processors() // self.rank.n_local))
        return usual if self.config.n_workers is None else self.config.n_workers

    def _features(self, network: Network, dataset: Dataset, part: str) -> FeatureSet:
        with self.rank.one_after_the_first() if self.store is not None else nullcontext():
            return read_features(
                self.config,
                dataset,
                self.data.labels,
                network.frontend,
                self._is_cached,
                self._n_readers,
                self.bar,
                part,
                self.store,
            )

    def _crop(self, network: Network) -> int:
        frontend = network.config.frontend
        n_samples = seconds_to_samples(self.config.clip_duration, frontend.sample_rate)
        return int(frontend.n_frames(n_samples)) if self._is_cached else n_samples

    def _write_record(self, status: str, skipped: Sequence[tuple[str, str]], history: Sequence[Epoch] | None) -> None:
        self.record["status"] = status
        self.record.pop("error", None)
        self.record["skipped"] = [{"id": clip, "error": error} for clip, error in skipped]
        if history:
            self.record["result"] = _figures(history)
        if self.rank.is_first:
            self.folder.write_record(self.record)

    def _note_end(self, status: str, error: BaseException | None = None) -> None:
        self.record["status"] = status
        if error is not None:
            lines = str(error).splitlines()
            self.record["error"] = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        # the error that ended the run is what must be heard of, not that it could not be written down
        with suppress(OSError, ValueError):
            if self.rank.is_first:
                self.folder.write_record(self.record)

    def _batches(self, network: Network, plan: Plan, train_set: FeatureSet) -> TrainBatches:
        config, crop = self.config, self._crop(network)
        order: Literal["balanced", "clips", "blocks"] = "balanced" if config.balanced else config.shuffle
        return TrainBatches(
            train_set.features, train_set.target, train_set.ids, plan, order, crop, config.seed, self.rank
        )

    def _fit(
        self,
        network: Network,
        train_set: FeatureSet,
        valid_set: FeatureSet | None,
        state: dict[str, Any] | None,
    ) -> "Journal":
        from earmark.training.journal import Journal
        from earmark.training.lightning_module import WeakLabelModule
        from earmark.training.trainer import make_trainer, quiet

        plan = Plan.of(self.config, len(train_set.ids))
        batches = self._batches(network, plan, train_set)
        valid_batches = None
        if valid_set is not None:
            valid_batches = ValidBatches(valid_set.features, valid_set.target, valid_set.ids, self.config.batch_size)
        n_workers = 0 if self._is_cached else self._n_readers
        pin_memory = self.device.type == "cuda"
        module = WeakLabelModule(network, self.config, plan, self.rank)
        valid_loader = None
        if valid_batches is not None:
            own = range(self.rank.number, len(valid_batches), self.rank.n_ranks)
            valid_loader = Loader(valid_batches, own, n_workers, pin_memory)
        with Interruption() as interruption:
            journal = Journal(
                module,
                self.folder,
                valid_loader,
                self._about(),
                self.bar,
                interruption,
            )
            if state is not None:
                journal.load_state(state)
            steps = Loader(batches, range(module.n_steps_done, plan.n_steps), n_workers, pin_memory)
            with quiet(), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
                trainer = make_trainer(
                    self.device, self.rank, self.record["resolved"]["precision"], self.folder.path, journal
                )
                try:
                    with killed_worker_reported():
                        trainer.fit(module, steps)
                except SystemExit:
                    # Lightning makes this of SIGTERM, which the journal has noted, and of a second Ctrl-C
                    if not journal.stopped:
                        raise KeyboardInterrupt(
                            f"stopped at once; {self.folder.path} holds its last checkpoint"
                        ) from None
        return journal

    def _about(self) -> dict[str, Any]:
        """What every checkpoint says about its training."""
        valid = self.record["data"]["valid"]
        return {
            "data": self.data.name,
            "data_fingerprint": self.record["data"]["train"]["fingerprint"],
            "valid": valid and valid["name"],
            "seed": self.config.seed,
            "clip_duration": self.config.clip_duration,
            "earmark": self.record["versions"].get("earmark"),
        }


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


def _figures(history: Sequence[Epoch]) -> dict[str, Any]:
    """What `run.json` says about how the run ended."""
    return {
        part: {name: finite(value) for name, value in asdict(row).items()}
        for part, row in (("last", history[-1]), ("best", best_epoch(history)))
    }


def _finished(folder: RunFolder, record: dict[str, Any], history: Sequence[Epoch], rank: Rank) -> TrainResult:
    """The result of a run that needs no step more, though it may have been killed before it could say so."""
    if record.get("status") != "finished" and rank.is_first:
        record.pop("error", None)
        folder.write_record({**record, "status": "finished", "result": _figures(history)})
    return _result(folder, history)


def _result(folder: RunFolder, history: Sequence[Epoch]) -> TrainResult:
    return TrainResult(folder.last, folder.best, tuple(history))
