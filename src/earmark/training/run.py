"""`train`: from settings and data sets to a folder with a trained network."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from earmark.data.clips import Dataset, check_disjoint
from earmark.errors import ConfigError, DataError
from earmark.network import Network
from earmark.training.batches import WEIGHTS, TrainBatches, ValidBatches, derived_seed, loader
from earmark.training.features import FeatureSet, read_features
from earmark.training.folder import Epoch, RunFolder, commit, data_facts, finite, versions
from earmark.training.interruption import Interruption, TrainingInterrupted
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers, n_processors
from earmark.training.settings import Plan, TrainConfig

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from earmark.training.journal import Journal


@dataclass(frozen=True)
class TrainResult:
    """What a finished run left behind."""

    last: Path
    """Checkpoint of the last epoch."""
    best: Path
    """Checkpoint of the epoch with the highest validation mAP; of the last one without validation."""
    history: tuple[Epoch, ...]
    """One entry an epoch, as in `metrics.csv`."""

    @property
    def best_epoch(self) -> Epoch:
        """The epoch that `best` comes from."""
        return max(reversed(self.history), key=lambda row: (row.valid_mAP or 0.0, 0.0 if row.valid_mAP else row.epoch))


def train(
    config: TrainConfig,
    data: Dataset,
    out: Path | str,
    valid: Dataset | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
    request: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Trains a network and returns where it is.

    Everything random in a step follows from the seed and the step's number, so that a run that was stopped and
    resumed, at whatever step, ends with the weights of one that was not: bit for bit on the CPU of one machine.

    Args:
        config: How to train.
        data: The training clips; the network learns their label set.
        out: Folder of the run: `run.json`, `metrics.csv`, `last.safetensors`, `best.safetensors`, TensorBoard's
            event files, and `resume.ckpt` to go on from.
        valid: Clips to validate on after each epoch; their labels are matched by name.
        resume: Go on with the run in `out`; on a finished run, return its result.
        progress: Draw a progress bar on standard error.
        request: What to keep in `run.json` under that name: how the caller came by the data, plain JSON.

    Raises:
        ConfigError: There is a run in `out` already; or none to resume, or one with other settings.
        DataError: The data are unlabelled, overlap, hold unknown labels or clips that cannot be read; or the loss
            became nan or infinite.
        TrainingInterrupted: Ctrl-C, or SIGTERM; the run was saved.
    """
    if find_spec("lightning") is None:
        raise ConfigError("training needs Lightning, which is not installed: pip install 'earmark[train]'")
    check_data(config, data, valid)
    folder = RunFolder(out)
    record = _opened(folder, config, data, valid, resume, request)
    state = folder.read_state() if resume else None
    plan = Plan.of(config, record["n_train_clips"] if "n_train_clips" in record else len(data))
    if state is not None and state["module"]["n_steps_done"] >= plan.n_steps:
        return TrainResult(folder.last, folder.best, tuple(Epoch(**row) for row in state["history"]))
    keep_big_buffers()
    return _run(config, data, valid, folder, record, state, progress)
