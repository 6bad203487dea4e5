"""Writes localisation.md: how well each pooling of Table 1 locates events, after training without event times."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from earmark.errors import DataError
from earmark.storage.files import atomic_write
from earmark.storage.journal import open_journal, read_journal
from earmark.storage.locks import alone
from earmark.training.machine import chosen_device
from earmark.training.settings import TrainConfig
from experiments.localisation_measures import HOP, WINDOWS, measure
from experiments.table1.lines import Line, read_lines
from experiments.table1.pages import listed, spread
from experiments.table1.plan import Run
from experiments.table1.profiles import CELLS, DIFFICULTIES
from experiments.table1.soundscapes import part_folder


@dataclass(frozen=True)
class Localised:
    """Result of a call of `localise`."""

    lines: tuple[dict[str, Any], ...]
    """Measures of the runs that this call measured, without those of earlier calls."""
    missing: tuple[Run, ...]
    """Runs that were skipped because their checkpoint is missing."""


def localise(out: Path, progress: Callable[[str, int, int], None] | None = None) -> Localised:
    """Measures the runs of `runs.jsonl` that are not in `localisation.jsonl`, and adds a line as each is done.

    A run whose checkpoint has changed since is measured again. Interrupted, the same call resumes.

    Args:
        out: The folder of a Table 1.
        progress: Called with a run, the number of its soundscapes measured so far, and their total.

    Raises:
        DataError: No run is finished, a file is damaged, or another process is at work there.
        EarmarkError: As for `measure`.
    """
    runs = _runs(out)
    with alone(out):
        return _localise(out, runs, progress)


def _localise(out: Path, runs: Sequence[Line], progress: Callable[[str, int, int], None] | None) -> Localised:
    path = out / "localisation.jsonl"
    done, new, missing = {_run(line): line for line in read_localisation(path)}, [], []
    for line in runs:
        checkpoint = line.run.folder(out) / "best.safetensors"
        if not checkpoint.is_file():
            if line.run not in done:
                missing.append(line.run)
            continue
        sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        if done.get(line.run, {}).get("checkpoint_sha256") == sha256:
            continue
        figures = measure(
            checkpoint,
            *(part_folder(out, line.difficulty, part) for part in ("valid", "test")),
            device=chosen_device(TrainConfig.from_json(dict(line.config))),
            progress=None if progress is None else partial(progress, str(line.run)),
        )
        new.append({**line.run._asdict(), "checkpoint_sha256": sha256, "earmark": version("earmark"), **figures})
        with open_journal(path, is_synced=True) as journal:
            journal.append(new[-1])
    return Localised(tuple(new), tuple(missing))


def _runs(out: Path) -> list[Line]:
    if runs := read_lines(out / "runs.jsonl"):
        return runs
    raise DataError(
        f"{out}: finished runs were expected, there is none (runs.jsonl); `python -m experiments table1` trains them"
    )


def read_localisation(path: Path) -> list[dict[str, Any]]:
    """The lines that `localise` wrote, the last one of each run; none if there is no file.

    Raises:
        DataError: A line is damaged.
    """
    return list(dict(read_journal(path, lambda line: (_run(line), line))).values())


def _run(line: Mapping[str, Any]) -> Run:
    return Run(line["difficulty"], line["cell"], line["seed"])


def write_table(out: Path) -> Path:
    """Writes `localisation.md` from `runs.jsonl` and `localisation.jsonl` alone, and returns its path.

    Raises:
        DataError: No run is finished, or a file is damaged.
    """
    text = table(_runs(out), read_localisation(out / "localisation.jsonl"))
    with atomic_write(out / "localisation.md") as path:
        path.write_text(text, encoding="utf-8")
    return out / "localisation.md"


def table(tagging_lines: Sequence[Line], localisation_lines: Sequence[Mapping[str, Any]]) -> str:
    """Tagging and localisation of each cell in one Markdown table, over the runs that have both measures."""
    measured = {_run(line): line for line in localisation_lines}
    parts = ["# Tagging and localisation\n"]
    for difficulty in DIFFICULTIES:
        runs = [line for line in tagging_lines if line.difficulty == difficulty]
        if not runs:
            continue
        low, high = DIFFICULTIES[difficulty]
        parts += [f"## {difficulty}: events of {low:g} to {high:g} s\n", _circumstances(runs)]
        parts += ["|".join(["", *_HEAD, ""]), "|" + "---|" * len(_HEAD)]
        for cell in CELLS:
            if of_cell := [line for line in runs if line.cell == cell]:
                both = [(line, measured[line.run]) for line in of_cell if _is_of(line, measured)]
                parts.append("|".join(["", cell, *_figures(both), f"{len(both)} of {len(of_cell)}", ""]))
        parts.append("")
    return "\n".join([*parts, _NOTES])


def _is_of(line: Line, measured: Mapping[Run, Mapping[str, Any]]) -> bool:
    """Whether the run's localisation was measured on the same soundscapes as its mAP."""
    return measured.get(line.run, {}).get("test_ids_sha256") == line.test_ids_sha256


_FIGURES: Final[Mapping[str, Callable[[Line, Mapping[str, Any]], float | None]]] = {
    "mAP": lambda line, found: line.mAP,
    "PSDS1": lambda line, found: found["PSDS1"],
    "PSDS2": lambda line, found: found["PSDS2"],
    "F1": lambda line, found: found["F1"],
    "pointing: attention": lambda line, found: found["pointing"].get("attention"),
    "best head": lambda line, found: found["pointing"].get("best", {}).get("accuracy"),
    "worst head": lambda line, found: found["pointing"].get("worst", {}).get("accuracy"),
    "evidence": lambda line, found: found["pointing"].get("evidence"),
    "chance": lambda line, found: found["pointing"].get("chance"),
}
_HEAD: Final = ("pooling", *_FIGURES, "seeds")
_NOTES: Final = f"""Figures: mean ± standard deviation over seeds, on the test soundscapes. The networks were trained on
weak labels, without event times. "Seeds": number of runs with both measures, of all finished runs. PSDS1 and PSDS2:
polyphonic sound detection score of the DCASE scenarios 1 (exact times) and 2 (distinguishing labels). F1:
segment-based with segments of 1 s, mean over labels. The validation soundscapes chose, for each run and
measure, a window among {", ".join(f"{window:g}" for window in WINDOWS)} s, at hops of {HOP:g} s,
and for F1 a threshold for each label. Pointing: share of the soundscapes with one event in which the
segment with the most weight overlaps the event. The weight is the attention (mean of
the heads; the heads that are best and worst on validation), or the evidence: how far the label's logit falls without
the segment. Chance: accuracy of a random segment.
"""


def _figures(both: Sequence[tuple[Line, Mapping[str, Any]]]) -> list[str]:
    if not both:
        return ["missing"] * len(_FIGURES)
    return [spread([figure(*lines) for lines in both], absent="-") for figure in _FIGURES.values()]


def _circumstances(runs: Sequence[Line]) -> str:
    """The settings behind the figures of a table, in a sentence; settings that differ are listed."""
    facts = {
        "profile": (run.profile for run in runs),
        "backbone width": (run.config["width"] for run in runs),
        "labels": (f"{run.n_labels} of {run.bank}" for run in runs),
        "budget": (f"{run.n_clips_seen} clips seen a run" for run in runs),
        "test soundscapes": (run.n_test_clips for run in runs),
        "seeds": (run.seed for run in runs),
    }
    return "; ".join(f"{name}: {listed(values)}" for name, values in facts.items()) + ".\n"
