"""One run: trains or resumes it, measures it and returns its line."""

import json
import shutil
import time
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.data.clips import Dataset
from earmark.evaluation.metrics import average_precision, d_prime, label_mean, roc_auc
from earmark.evaluation.segment_scores import score_segments
from earmark.hub import load_stages
from earmark.model.head import Stages
from earmark.storage.json_files import json_value
from earmark.training import train
from earmark.training.machine import chosen_device
from earmark.training.settings import TrainConfig
from experiments.audioset_poolings.clips import Places, open_clips
from experiments.audioset_poolings.lines import Line
from experiments.audioset_poolings.measures import figures_of
from experiments.audioset_poolings.plan import Protocol, Run, figures_file
from experiments.audioset_poolings.strong import localise
from experiments.table1.lines import config_sha256
from experiments.table1.runs import machine


@dataclass(frozen=True)
class Bench:
    """All that the runs of an experiment share."""

    out: Path
    places: Places
    protocol: Protocol
    n_beside: int = 1
    """Number of parallel runs, each one included."""


@dataclass(frozen=True)
class Task:
    """A run with its settings."""

    run: Run
    config: TrainConfig


def perform(task: Task, bench: Bench) -> Line:
    """Trains or resumes the run and measures it; writes its figures by label, removes its folder, returns its line.

    Runs of the search are trained without the validation clips and measured on them; final runs are trained on all
    training clips and measured once, on the test clips.

    Raises:
        EarmarkError: As for `train`.
        TrainingInterrupted: Ctrl-C, or SIGTERM; the run was saved.
    """
    clips, protocol, is_final = open_clips(bench.places), bench.protocol, task.run.stage == "final"
    if is_final:
        data, measured, target = clips.train, clips.test, clips.target
    else:
        data, measured = clips.parts(protocol.valid_share, protocol.valid_seed)
        target = measured.targets() > 0
    folder = bench.out / "runs" / task.run.name()
    is_resumed, start = (folder / "run.json").exists(), time.process_time()
    result = train(task.config, data, folder, resume=is_resumed, progress=False)
    seconds = time.process_time() - start
    stages = load_stages(result.last)
    scores = _scores(stages, measured)
    localisation = None
    if is_final:
        figures = figures_of(target, scores, clips.groups, protocol.n_resamples)
        figures.save(figures_file(bench.out, task.run.cell, task.run.seed))
        if clips.sources:
            localisation = localise(stages, clips.segments, clips.sources)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    auc = label_mean(roc_auc(target, scores))
    last = result.history[-1]
    line = Line(
        **task.run._asdict(),
        settings=changed_settings(task.config),
        config_sha256=config_sha256(task.config.to_json()),
        commit=record["commit"],
        earmark=version("earmark"),
        machine=machine(chosen_device(task.config)),
        n_beside=bench.n_beside,
        n_parameters=stages.n_parameters,
        n_clips_seen=last.clips_seen,
        n_steps=last.step,
        seconds=round(last.seconds, 1),
        cpu_seconds=None if is_resumed else round(seconds, 1),
        n_clips=len(measured),
        ids_sha256=measured.clip_ids_sha256(),
        mAP=json_value(label_mean(average_precision(target, scores))),
        mAUC=json_value(auc),
        d_prime=json_value(d_prime(auc)),
        localisation=localisation,
    )
    shutil.rmtree(folder)  # a run's checkpoints are 20 MB, and nothing below needs them
    return line


def changed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that differ from their defaults."""
    return {entry.name: value for entry in fields(config) if (value := getattr(config, entry.name)) != entry.default}


@torch.inference_mode()
def _scores(stages: Stages, data: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
    return score_segments(stages, data)
