"""Trials of GMAP and of attentive statistics: the same changes for both, judged by validation clips alone.

Trials of heads and gate are for GMAP alone, because attentive statistics has one head and no gate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

from earmark.errors import ConfigError
from earmark.storage.journal import open_journal, read_journal
from earmark.storage.locks import alone
from experiments.changed_pooling import PoolingChange
from experiments.jobs import side_by_side
from experiments.steps import short_commit
from experiments.table1.statistics import Comparison

POOLINGS: Final = ("gmap", "attentive_stats")
"""The two poolings that are compared."""
UNCHANGED: Final = "unchanged"


@dataclass(frozen=True)
class Trial:
    """Settings of a training that differ from those of the comparison, and a change of its pooling."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    change: PoolingChange = field(default_factory=PoolingChange)


Trials = Mapping[str, Mapping[str, Trial]]
"""The trials of each pooling by name."""
QUERIES: Final[Mapping[str, Trial]] = {
    "queries start 10 times as large": Trial(change=PoolingChange(query_scale=10.0)),
    "queries start 50 times as large": Trial(change=PoolingChange(query_scale=50.0)),
    "queries learn 5 times as fast": Trial(change=PoolingChange(query_rate=5.0)),
    "queries learn 0.2 times as fast": Trial(change=PoolingChange(query_rate=0.2)),
    "sharper: queries 5 times as large and as fast": Trial(change=PoolingChange(query_scale=5.0, query_rate=5.0)),
}
HEADS_AND_GATE: Final[Mapping[str, Trial]] = {
    "1 head": Trial({"n_heads": 1}),
    "2 heads": Trial({"n_heads": 2}),
    "8 heads": Trial({"n_heads": 8}),
    "no gate": Trial({"gate": False}),
    "gate learns 0.1 times as fast": Trial(change=PoolingChange(gate_rate=0.1)),
    "gate starts open, bias 2": Trial(change=PoolingChange(gate_bias=2.0)),
    "gate's weights decay by 0.0001 a step": Trial(change=PoolingChange(gate_decay=1e-4)),
    "gate sees 70 % of the features": Trial(change=PoolingChange(gate_dropout=0.3)),
}


def trials_of_both(others: Mapping[str, Trial]) -> Trials:
    """Trials of each pooling: the unchanged training, queries and `others` for both; heads and gate for GMAP alone."""
    both = {UNCHANGED: Trial(), **QUERIES, **others}
    return {POOLINGS[0]: {**both, **HEADS_AND_GATE}, POOLINGS[1]: both}


@dataclass(frozen=True)
class TrialRun:
    """One training of a trial."""

    pooling: str
    trial: str
    seed: int
    is_final: bool
    """Whether it is trained like the runs of the comparison and measured on the test clips."""

    def name(self) -> str:
        """Name of its folder."""
        trial = "".join(letter if letter.isalnum() or letter == "." else "_" for letter in self.trial)
        return f"{'final' if self.is_final else 'trial'}-{self.pooling}-{trial}-{self.seed}"


@dataclass(frozen=True)
class Line:
    """A finished run."""

    run: TrialRun
    valid_mAP: float | None
    """None in a final run that was trained on the validation clips."""
    test_mAP: float | None
    """None in the search."""
    n_clips_seen: int
    seconds: float
    commit: str


def search(
    folder: Path,
    trials: Trials,
    perform: Callable[[TrialRun], Line],
    *,
    n_seeds: int,
    n_finals: int,
    jobs: int,
    is_renewed: bool = True,
) -> None:
    """Performs the runs that search.jsonl lacks: all trials, then final runs of the best trial of each pooling.

    The unchanged training needs no final run: the comparison has it.

    Args:
        folder: Folder of search.jsonl.
        trials: The trials of each pooling.
        perform: Trains and measures a run; it must be possible to pickle it.
        n_seeds: Runs of each trial.
        n_finals: Final runs of the best trial of each pooling.
        jobs: Number of runs at a time, which share the processors.
        is_renewed: Start a new process for each run; otherwise processes keep the clips they have read.

    Raises:
        ConfigError: All runs of a trial have failed.
        DataError: Another process uses the folder, or search.jsonl is damaged.
    """
    with alone(folder):
        searched = [
            TrialRun(pooling, trial, seed, False)
            for seed in range(n_seeds)
            for pooling in trials
            for trial in trials[pooling]
        ]
        _perform_all(folder, searched, perform, jobs, is_renewed)
        best = best_trials(read_lines(folder), trials)
        finals = [
            TrialRun(pooling, trial, seed, True)
            for seed in range(n_finals)
            for pooling, trial in best.items()
            if trial != UNCHANGED
        ]
        _perform_all(folder, finals, perform, jobs, is_renewed)


def read_lines(folder: Path) -> list[Line]:
    """The lines of search.jsonl."""
    return list(read_journal(folder / "search.jsonl", lambda values: Line(TrialRun(**values.pop("run")), **values)))


def best_trials(lines: Sequence[Line], trials: Trials) -> dict[str, str]:
    """For each pooling the trial with the highest mean on validation, over the seeds that all its trials have."""
    best = {}
    for pooling, own in trials.items():
        found: dict[str, dict[int, float]] = {}
        for line in lines:
            if line.run.pooling == pooling and not line.run.is_final:
                mAP = -1.0 if line.valid_mAP is None else line.valid_mAP
                found.setdefault(line.run.trial, {})[line.run.seed] = mAP
        if missing := [name for name in own if name not in found]:
            raise ConfigError(
                f"{pooling}: all trials were expected, {len(missing)} have no finished run: {', '.join(missing)}"
            )
        seeds = set.intersection(*(set(values) for values in found.values()))
        best[pooling] = max(own, key=lambda name: fmean(found[name][seed] for seed in seeds))
    return best


def _perform_all(
    folder: Path, runs: Sequence[TrialRun], perform: Callable[[TrialRun], Line], n_jobs: int, is_renewed: bool
) -> None:
    done = {line.run for line in read_lines(folder)}
    todo = [run for run in runs if run not in done]
    for number, (run, line) in enumerate(side_by_side(perform, todo, n_jobs, print, is_renewed=is_renewed), 1):
        if isinstance(line, str):
            print(f"{run.name()}: {line}")
            continue
        with open_journal(folder / "search.jsonl", is_synced=True) as journal:
            journal.append(asdict(line))
        mAP = line.test_mAP if line.valid_mAP is None else line.valid_mAP
        shown = "no mAP" if mAP is None else f"{mAP:.4f}"
        print(f"{number}/{len(todo)} {run.pooling}, {run.trial}, seed {run.seed}: {shown}", flush=True)


def pairs(best: Mapping[str, str]) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    """The comparisons of best and unchanged trials by description; each side is a pooling and its trial."""
    ours, theirs = ((pooling, best[pooling]) for pooling in POOLINGS)
    unchanged, rival = ((pooling, UNCHANGED) for pooling in POOLINGS)
    found = {
        "best GMAP minus best attentive statistics": (ours, theirs),
        "best GMAP minus unchanged GMAP": (ours, unchanged),
        "best attentive statistics minus unchanged": (theirs, rival),
        "unchanged GMAP minus unchanged attentive statistics": (unchanged, rival),
    }
    return {text: pair for text, pair in found.items() if pair[0] != pair[1]}


def page(
    command: str,
    how: str,
    lines: Sequence[Line],
    trials: Trials,
    compared: Mapping[str, Comparison],
) -> str:
    """The page about a search.

    Args:
        command: The command that writes it.
        how: How the trials were trained and measured, as sentences.
        lines: All finished runs.
        trials: The trials of each pooling.
        compared: Comparisons on the test clips by description.
    """
    searched = [line for line in lines if not line.run.is_final]
    seeds = sorted({line.run.seed for line in searched})
    best = best_trials(lines, trials)
    text = f"# What decides between GMAP and attentive statistics\n\nWritten by `python -m experiments {command}`"
    text += f", commit {', '.join(sorted({short_commit(line.commit) for line in lines}))}. {how} "
    text += f"The figures are means of seeds {', '.join(map(str, seeds))}"
    text += ", with the standard deviation.\n\n" if len(seeds) > 1 else ".\n\n"
    text += "| trial | GMAP (4 heads) | attentive statistics |\n|---|---|---|\n"
    for name in trials[POOLINGS[0]]:
        cells = (_cell(searched, pooling, name, best[pooling] == name) for pooling in POOLINGS)
        text += f"| {name} | {' | '.join(cells)} |\n"
    text += "\nThe best trial of each pooling is bold. Unless it is the unchanged one, it was then trained like the "
    text += "runs of the comparison and measured on the test clips.\n\n"
    text += "| test clips | difference of mAP | 95 % interval | p | seeds |\n|---|---|---|---|---|\n"
    for what, found in compared.items():
        low, high = found.interval
        text += f"| {what} | {found.difference:+.4f} | {low:+.4f} to {high:+.4f} | {found.p:.3f} | {found.n_seeds} |\n"
    return text


def _cell(lines: Sequence[Line], pooling: str, trial: str, is_best: bool) -> str:
    values = [
        line.valid_mAP
        for line in lines
        if (line.run.pooling, line.run.trial) == (pooling, trial) and line.valid_mAP is not None
    ]
    if not values:
        return "-"
    text = f"{fmean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
    return f"**{text}**" if is_best else text
