"""Time that the remaining runs of a table need, estimated from finished runs or from a few training steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import torch

from earmark.audio.recording import Audio, seconds_to_samples
from earmark.data.clips import Clip, Dataset
from earmark.labels import LabelSet
from earmark.training import train
from earmark.training.machine import chosen_device
from earmark.training.plan import Plan
from earmark.training.settings import TrainConfig
from experiments.table1.lines import Line, done_runs, read_lines
from experiments.table1.plan import Run, TablePlan
from experiments.table1.runs import machine
from experiments.table1.soundscapes import n_soundscapes, unrendered

_STEPS: Final = 4
_SCORING: Final = 1 / 3
"""Cost of scoring a clip relative to training on it: the forward pass of a step."""


@dataclass(frozen=True)
class Estimate:
    """Estimated time of several runs."""

    seconds: float
    clips_per_second: float
    """Rate of the whole machine, for all runs at a time together."""
    how: str
    """Source of the estimate, in words."""


@dataclass(frozen=True)
class Outlook:
    """The work that a call of `make_table` would do."""

    n_runs: int
    n_done: int
    unrendered: tuple[tuple[str, str, int], ...]
    """Difficulty, part and number of the soundscapes of each incomplete part."""
    estimate: Estimate | None
    """Time of the remaining runs; None if all are done."""


def look_ahead(out: Path, plan: TablePlan, runs: Sequence[Run]) -> Outlook:
    """The remaining work for the runs of a plan; writes nothing.

    Raises:
        ConfigError: `out` holds another table, or other files.
        DataError: Its `runs.jsonl` is damaged.
    """
    plan.check(out)
    lines = read_lines(out / "runs.jsonl")
    done = done_runs(out, lines)
    left = [run for run in runs if run not in done]
    missing = tuple((*where, n_soundscapes(plan, where[1])) for where in unrendered(plan, out))
    return Outlook(len(runs), len(runs) - len(left), missing, estimate(plan, left, lines) if left else None)


def estimate(plan: TablePlan, runs: Sequence[Run], lines: Sequence[Line]) -> Estimate:
    """Time to train and measure the runs, without mixing the soundscapes; `lines` are the finished runs."""
    device = chosen_device(plan.profile.training)
    here = [line for line in lines if line.machine == machine(device)]
    if here:
        # parallel runs share the machine: its rate is theirs times their number
        rates = [line.n_beside * line.n_clips_seen / line.seconds for line in here]
        rate = sum(rates) / len(rates)
        n_clips = sum(plan.config(run).n_clips_seen + _SCORING * plan.profile.n_test for run in runs)
        return Estimate(n_clips / rate, rate, f"the {len(here)} runs finished on such a machine")
    rate = probe_rate(plan.profile.training, len(plan.profile.labels or ()) or 50, plan.profile.duration)
    n_clips = sum(_clips(plan, run) for run in runs)
    how = f"{_STEPS} steps of GMAP at width {plan.profile.training.width} on noise, just now on {machine(device)}"
    return Estimate(n_clips / rate, rate, how)


def _clips(plan: TablePlan, run: Run) -> float:
    """Number of training clips of a run, plus validation and test clips at their lower cost."""
    config, profile = plan.config(run), plan.profile
    n_scored = Plan.of(config, profile.n_train).n_epochs * profile.n_valid + profile.n_test
    return config.n_clips_seen + _SCORING * n_scored


@dataclass(frozen=True)
class _Noise:
    """Noise of this duration (s)."""

    duration: float

    def load(self, sample_rate: int) -> Audio:
        n_samples = seconds_to_samples(self.duration, sample_rate)
        return Audio(np.random.default_rng(0).standard_normal(n_samples, np.float32) / 10, sample_rate)


def probe_rate(config: TrainConfig, n_labels: int, duration: float) -> float:
    """Clips per second of a training of a few steps on noise, after one warm-up step."""
    size = config.batch_size
    labels = LabelSet(tuple(map(str, range(n_labels))))
    noise = (Clip(str(i), labels.names[i % n_labels :: size], _Noise(duration)) for i in range(size))
    config = replace(config, pooling="gmap", n_clips_seen=(1 + _STEPS) * size, clips_per_epoch=size)
    # the loader draws a number from PyTorch's global generator
    with TemporaryDirectory() as folder, torch.random.fork_rng([]):
        history = train(config, Dataset("noise", labels, tuple(noise)), folder, progress=False).history
    return _STEPS / sum(1 / row.clips_per_second for row in history[1:])
