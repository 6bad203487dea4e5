"""Writes search.md and search.jsonl beside a Table 1: what decides between GMAP and attentive statistics.

Both poolings get the same trials; those of heads and gate are for GMAP alone, because its rival has one head and no
gate. Trials are shorter than the runs of the table and are judged by the validation soundscapes alone. The best trial
of each pooling is then trained like the runs of the table, with the same seeds, and measured once on its test
soundscapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import numpy as np

from earmark.errors import ConfigError
from earmark.evaluation.report import evaluate
from earmark.model.network import Network
from earmark.storage.files import atomic_write
from earmark.storage.journal import open_journal, read_journal
from earmark.storage.locks import alone
from earmark.training import train
from earmark.training.machine import chosen_device
from experiments.changed_pooling import PoolingChange, in_place_of
from experiments.jobs import side_by_side
from experiments.steps import commit
from experiments.table1.pages import read_scores
from experiments.table1.plan import Run, read_plan
from experiments.table1.runs import features_folder
from experiments.table1.soundscapes import open_part
from experiments.table1.statistics import Comparison, ResampledRuns, compare, resample_clips

POOLINGS: Final = ("gmap", "attentive_stats")
"""GMAP and its rival."""
DIFFICULTY: Final = "sparse"
N_CLIPS_SEEN: Final = 16_000
"""Budget of a trial."""
UNCHANGED: Final = "unchanged"


@dataclass(frozen=True)
class Trial:
    """Settings of a training that differ from those of the table, and a change of its pooling."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    change: PoolingChange = field(default_factory=PoolingChange)


BOTH: Final[Mapping[str, Trial]] = {
    UNCHANGED: Trial(),
    "queries start 10 times as large": Trial(change=PoolingChange(query_scale=10.0)),
    "queries start 50 times as large": Trial(change=PoolingChange(query_scale=50.0)),
    "queries learn 5 times as fast": Trial(change=PoolingChange(query_rate=5.0)),
    "queries learn 0.2 times as fast": Trial(change=PoolingChange(query_rate=0.2)),
    "sharper: queries 5 times as large and as fast": Trial(change=PoolingChange(query_scale=5.0, query_rate=5.0)),
    "learning rate 0.001": Trial({"learning_rate": 1e-3}),
    "learning rate 0.004": Trial({"learning_rate": 4e-3}),
    "weight decay 0.05": Trial({"weight_decay": 0.05}),
    "dropout before the classifier 0": Trial({"dropout": 0.0}),
    "dropout before the classifier 0.4": Trial({"dropout": 0.4}),
    "dropout in the backbone 0.1": Trial({"block_dropout": 0.1}),
}
"""Trials of both poolings."""
ONLY_GMAP: Final[Mapping[str, Trial]] = {
    "1 head": Trial({"n_heads": 1}),
    "2 heads": Trial({"n_heads": 2}),
    "8 heads": Trial({"n_heads": 8}),
    "no gate": Trial({"gate": False}),
    "gate learns 0.1 times as fast": Trial(change=PoolingChange(gate_rate=0.1)),
    "gate starts open, bias 2": Trial(change=PoolingChange(gate_bias=2.0)),
    "gate's weights decay by 0.0001 a step": Trial(change=PoolingChange(gate_decay=1e-4)),
    "gate sees 70 % of the features": Trial(change=PoolingChange(gate_dropout=0.3)),
}
"""Trials of the number of heads and of the gate, for GMAP alone."""


def trials(pooling: str) -> dict[str, Trial]:
    """The trials of a pooling by name."""
    return {**BOTH, **(ONLY_GMAP if pooling == POOLINGS[0] else {})}


@dataclass(frozen=True)
class TrialRun:
    """One training of a trial."""

    pooling: str
    trial: str
    seed: int
    is_final: bool
    """Whether it is trained and measured like the runs of the table."""

    def name(self) -> str:
        """Name of its folder, with the number of the trial among those of its pooling."""
        number = list(trials(self.pooling)).index(self.trial)
        return f"{'final' if self.is_final else 'trial'}-{self.pooling}-{number}-{self.seed}"


@dataclass(frozen=True)
class Line:
    """A finished run."""

    run: TrialRun
    valid_mAP: float
    test_mAP: float | None
    """None in the search."""
    n_clips_seen: int
    seconds: float
    commit: str


def pooling_search(
    table: Path, *, jobs: int = 1, n_seeds: int = 2, n_finals: int = 5, pages_only: bool = False
) -> None:
    """Search for what decides between GMAP and attentive statistics, and measure the best trial of each.

    Args:
        table: Folder of a finished Table 1, with its soundscapes, log-mels, runs and scores.
        jobs: Number of runs at a time, which share the processors.
        n_seeds: Runs of each trial.
        n_finals: Runs of the best trial of each pooling.
        pages_only: Only write search.md again from the finished runs.
    """
    if not pages_only:
        with alone(table):
            searched = [
                TrialRun(pooling, trial, seed, False)
                for seed in range(n_seeds)
                for pooling in POOLINGS
                for trial in trials(pooling)
            ]
            _perform_all(table, searched, jobs)
            best = best_trials(read_lines(table))
            finals = [
                TrialRun(pooling, trial, seed, True)
                for seed in range(n_finals)
                for pooling, trial in best.items()
                if trial != UNCHANGED  # the table has these runs
            ]
            _perform_all(table, finals, jobs)
    lines = read_lines(table)
    with atomic_write(table / "search.md") as path:
        path.write_text(page(lines, _comparisons(table, lines)), encoding="utf-8")


def read_lines(table: Path) -> list[Line]:
    """The lines of search.jsonl."""
    return list(read_journal(table / "search.jsonl", lambda values: Line(TrialRun(**values.pop("run")), **values)))


def best_trials(lines: Sequence[Line]) -> dict[str, str]:
    """For each pooling the trial with the highest mean on validation, over the seeds that all its trials have."""
    best = {}
    for pooling in POOLINGS:
        found: dict[str, dict[int, float]] = {}
        for line in lines:
            if line.run.pooling == pooling and not line.run.is_final:
                found.setdefault(line.run.trial, {})[line.run.seed] = line.valid_mAP
        if missing := [name for name in trials(pooling) if name not in found]:
            raise ConfigError(f"{pooling}: all trials were expected, {len(missing)} failed: {', '.join(missing)}")
        seeds = set.intersection(*(set(own) for own in found.values()))
        best[pooling] = max(trials(pooling), key=lambda name: fmean(found[name][seed] for seed in seeds))
    return best


def _perform_all(table: Path, runs: Sequence[TrialRun], n_jobs: int) -> None:
    done = {line.run for line in read_lines(table)}
    todo = [run for run in runs if run not in done]
    for number, (run, line) in enumerate(side_by_side(partial(perform, table=table), todo, n_jobs, print), 1):
        if isinstance(line, str):
            print(f"{run.name()}: {line}")
            continue
        with open_journal(table / "search.jsonl", is_synced=True) as journal:
            journal.append(asdict(line))
        print(f"{number}/{len(todo)} {run.pooling}, {run.trial}, seed {run.seed}: {line.valid_mAP:.4f}", flush=True)


def perform(run: TrialRun, table: Path) -> Line:
    """The line of a run, which is trained or resumed first; a final run also saves its test scores."""
    plan, trial = read_plan(table), trials(run.pooling)[run.trial]
    config = replace(plan.config(Run(DIFFICULTY, run.pooling, run.seed)), **trial.settings)
    if not run.is_final:
        config = replace(config, n_clips_seen=N_CLIPS_SEEN)
    folder, features = table / "search" / run.name(), features_folder(table)
    data, valid, test = (open_part(plan, table, DIFFICULTY, part) for part in ("train", "valid", "test"))
    is_resumed, test_mAP = (folder / "run.json").exists(), None
    with in_place_of(run.pooling, trial.change):
        result = train(config, data, folder, valid, resume=is_resumed, progress=False, features=features)
        if run.is_final:
            report = evaluate(Network.load(result.best), test, device=chosen_device(config))
            report.save_scores(_scores(table, run))
            test_mAP = report.mAP
    last, best = result.history[-1], result.best_epoch.valid_mAP
    if best is None:
        raise ConfigError("validation soundscapes with labels were expected")
    return Line(run, best, test_mAP, last.clips_seen, last.seconds, commit())


def _scores(table: Path, run: TrialRun) -> Path:
    if run.trial == UNCHANGED:
        return Run(DIFFICULTY, run.pooling, run.seed).scores(table)
    return table / "scores" / "search" / f"{run.pooling}-{run.seed}.npz"


def _comparisons(table: Path, lines: Sequence[Line]) -> dict[str, Comparison]:
    """Comparisons of the best trials and the unchanged poolings on the test soundscapes, by description."""
    best = best_trials(lines)
    sides = {
        "best GMAP minus best attentive statistics": (
            ("gmap", best["gmap"]),
            ("attentive_stats", best["attentive_stats"]),
        ),
        "best GMAP minus unchanged GMAP": (("gmap", best["gmap"]), ("gmap", UNCHANGED)),
        "best attentive statistics minus unchanged": (
            ("attentive_stats", best["attentive_stats"]),
            ("attentive_stats", UNCHANGED),
        ),
        "unchanged GMAP minus unchanged attentive statistics": (("gmap", UNCHANGED), ("attentive_stats", UNCHANGED)),
    }
    found = {}
    for text, (ours, theirs) in sides.items():
        if ours == theirs:
            continue
        seeds = [
            seed
            for seed in range(read_plan(table).n_seeds)
            if all(_scores(table, TrialRun(*side, seed, True)).is_file() for side in (ours, theirs))
        ]
        if seeds:
            found[text] = compare(*(_resampled(table, side, seeds) for side in (ours, theirs)))
    return found


def _resampled(table: Path, side: tuple[str, str], seeds: Sequence[int]) -> ResampledRuns:
    scores = [read_scores(_scores(table, TrialRun(*side, seed, True))) for seed in seeds]
    orders = [np.argsort(one.ids) for one in scores]
    ordered = [one.scores[order] for one, order in zip(scores, orders, strict=True)]
    return resample_clips(scores[0].target[orders[0]], ordered, np.random.default_rng(0))


def page(lines: Sequence[Line], compared: Mapping[str, Comparison]) -> str:
    """The page about the search."""
    searched = [line for line in lines if not line.run.is_final]
    seeds = sorted({line.run.seed for line in searched})
    best = best_trials(lines)
    text = "# What decides between GMAP and attentive statistics\n\nWritten by `python -m experiments pooling-search`"
    text += f", commit {', '.join(sorted({line.commit for line in lines}))}. Each trial is the training of the "
    text += (
        f"[table](table1.md) with one change and {N_CLIPS_SEEN:,} clips. Its figure is the best mAP on the validation "
    )
    text += f"soundscapes: mean of seeds {', '.join(map(str, seeds))}"
    text += ", with the standard deviation.\n\n" if len(seeds) > 1 else ".\n\n"
    text += "| trial | GMAP, 4 heads | attentive statistics |\n|---|---|---|\n"
    for name in trials(POOLINGS[0]):
        cells = (_cell(searched, pooling, name, best[pooling] == name) for pooling in POOLINGS)
        text += f"| {name} | {' | '.join(cells)} |\n"
    text += "\nThe best trial of each pooling is bold. It was then trained and measured like the runs of the table.\n\n"
    text += "| test soundscapes | difference of mAP | 95 % interval | p | seeds |\n|---|---|---|---|---|\n"
    for what, found in compared.items():
        low, high = found.interval
        text += f"| {what} | {found.difference:+.4f} | {low:+.4f} to {high:+.4f} | {found.p:.3f} | {found.n_seeds} |\n"
    return text


def _cell(lines: Sequence[Line], pooling: str, trial: str, is_best: bool) -> str:
    values = [line.valid_mAP for line in lines if (line.run.pooling, line.run.trial) == (pooling, trial)]
    if not values:
        return "-"
    text = f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
    return f"**{text}**" if is_best else text
