"""Writes search.jsonl and a page: what decides between GMAP and attentive statistics on AudioSet's released features.

The trials change one thing in the settings that the comparison of all poolings (`audioset`) has chosen for a pooling.
They are trained without the validation part of the training clips and judged by that part alone. The best trial of each
pooling is then trained on all training clips and measured once on the test clips, like the runs of the comparison.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from earmark.errors import ConfigError
from earmark.storage.files import atomic_write
from experiments.audioset_poolings import lines as audioset_lines
from experiments.audioset_poolings import runs as audioset_runs
from experiments.audioset_poolings.clips import Places, open_clips
from experiments.audioset_poolings.comparisons import resampled
from experiments.audioset_poolings.measures import Figures
from experiments.audioset_poolings.plan import Protocol, Run, figures_file
from experiments.audioset_poolings.runs import Bench, Task
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
from experiments.steps import RESULTS, commit
from experiments.table1.statistics import Comparison, compare

COMPARED: Final = RESULTS / "audioset"
"""Folder of the finished comparison of all poolings."""
OUT: Final = COMPARED / "gmap-and-attentive-stats"
TRIALS: Final = trials_of_both({"weight decay 0.05": Trial({"weight_decay": 0.05})})


def audioset_pooling_search(
    features: Path | None = None,
    *,
    test_split: str = "eval_half",
    out: Path = OUT,
    jobs: int = 1,
    n_seeds: int = 3,
    n_finals: int = 10,
) -> None:
    """Search for what decides between GMAP and attentive statistics on AudioSet, and measure the best trial of each.

    Args:
        features: Folder of AudioSet's released features; without it, only the page is written again.
        test_split: Folder of the test clips in `features`.
        out: Folder of search.jsonl, figures by label and README.md.
        jobs: Number of runs at a time, which share the processors.
        n_seeds: Runs of each trial.
        n_finals: Runs of the best trial of each pooling.
    """
    if features is not None:
        out.mkdir(parents=True, exist_ok=True)
        bench = Bench(out, Places(features, test_split=test_split), Protocol(), jobs)
        _check_clips(bench)
        search(
            out,
            TRIALS,
            partial(perform, bench=bench),
            n_seeds=n_seeds,
            n_finals=n_finals,
            jobs=jobs,
            is_renewed=False,
        )
    lines = read_lines(out)
    how = (
        "Each trial changes one thing in the settings of the [comparison of all poolings](../README.md). It is judged "
        "by the mAP on the validation part of the training clips, which it was not trained on."
    )
    compared = _comparisons(out, lines, n_finals)
    with atomic_write(out / "README.md") as path:
        path.write_text(page("audioset-pooling-search FEATURES", how, lines, TRIALS, compared), encoding="utf-8")


def _check_clips(bench: Bench) -> None:
    """Raises ConfigError unless the clips are those of the comparison."""
    clips = open_clips(bench.places).facts()
    compared = json.loads((COMPARED / "plan.json").read_text(encoding="utf-8"))["clips"]
    for part in ("train", "test"):
        if clips[part]["fingerprint"] != compared[part]["fingerprint"]:
            raise ConfigError(
                f"the {part} clips of {COMPARED} were expected ({compared[part]['name']}), not other clips "
                f"({clips[part]['name']}): figures of different clips cannot be compared"
            )


def perform(run: TrialRun, bench: Bench) -> Line:
    """The line of a run, which is trained or resumed first; a final run also writes its figures by label."""
    trial, protocol, clips = TRIALS[run.pooling][run.trial], bench.protocol, open_clips(bench.places)
    finished = [line.finished for line in audioset_lines.read_lines(COMPARED / "search.jsonl")]
    fit = clips.train if run.is_final else clips.parts(protocol.valid_share, protocol.valid_seed)[0]
    config = protocol.config(Run("final", run.pooling, "", run.seed), finished, len(fit))
    task = Run("final" if run.is_final else "search", run.pooling, run.trial, run.seed)
    with in_place_of(run.pooling, trial.change):
        line = audioset_runs.perform(Task(task, replace(config, **trial.settings)), bench)
    valid, test = (None, line.mAP) if run.is_final else (line.mAP, None)
    return Line(run, valid, test, line.n_clips_seen, line.seconds, line.commit or commit())


def _comparisons(out: Path, lines: Sequence[Line], n_finals: int) -> dict[str, Comparison]:
    """Comparisons of the best trials and the unchanged poolings on the test clips, by description."""
    found = {}
    for text, pair in pairs(best_trials(lines, TRIALS)).items():
        files = [
            [figures_file(COMPARED if trial == UNCHANGED else out, pooling, seed) for pooling, trial in pair]
            for seed in range(n_finals)
        ]
        whole = [both for both in files if all(file.is_file() for file in both)]
        if whole:
            ours, theirs = (resampled([Figures.read(file) for file in side], None) for side in zip(*whole, strict=True))
            found[text] = compare(ours, theirs)
    return found
