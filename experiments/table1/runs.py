"""One run of a table: trains or resumes it, measures it on the test soundscapes, returns its line."""

import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from earmark.data.clips import Dataset
from earmark.errors import DataError, counted
from earmark.evaluation.report import Report, evaluate
from earmark.model.frontend import LogMel
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.storage.json_files import json_value
from earmark.training import TrainResult, train
from earmark.training.cache import log_mels
from earmark.training.folder import Epoch
from earmark.training.machine import chosen_device
from experiments.table1.lines import Line, config_sha256
from experiments.table1.plan import Run, TablePlan
from experiments.table1.soundscapes import open_part


def features_folder(out: Path) -> Path:
    """Folder of the log-mels that all runs share."""
    return out / "features"


def share_features(plan: TablePlan, out: Path, data: Dataset, progress: Callable[[int, int], None] | None) -> None:
    """Computes the log-mels of a part for all runs, unless they exist; called before runs start in parallel.

    Raises:
        DataError: Clips cannot be read.
    """
    n_done = 0

    def advance(n_more: int) -> None:
        nonlocal n_done
        n_done += n_more
        if progress is not None:
            progress(n_done, len(data))

    frontend = LogMel(plan.profile.training.network_config().frontend)
    _, failed = log_mels(data, frontend, min(8, n_processors()), advance, features_folder(out))
    if failed:
        clip, reason = failed[0]
        raise DataError(
            f"{data.name}: {len(failed)} of {len(data)} cannot be read; {clip}: {reason}; delete those files "
            "and their part's clips.csv, and run the same command again"
        )


def perform(out: Path, plan: TablePlan, run: Run, *, n_beside: int = 1, progress: bool = False) -> Line:
    """Trains or resumes the run and measures its best epoch; writes its scores and returns its line.

    The table's folder `out` has the soundscapes. `n_beside` is the number of parallel runs, this one included.

    Raises:
        EarmarkError: As for `train` and `evaluate`.
        TrainingInterrupted: Ctrl-C, or SIGTERM; the run was saved.
    """
    data, valid, test = (open_part(plan, out, run.difficulty, part) for part in ("train", "valid", "test"))
    folder, config = run.folder(out), plan.config(run)
    result = train(
        config,
        data,
        folder,
        valid,
        resume=(folder / "run.json").exists(),
        progress=progress,
        features=features_folder(out),
    )
    network = Network.load(result.best)
    report = evaluate(network, test, device=chosen_device(config))
    if report.failed:
        failed = report.failed[0]
        raise DataError(f"{test.name}: {len(report.failed)} cannot be read; {failed.id}: {failed.error}")
    report.save_scores(run.scores(out))
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return _line(plan, run, result, report, record, n_beside)


def _line(
    plan: TablePlan, run: Run, result: TrainResult, report: Report, record: dict[str, Any], n_beside: int
) -> Line:
    config = plan.config(run)
    last, seconds = result.history[-1], training_seconds(result.history)
    return Line(
        difficulty=run.difficulty,
        cell=run.cell,
        seed=run.seed,
        profile=plan.profile.name,
        config=config.to_json(),
        config_sha256=config_sha256(config.to_json()),
        commit=record["commit"],
        earmark=version("earmark"),
        machine=machine(chosen_device(config)),
        precision=record["resolved"]["precision"],
        n_parameters=record["n_parameters"],
        n_clips_seen=last.clips_seen,
        clips_per_second=last.clips_seen / seconds,
        seconds=last.seconds,
        seconds_per_step=seconds / last.step,
        n_beside=n_beside,
        best_epoch=result.best_epoch.epoch,
        valid_mAP=result.best_epoch.valid_mAP,
        n_test_clips=len(report.ids),
        test_ids_sha256=report.clip_ids_sha256,
        mAP=json_value(report.mAP),
        mAUC=json_value(report.mAUC),
        d_prime=json_value(report.d_prime),
        bank=plan.bank,
        n_labels=len(report.labels),
        n_train_clips=record["data"]["train"]["n_clips"],
        command=plan.command,
    )


def training_seconds(history: Sequence[Epoch]) -> float:
    """Training time of a run, without validation."""
    seen = [0, *(row.clips_seen for row in history)]
    return sum((row.clips_seen - before) / row.clips_per_second for before, row in zip(seen, history, strict=False))


def machine(device: torch.device) -> str:
    """The kind of machine, without its host name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {counted(n_processors(), 'core')}"
