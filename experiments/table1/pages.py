"""`table1.md` and `ablations.md`, which follow from `runs.jsonl` and the test scores alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median, stdev
from types import MappingProxyType
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from earmark.data.clips import ids_sha256
from earmark.errors import DataError, counted
from experiments.steps import short_commit
from experiments.table1.lines import Line
from experiments.table1.plan import Run
from experiments.table1.profiles import ABLATED, ABLATIONS, DIFFICULTIES, POOLING_CELLS
from experiments.table1.statistics import N_RESAMPLES, Comparison, ResampledRuns, compare, resample_clips

PRINTED_MAP: Final[Mapping[str, float]] = {
    "max": 0.396,
    "mean": 0.394,
    "max_mean": 0.397,
    "attention": 0.404,
    "attentive_stats": 0.406,
    "gmap": 0.417,
}
"""mAP on AudioSet in Table 1 of the paper; two rows that are garbled in print follow its text."""
_REFERENCE: Final = "gmap"
_SEED: Final = 0
_ABLATION_ROWS: Final = ("gmap-heads-1", "gmap-heads-2", _REFERENCE, *list(ABLATIONS)[2:])
_FIGURE_HEAD: Final = ("mAP", "mAUC", "d'", "seeds", "GMAP minus it (mAP)", "p", "parameters")
Compared = Callable[[str, str], Comparison | None]
"""From a difficulty and a cell to the lead of GMAP; None without paired runs."""


@dataclass(frozen=True)
class Scores:
    """Test scores of a run, as in its file."""

    ids: np.ndarray[Any, np.dtype[Any]]
    scores: np.ndarray[Any, np.dtype[Any]]
    target: np.ndarray[Any, np.dtype[Any]]


def read_scores(path: Path) -> Scores:
    """Reads the scores that `perform` wrote.

    Raises:
        DataError: The file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Scores(arrays["ids"], arrays["scores"], arrays["target"] > 0)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(
            f"{path}: ids, scores and target of a run were expected ({error}); remove the file and the run's line, and "
            "train again"
        ) from error


def comparisons(out: Path, lines: Sequence[Line], n_resamples: int = N_RESAMPLES) -> Compared:
    """Compares GMAP with a cell over the seeds that both have, when called.

    Raises:
        DataError: Runs of one difficulty were measured on different clips. The returned function raises it too, also
            for a damaged file of scores.
    """
    there: dict[tuple[str, str], dict[int, Line]] = {}
    for line in lines:
        if line.run.scores(out).is_file():
            there.setdefault((line.difficulty, line.cell), {})[line.seed] = line
    for difficulty in DIFFICULTIES:
        if len({line.test_ids_sha256 for line in lines if line.difficulty == difficulty}) > 1:
            raise DataError(f"{out}: the {difficulty} runs were measured on different clips; a table needs the same")

    @cache
    def resampled(run: Run, expected: str) -> tuple[ResampledRuns, bytes]:
        scores = read_scores(run.scores(out))
        if ids_sha256(map(str, scores.ids)) != expected:
            raise DataError(
                f"{run.scores(out)}: scores of the test clips of {run} were expected, these are of other "
                "clips; remove the file, and `python -m experiments table1` measures the run again"
            )
        order = np.argsort(scores.ids)  # so that clip i is clip i of every run
        target = scores.target[order]
        runs = resample_clips(target, [scores.scores[order]], np.random.default_rng(_SEED), n_resamples)
        return runs, target.tobytes()

    def compared(difficulty: str, cell: str) -> Comparison | None:
        ours, theirs = there.get((difficulty, _REFERENCE), {}), there.get((difficulty, cell), {})
        seeds = sorted(ours.keys() & theirs.keys())
        if cell == _REFERENCE or not seeds:
            return None
        mine, other = (
            [resampled(side[seed].run, side[seed].test_ids_sha256) for seed in seeds] for side in (ours, theirs)
        )
        for seed, (_, our_target), (_, their_target) in zip(seeds, mine, other, strict=True):
            if our_target != their_target:
                raise DataError(
                    f"{out}: one target was expected in the scores of {ours[seed].run} and {theirs[seed].run}, they "
                    "hold different ones; remove both files, and `python -m experiments table1` measures the runs again"
                )
        return compare(*(_stacked([runs for runs, _ in side]) for side in (mine, other)))

    return compared


def _stacked(runs: Sequence[ResampledRuns]) -> ResampledRuns:
    return ResampledRuns(
        np.concatenate([run.measured for run in runs]), np.concatenate([run.resampled for run in runs])
    )


def table1_page(lines: Sequence[Line], compared: Compared, recordings: Mapping[str, str] = MappingProxyType({})) -> str:
    """Markdown page that compares the poolings on every difficulty with a run.

    `recordings` names, by difficulty, the recordings in its test soundscapes, where known.
    """
    of_table = [line for line in lines if line.cell in POOLING_CELLS]
    parts = ["# Table 1 on soundscapes: only the pooling differs\n", _header(of_table)]
    for difficulty in DIFFICULTIES:
        if not (there := [line for line in of_table if line.difficulty == difficulty]):
            continue
        low, high = DIFFICULTIES[difficulty]
        parts.append(f"## {difficulty}: events of {low:g} to {high:g} s\n")
        rows = []
        for cell in POOLING_CELLS:
            runs = [line for line in there if line.cell == cell]
            figures = [*_figures(runs), *_against(compared(difficulty, cell)), _parameters(runs)]
            rows.append([shown(cell), f"{PRINTED_MAP[cell]:.3f}", *figures])
        head = ["pooling", "paper, AudioSet: mAP", *_FIGURE_HEAD]
        parts += [
            markdown_table(head, rows),
            f"**{_where(difficulty, there, recordings)} {_verdict(difficulty, there, compared)}**\n",
        ]
    return "\n".join([*parts, _NOTES])


def ablations_page(lines: Sequence[Line], compared: Compared) -> str:
    """Markdown page of GMAP and its ablations."""
    there = [line for line in lines if line.difficulty == ABLATED and line.cell in _ABLATION_ROWS]
    low, high = DIFFICULTIES[ABLATED]
    rows = []
    for cell in _ABLATION_ROWS:
        runs = [line for line in there if line.cell == cell]
        settings = {"n_heads": 4, "gate": True, "deviation": True, **ABLATIONS.get(cell, {})}
        described = [str(settings["n_heads"]), *("yes" if settings[name] else "no" for name in ("gate", "deviation"))]
        times = [f"{median(line.seconds_per_step for line in runs) * 1e3:.1f} ms" if runs else "missing"]
        rows.append([*described, *_figures(runs), *_against(compared(ABLATED, cell)), _parameters(runs), *times])
    head = ["heads", "gate", "deviation", *_FIGURE_HEAD, "a step"]
    batch = listed(line.config["batch_size"] for line in there)
    return "\n".join(
        [
            f"# GMAP's parts, one changed at a time ({ABLATED}: events of {low:g} to {high:g} s)\n",
            _header(there),
            markdown_table(head, rows),
            f"A step is {batch} clips. Its time was measured during training, without validation, on a machine that "
            "may have done other work; the figure is the median over the runs. The row with 4 heads, gate and "
            "deviation is GMAP itself.\n",
            _NOTES,
        ]
    )


_NOTES: Final = f"""Figures: mean ± standard deviation over seeds, at the epoch with the highest validation mAP.
d' is computed from the mean AUC. Differences: mAP, mean over the seeds that both poolings have, with the 95 %
interval and the two-sided p of a paired t test. The variance of the test is the variance over test clips ({N_RESAMPLES}
resamples of the soundscapes) plus the variance over seeds; the degrees of freedom are Satterthwaite's. "clips only":
there is one seed, so the interval does not include the spread over seeds. No p is adjusted for the number of
comparisons. Soundscapes that share recordings count as independent, so the intervals hold for these recordings only;
results on other recordings vary more.
"""


def _header(lines: Sequence[Line]) -> str:
    """The settings behind all figures of a page; settings that differ are listed."""
    if not lines:
        return "No run is finished yet.\n"
    rows = [
        ["profile", listed(line.profile for line in lines)],
        ["backbone width", listed(line.config["width"] for line in lines)],
        ["labels", listed(f"{line.n_labels} of {line.bank}" for line in lines)],
        ["training soundscapes", listed(line.n_train_clips for line in lines)],
        ["budget", listed(f"{line.n_clips_seen} clips seen a run" for line in lines)],
        ["test soundscapes", listed(f"{line.n_test_clips} {line.difficulty}" for line in lines)],
        [
            "SHA-256 of the test clips' ids",
            listed(f"{line.difficulty} `{line.test_ids_sha256[:12]}`" for line in lines),
        ],
        ["seeds", listed(line.seed for line in lines)],
        ["sample rate", listed(f"{line.config['sample_rate']} Hz" for line in lines)],
        [
            "commit",
            listed(f"`{short_commit(line.commit) or 'unknown'}`" for line in lines),
        ],
        ["earmark", listed(line.earmark for line in lines)],
        [
            "machine",
            "; ".join(sorted({f"{line.machine}, {line.precision}, {at_a_time(line.n_beside)}" for line in lines})),
        ],
        ["command", listed(f"`{line.command}`" for line in lines)],
    ]
    return markdown_table(["setting", "value"], rows)


def at_a_time(n: int) -> str:
    """How many runs shared the machine."""
    return f"{counted(n, 'run')} at a time"


def listed(values: Iterable[Any]) -> str:
    """The different values, sorted and joined by commas."""
    return ", ".join(sorted({str(value) for value in values})) or "no"


def _figures(runs: Sequence[Line]) -> list[str]:
    """mAP, mAUC, d' and number of seeds."""
    if not runs:
        return ["missing"] * 3 + ["0"]
    return [
        *(spread([getattr(line, name) for line in runs]) for name in ("mAP", "mAUC", "d_prime")),
        str(len(runs)),
    ]


def spread(values: Sequence[float | None], absent: str = "not finite", digits: int = 3) -> str:
    """Mean ± standard deviation; `absent` if a value is missing.

    >>> spread([0.25, 0.75]), spread([0.25, None])
    ('0.500 ± 0.354', 'not finite')
    """
    present = [value for value in values if value is not None]
    if len(present) < len(values):
        return absent
    deviation = f" ± {stdev(present):.{digits}f}" if len(present) > 1 else ""
    return f"{fmean(present):.{digits}f}{deviation}"


def _against(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return ["", ""]
    low, high = comparison.interval
    alone = ", clips only" if comparison.n_seeds == 1 else ""
    p = f"{comparison.p:.4f}" if comparison.p >= 1e-4 else "< 0.0001"
    return [f"{comparison.difference:+.3f} [{low:+.3f}, {high:+.3f}]{alone}", p]


def _parameters(runs: Sequence[Line]) -> str:
    return listed(f"{line.n_parameters:,}" for line in runs) if runs else "missing"


def _where(difficulty: str, lines: Sequence[Line], recordings: Mapping[str, str]) -> str:
    """Beginning of the verdict: the soundscapes that it is valid for."""
    mixed = f"{listed(line.n_test_clips for line in lines)} {difficulty} soundscapes"
    return (
        f"On these {recordings[difficulty]}, mixed into {mixed}," if difficulty in recordings else f"On these {mixed}"
    )


def _verdict(difficulty: str, lines: Sequence[Line], compared: Compared) -> str:
    """End of the verdict: the rank of GMAP, and which differences are clear."""
    means = {
        cell: fmean(values)
        for cell in POOLING_CELLS
        if (values := [line.mAP for line in lines if line.cell == cell and line.mAP is not None])
    }
    missing = [shown(cell) for cell in POOLING_CELLS if cell not in means]
    if _REFERENCE not in means or len(means) < 2:
        return "too few poolings are measured yet for a ranking."
    ranked = sorted(means, key=lambda cell: -means[cell])
    place = ranked.index(_REFERENCE)
    if place == 0:
        text = f"GMAP is first (mAP {means[_REFERENCE]:.3f}), before {shown(ranked[1])} ({means[ranked[1]]:.3f})"
    else:
        text = (
            f"GMAP is number {place + 1} (mAP {means[_REFERENCE]:.3f}); "
            f"{shown(ranked[0])} is first ({means[ranked[0]]:.3f})"
        )
    found = {cell: comparison for cell in ranked if (comparison := compared(difficulty, cell)) is not None}
    groups = {
        "GMAP is better than": [cell for cell, against in found.items() if against.is_clear and against.difference > 0],
        "GMAP is worse than": [cell for cell, against in found.items() if against.is_clear and against.difference < 0],
        "the difference may be chance for": [cell for cell, against in found.items() if not against.is_clear],
    }
    differences = "; ".join(f"{what} {_enumerated(cells)}" for what, cells in groups.items() if cells)
    fewest = min((against.n_seeds for against in found.values()), default=0)
    doubts = [f"missing: {', '.join(missing)}"] if missing else []
    doubts += ["one seed only: the intervals do not include the spread over seeds"] if fewest == 1 else []
    tail = f" ({'; '.join(doubts)})" if doubts else ""
    judged = f". By the 95 % intervals, {differences}" if differences else ". There are no scores to compare"
    return f"{text}{judged}{tail}."


def _enumerated(cells: Sequence[str]) -> str:
    return ", ".join(shown(cell) for cell in cells)


def shown(cell: str) -> str:
    """The name of a cell for readers."""
    return "GMAP (4 heads)" if cell == _REFERENCE else cell.replace("_", " + " if cell == "max_mean" else " ")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table and an empty line."""
    escaped = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"
