"""`README.md` of the results: tables and verdict, which follow from the lines and the figures alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from earmark.errors import DataError
from earmark.storage.files import atomic_write
from earmark.training.settings import TrainConfig
from experiments.audioset_poolings.cells import INSTANCE, OTHERS, PARTS, PUBLISHED, REFERENCE, SYSTEMS, TABLE1
from experiments.audioset_poolings.clips import BY_FREQUENCY, BY_LENGTH
from experiments.audioset_poolings.comparisons import LEVEL, Against, Results
from experiments.audioset_poolings.lines import Line, read_lines
from experiments.audioset_poolings.strong import WINDOWS
from experiments.audioset_poolings.verdict import verdict
from experiments.steps import short_commit
from experiments.table1.pages import PRINTED_MAP, at_a_time, listed, markdown_table, shown, spread
from experiments.table1.statistics import Comparison

POOLINGS: Final = (*TABLE1, *OTHERS)
_MEASURES: Final = ("PSDS1", "PSDS2", "F1")


def write_pages(out: Path) -> list[Path]:
    """Writes `README.md`, `search.md` and the pictures from the lines and figures there, and returns their paths.

    Raises:
        DataError: No final run is finished, or a file is missing or damaged.
        EarmarkError: matplotlib is not installed.
    """
    from experiments.audioset_poolings.pictures import draw

    results, searched = read_results(out), read_lines(out / "search.jsonl")
    clips = json.loads((out / "plan.json").read_text(encoding="utf-8"))["clips"]
    written = []
    for name, text in {"README.md": readme(results, searched, clips), "search.md": search_page(searched)}.items():
        with atomic_write(out / name) as path:
            path.write_text(text, encoding="utf-8")
        written.append(out / name)
    return [*written, *draw(results, out)]


def read_results(out: Path) -> Results:
    """The final runs that are finished.

    Raises:
        DataError: There is none, or they do not belong together.
    """
    if not (lines := read_lines(out / "runs.jsonl")):
        raise DataError(
            f"{out}: no finished run there (runs.jsonl), a page needs one; `python -m experiments audioset` trains them"
        )
    return Results(out, tuple(lines))


def readme(results: Results, searched: Sequence[Line], clips: Mapping[str, Any]) -> str:
    """The page of all results."""
    poolings = results.family(REFERENCE, POOLINGS)
    parts = results.family(REFERENCE, PARTS)
    return "\n".join(
        [
            "# Poolings on AudioSet's released features\n",
            verdict(results, poolings, parts),
            "![mAP of each pooling](mAP.png)\n",
            _circumstances(results, searched, clips),
            "## The poolings: only the pooling differs\n",
            _poolings_table(results, poolings),
            _NOTES,
            "## GMAP's parts\n",
            _parts_table(results, parts),
            "## By number of training clips of a label\n",
            _groups_table(results, BY_FREQUENCY, POOLINGS),
            "![GMAP minus each other pooling](frequency.png)\n",
            "## By length of a label's events\n",
            _groups_table(results, BY_LENGTH, (*POOLINGS, *PARTS)),
            "## Localisation\n",
            _localisation(results, clips),
            "## Systems of the literature\n",
            _systems_table(results),
        ]
    )


def _circumstances(results: Results, searched: Sequence[Line], clips: Mapping[str, Any]) -> str:
    lines = results.lines
    seeds = sorted({len(own) for own in results.by_cell.values()})
    split = clips["test"]["name"].rpartition("(")[2].rstrip(")")
    rows = [
        ["training clips", f"{clips['train']['n_clips']:,} ({clips['train']['name']})"],
        ["test clips", f"{clips['test']['n_clips']:,} ({clips['test']['name']}), measured once"],
        ["SHA-256 of the test clips' ids", listed(f"`{line.ids_sha256[:12]}`" for line in lines)],
        ["labels", str(clips["n_labels"])],
        ["runs", f"{len(lines)} final, {len(searched)} of the search ([search.md](search.md))"],
        ["seeds of a cell", f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])],
        ["clips seen in a run", listed(f"{line.n_clips_seen:,}" for line in lines if line.cell not in SYSTEMS) ],
        ["common settings", _settings(next((line for line in lines if line.cell not in SYSTEMS), lines[0]))],
        ["commit", listed(f"`{short_commit(line.commit) or 'unknown'}`" for line in (*lines, *searched))],
        ["machine", "; ".join(sorted({f"{line.machine}, {at_a_time(line.n_beside)}" for line in lines}))],
        ["command", f"`python -m experiments audioset FEATURES --test-split {split} --strong STRONG --jobs 2`"],
    ]  # fmt: skip
    return "## How\n\n" + markdown_table(["what", "value"], rows)


def _settings(line: Line) -> str:
    settings = {**TrainConfig().to_json(), **line.settings}
    return ", ".join(f"{name} {settings[name]}" for name in _COMMON)


_COMMON: Final = (
    "perceptron_layers",
    "perceptron_width",
    "perceptron_norm",
    "block_dropout",
    "classifier_layers",
    "batch_size",
    "schedule",
    "warmup",
    "ema_decay",
    "mixup_alpha",
    "balanced",
)
"""Settings that the page names for all cells."""


def _poolings_table(results: Results, family: Mapping[str, Against]) -> str:
    rows = []
    for cell in POOLINGS:
        lines = results.by_cell.get(cell, ())
        paper = f"{PRINTED_MAP[cell]:.3f}" if cell in PRINTED_MAP else ""
        level = "instance" if cell in INSTANCE else "embedding"
        rows.append([shown(cell), level, paper, *_figures(lines), *_against(family.get(cell)), *_cost(lines)])
    head = ["pooling", "level", "paper: mAP", *_FIGURE_HEAD, *_AGAINST_HEAD, *_COST_HEAD]
    return markdown_table(head, rows)


_FIGURE_HEAD: Final = ("mAP", "mAUC", "d'", "seeds")
_AGAINST_HEAD: Final = ("GMAP minus it (mAP)", "p", "p, Holm")
_COST_HEAD: Final = ("parameters", "processor time", "rate, dropout")
_NOTES: Final = """Figures: mean ± standard deviation over seeds. d' is computed from the mean AUC. "Paper": mAP in its
Table 1, on AudioSet with a convolutional backbone trained on two million clips. Differences: mean over the seeds that
both have, which share the initial perceptron and the order of clips, with the 95 % interval and the two-sided p of a
paired t test. Its variance is that over test clips (bootstrap) plus that over seeds, with Satterthwaite's degrees of
freedom. "Holm": corrected for the number of comparisons in the table. Processor time: median seconds of training on one
core of a machine that did other work too. Rate and dropout were chosen for each pooling on the validation part, with
the same number of trials.
"""


def _figures(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return ["missing"] * 3 + ["0"]
    digits = {"mAP": 4, "mAUC": 4, "d_prime": 3}
    figures = [spread([getattr(line, name) for line in lines], digits=n) for name, n in digits.items()]
    return [*figures, str(len(lines))]


def _against(against: Against | None) -> list[str]:
    if against is None:
        return ["", "", ""]
    return [difference(against.comparison), *(_p(p) for p in (against.comparison.p, against.p))]


def difference(comparison: Comparison) -> str:
    """A difference with its interval, such as `+0.0050 [+0.0040, +0.0060]`."""
    low, high = comparison.interval
    alone = ", clips only" if comparison.n_seeds == 1 else ""
    return f"{comparison.difference:+.4f} [{low:+.4f}, {high:+.4f}]{alone}"


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 1e-4 else "< 0.0001"


def _cost(lines: Sequence[Line]) -> list[str]:
    if not lines:
        return ["missing", "missing", ""]
    times = [line.cpu_seconds for line in lines if line.cpu_seconds is not None]
    chosen = {f"{line.settings.get('learning_rate', 1e-3):g}, {line.settings.get('dropout', 0.5):g}" for line in lines}
    return [
        listed(f"{line.n_parameters:,}" for line in lines),
        f"{median(times):.0f} s" if times else "",
        listed(chosen),
    ]


def _parts_table(results: Results, family: Mapping[str, Against]) -> str:
    rows = []
    for cell in ("gmap-heads-1", "gmap-heads-2", REFERENCE, *list(PARTS)[2:]):
        settings = {"n_heads": 4, "gate": True, "deviation": True, **PARTS.get(cell, {})}
        described = [str(settings["n_heads"]), *("yes" if settings[name] else "no" for name in ("gate", "deviation"))]
        lines = results.by_cell.get(cell, ())
        rows.append([*described, *_figures(lines), *_against(family.get(cell)), *_cost(lines)[:2]])
    head = ["heads", "gate", "deviation", *_FIGURE_HEAD, *_AGAINST_HEAD, *_COST_HEAD[:2]]
    note = "The row with 4 heads, gate and deviation is GMAP itself. All rows have the settings chosen for it.\n"
    return markdown_table(head, rows) + "\n" + note


def _groups_table(results: Results, prefix: str, cells: Iterable[str]) -> str:
    """GMAP minus each cell, over the labels of each group."""
    if not (groups := groups_of(results, prefix)):
        return "No run has such groups.\n"
    rows = []
    for cell in cells:
        compared = [results.against(REFERENCE, cell, group) for group in groups]
        if cell != REFERENCE:
            rows.append([shown(cell), *("missing" if own is None else difference(own) for own in compared)])
    head = [f"{group.removeprefix(prefix)} ({n} labels)" for group, n in groups.items()]
    note = "GMAP minus the pooling, mAP over the labels of the group, with 95 % intervals that are not corrected."
    if prefix == BY_LENGTH:
        note += " The length is the median over the strongly labelled events of the label."
    return markdown_table(["pooling", *head], rows) + "\n" + note + "\n"


def groups_of(results: Results, prefix: str) -> dict[str, int]:
    """The groups whose names begin so, with the number of their labels."""
    figures = next(iter(results.figures.values()))
    pairs = zip(figures.groups, figures.n_labels.tolist(), strict=True)
    return {name: n for name, n in pairs if name.startswith(prefix) and n}


def _localisation(results: Results, clips: Mapping[str, Any]) -> str:
    if not clips["sources"]:
        return "Not measured: there was no folder of strong labels.\n"
    columns = [f"{name}-{window}" for window in WINDOWS for name in _MEASURES]
    rows = []
    for cell in (*POOLINGS, *PARTS):
        found = [line.localisation for line in results.by_cell.get(cell, ()) if line.localisation]
        figures = [spread([own[name] for own in found], absent="-") if found else "missing" for name in columns]
        rows.append([shown(cell), *figures, str(len(found))])
    perfect = {name: [source["perfect_frames"][name] for source in clips["sources"]] for name in _MEASURES}
    best = {name: "-" if None in values else f"{fmean(values):.3f}" for name, values in perfect.items()}
    rows.append(["perfect frames", *(best[name] for _ in WINDOWS for name in _MEASURES), ""])
    head = [f"{name}, {'1 frame' if window == 1 else f'{window} frames'}" for window in WINDOWS for name in _MEASURES]
    of_sources = "; ".join(
        f"{source['name']}: {source['n_events']} events of {source['n_classes']} classes in {source['n_clips']} clips"
        for source in clips["sources"]
    )
    notes = f"""Trained on weak labels; measured on the strongly labelled test clips ({of_sources}), each source on its
own classes only, since it says nothing about other sounds; figures are means over the sources. A class scores as the
highest of the labels that it was mapped to. "1 frame": each frame of 0.96 s is scored as a clip of its own; "3 frames":
together with its two neighbours. F1 is segment-based with segments of 1 s; its thresholds were chosen on one half of
the clips and measured on the other, both ways. "Perfect frames" score the share of the frame that an event covers: with
frames of 0.96 s no border is known better than that, and an event much shorter than a frame fails the criterion of
PSDS1 (70 % of the detection inside the event) whatever the pooling, so PSDS1 says little here and PSDS2 and F1 more.
"""
    return markdown_table(["pooling", *head, "seeds"], rows) + f"\n{notes}\n![Localisation](localisation.png)\n"


def _systems_table(results: Results) -> str:
    rows = []
    for cell in SYSTEMS:
        mAP, mAUC, d = PUBLISHED[cell]
        lines = results.by_cell.get(cell, ())
        seen = listed(f"{line.n_clips_seen:,}" for line in lines) if lines else "missing"
        rows.append([f"`{cell}`", f"{mAP:.3f}, {mAUC:.3f}, {d:.3f}", *_figures(lines), *_cost(lines)[:2], seen])
    head = ["recipe", "published: mAP, mAUC, d'", *_FIGURE_HEAD, *_COST_HEAD[:2], "clips seen"]
    note = """The published figures come from training on 2 million clips and from all evaluation clips, these from
training on the balanced set, a hundredth of that, and from the test clips above: compare the order of the rows, not
the figures. The recipes have the layers, dropout and learning rate of the papers and their code. Their batches are a
fifth as large, as a hundredth of the clips would otherwise give too few steps, and a moving average of the weights
stands for the papers' mean over checkpoints.
"""
    return markdown_table(head, rows) + "\n" + note


def search_page(searched: Sequence[Line]) -> str:
    """The log of the search: each trial and its mAP on the validation part."""
    parts = ["# The search\n", _SEARCH]
    for stage, title in (("common", "Settings common to all poolings"), ("search", "Settings of each pooling")):
        own = [line for line in searched if line.stage == stage]
        variants = list(dict.fromkeys(line.variant for line in own))
        cells = list(dict.fromkeys(line.cell for line in own))
        mAP = {(line.cell, line.variant): line.mAP for line in own}
        rows = []
        for cell in cells:
            values = {variant: mAP.get((cell, variant)) for variant in variants}
            best = max((value for value in values.values() if value is not None), default=None)
            rows.append(
                [shown(cell), *(_trial(value, stage == "search" and value == best) for value in values.values())]
            )
        if stage == "common" and rows:
            rows.append(
                ["mean of these", *(_mean([mAP.get((cell, variant)) for cell in cells]) for variant in variants)]
            )
        parts += [
            f"## {title}\n",
            markdown_table(["pooling", *variants], rows) if rows else "No run is finished yet.\n",
        ]
    return "\n".join([*parts, _edges(searched)])


def _edges(searched: Sequence[Line]) -> str:
    """How many poolings take the lowest or highest value that was tried: there the search may end too early."""
    trials = [line for line in searched if line.stage == "search" and line.mAP is not None]
    best: dict[str, Line] = {}
    for line in trials:
        if line.cell not in best or (line.mAP or 0.0) > (best[line.cell].mAP or 0.0):
            best[line.cell] = line
    defaults, sentences = TrainConfig().to_json(), []
    for name in ("learning_rate", "dropout"):
        tried = [line.settings.get(name, defaults[name]) for line in trials]
        for value, which in ((min(tried, default=0), "lowest"), (max(tried, default=0), "highest")):
            n = sum(line.settings.get(name, defaults[name]) == value for line in best.values())
            if n and value > 0:  # no dropout is less than none
                sentences.append(f"The {which} {name} tried ({value:g}) was chosen for {n} of {len(best)} poolings.")
    return " ".join([*sentences, "At such an edge another value may be better still.\n"]) if sentences else ""


_SEARCH: Final = f"""mAP on the validation part of the training clips, chosen by video, which these runs were not
trained on; seed 0. The common settings with the highest mean are used for all poolings; then each pooling takes the
best (bold) of the same trials. GMAP's parts take GMAP's. No choice is made on the test clips. A difference below about
0.005 is within the spread of seeds, and p values of {LEVEL:g} do not cover this choice.
"""


def _trial(value: float | None, is_best: bool) -> str:
    if value is None:
        return "missing"
    return f"**{value:.4f}**" if is_best else f"{value:.4f}"


def _mean(values: Sequence[float | None]) -> str:
    present = [value for value in values if value is not None]
    return f"{fmean(present):.4f}" if present and len(present) == len(values) else "missing"
