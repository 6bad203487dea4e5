"""Writes search.md and search.jsonl beside a Table 1: what decides between GMAP and attentive statistics.

Trials are shorter than the runs of the table and are judged by the validation soundscapes alone. The best trial of each
pooling is then trained like the runs of the table, with the same seeds, and measured once on its test soundscapes.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from earmark.errors import ConfigError
from earmark.evaluation.report import evaluate
from earmark.model.network import Network
from earmark.storage.files import atomic_write
from earmark.training import train
from earmark.training.machine import chosen_device
from experiments.changed_pooling import in_place_of
from experiments.pooling_trials import (
    UNCHANGED,
    Line,
    Trial,
    TrialRun,
    best_trials,
    page,
    pairs,
    read_lines,
    search,
    trials_of_both,
)
from experiments.steps import commit
from experiments.table1.pages import read_scores
from experiments.table1.plan import Run, read_plan
from experiments.table1.runs import features_folder
from experiments.table1.soundscapes import open_part
from experiments.table1.statistics import Comparison, ResampledRuns, compare, resample_clips

DIFFICULTY: Final = "sparse"
N_CLIPS_SEEN: Final = 16_000
"""Budget of a trial."""
TRIALS: Final = trials_of_both(
    {
        "learning rate 0.001": Trial({"learning_rate": 1e-3}),
        "learning rate 0.004": Trial({"learning_rate": 4e-3}),
        "weight decay 0.05": Trial({"weight_decay": 0.05}),
        "dropout before the classifier 0": Trial({"dropout": 0.0}),
        "dropout before the classifier 0.4": Trial({"dropout": 0.4}),
        "dropout in the backbone 0.1": Trial({"block_dropout": 0.1}),
    }
)


def pooling_search(table: Path, *, jobs: int = 1, n_seeds: int = 2, pages_only: bool = False) -> None:
    """Search for what decides between GMAP and attentive statistics, and measure the best trial of each.

    Args:
        table: Folder of a finished Table 1, with its soundscapes, log-mels, runs and scores.
        jobs: Number of runs at a time, which share the processors.
        n_seeds: Runs of each trial.
        pages_only: Only write search.md again from the finished runs.
    """
    if not pages_only:
        n_finals = read_plan(table).n_seeds
        search(table, TRIALS, partial(perform, table=table), n_seeds=n_seeds, n_finals=n_finals, jobs=jobs)
    lines = read_lines(table)
    how = (
        f"Each trial is the training of the [table](table1.md) with one change and {N_CLIPS_SEEN:,} clips. It is "
        "judged by the best mAP on the validation soundscapes."
    )
    with atomic_write(table / "search.md") as path:
        path.write_text(page("pooling-search", how, lines, TRIALS, _comparisons(table, lines)), encoding="utf-8")


def perform(run: TrialRun, table: Path) -> Line:
    """The line of a run, which is trained or resumed first; a final run also saves its test scores."""
    plan, trial = read_plan(table), TRIALS[run.pooling][run.trial]
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
    found = {}
    for text, (ours, theirs) in pairs(best_trials(lines, TRIALS)).items():
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
