"""The verdict in words, computed from the figures."""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean, median
from typing import Final

import numpy as np

from experiments.audioset_poolings.cells import OTHERS, PARTS, REFERENCE, TABLE1
from experiments.audioset_poolings.clips import BY_FREQUENCY, BY_LENGTH
from experiments.audioset_poolings.comparisons import LEVEL, Against, Results
from experiments.table1.pages import PRINTED_MAP, shown
from experiments.table1.statistics import Comparison

_RIVALS: Final = ("attentive_stats", "mean")
"""Poolings that the verdict compares GMAP with by group: the paper's second, and the simplest."""
_RESOLVED: Final = 0.003
"""Difference of mAP that the experiment must be able to show."""


def verdict(results: Results, poolings: Mapping[str, Against], parts: Mapping[str, Against]) -> str:
    """The verdict: order, size of the differences, sounds, parts, cost, localisation, and what is missing."""
    means = {cell: fmean(line.mAP or 0.0 for line in lines) for cell, lines in results.by_cell.items()}
    sentences = [
        _rank(means),
        _differences(poolings, "the other poolings"),
        _order(means),
        _differences(parts, "its parts", "changing"),
        *(_groups(results, prefix, what) for prefix, what in ((BY_FREQUENCY, "frequency"), (BY_LENGTH, "length"))),
        _cost(results),
        _localisation(results, means),
        _resolution(poolings),
        _missing(results),
    ]
    body = "\n".join(textwrap.fill(f"- {text}", 118, subsequent_indent="  ") for text in sentences if text)
    return f"{body}\n"


def _rank(means: Mapping[str, float]) -> str:
    ranked = sorted((cell for cell in means if cell in (*TABLE1, *OTHERS)), key=lambda cell: -means[cell])
    if REFERENCE not in ranked or len(ranked) < 2:
        return "**Too few poolings are measured yet for a ranking.**"
    place = ranked.index(REFERENCE)
    first = ranked[0] if place else ranked[1]
    where = "first" if place == 0 else f"number {place + 1}"
    other = f"{'before' if place == 0 else 'behind'} {shown(first)} ({means[first]:.4f})"
    return f"**GMAP is {where} of {len(ranked)} poolings: mAP {means[REFERENCE]:.4f}, {other}.**"


def _differences(family: Mapping[str, Against], whom: str, how: str = "") -> str:
    """Which differences are clear after Holm's correction."""
    if not family:
        return ""
    groups = {
        "is better than": [cell for cell, own in family.items() if own.is_clear and own.comparison.difference > 0],
        "is worse than": [cell for cell, own in family.items() if own.is_clear and own.comparison.difference < 0],
        "does not clearly differ from": [cell for cell, own in family.items() if not own.is_clear],
    }
    clauses = [f"{verb} {', '.join(map(shown, cells))}" for verb, cells in groups.items() if cells]
    of_what = f"Against {whom}" if not how else f"{how.capitalize()} {whom} one at a time"
    level = f"p at most {LEVEL:g} after Holm's correction for {len(family)} comparison{'s' * (len(family) > 1)}"
    return f"{of_what} ({level}), GMAP {'; it '.join(clauses)}."


def _order(means: Mapping[str, float]) -> str:
    pairs = [pair for pair in combinations(TABLE1, 2) if all(cell in means for cell in pair)]
    if not pairs:
        return ""
    kept = [(a, b) for a, b in pairs if (PRINTED_MAP[a] - PRINTED_MAP[b]) * (means[a] - means[b]) > 0]
    turned = [f"{shown(a)} and {shown(b)}" for a, b in pairs if (a, b) not in kept]
    tail = f"; in the opposite order: {', '.join(turned)}" if turned else ""
    return f"Of the {len(pairs)} pairs of the paper's Table 1, {len(kept)} have the paper's order here{tail}."


def _groups(results: Results, prefix: str, what: str) -> str:
    """Where GMAP's lead over two rivals is largest and smallest."""
    clauses = []
    for rival in _RIVALS:
        groups = [name for name in next(iter(results.figures.values())).groups if name.startswith(prefix)]
        found = {name: own for name in groups if (own := results.against(REFERENCE, rival, name)) is not None}
        if found:
            figures = ", ".join(
                f"{own.difference:+.4f}{_doubt(own)} for {name.removeprefix(prefix)}" for name, own in found.items()
            )
            clauses.append(f"over {shown(rival)} {figures}")
    sources = {"frequency": "a label's training clips", "length": "the median length of a label's events"}
    by = f"{sources[what]} (95 % intervals, not corrected for several comparisons)"
    return f"GMAP's lead by {by}: {'; '.join(clauses)}." if clauses else ""


def _doubt(comparison: Comparison) -> str:
    return "" if comparison.is_clear and comparison.n_seeds > 1 else " (may be chance)"


def _cost(results: Results) -> str:
    def cost(cell: str) -> tuple[int, float] | None:
        lines = results.by_cell.get(cell, ())
        times = [line.cpu_seconds for line in lines if line.cpu_seconds is not None]
        return (lines[0].n_parameters, median(times)) if times else None

    ours, simple = cost(REFERENCE), cost("mean")
    if ours is None or simple is None:
        return ""
    return (
        f"GMAP costs {ours[0] / simple[0]:.2f} times the parameters and {ours[1] / simple[1]:.2f} times the processor "
        f"time of mean pooling ({ours[0]:,} and {simple[0]:,} parameters)."
    )


def _localisation(results: Results, means: Mapping[str, float]) -> str:
    found = {}
    for cell, lines in results.by_cell.items():
        values = [f1 for line in lines if line.localisation and (f1 := line.localisation["F1-1"]) is not None]
        if cell in (*TABLE1, *OTHERS) and values:
            found[cell] = fmean(values)
    if REFERENCE not in found or len(found) < 3:
        return ""
    ranked = sorted(found, key=lambda cell: -found[cell])
    ranks = np.argsort(np.argsort([[table[cell] for cell in found] for table in (found, means)]))
    agreement = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    return (
        f"Localisation (segment F1 of single frames): {shown(ranked[0])} is first ({found[ranked[0]]:.3f}), GMAP is "
        f"number {ranked.index(REFERENCE) + 1} of {len(ranked)} ({found[REFERENCE]:.3f}); the rank correlation with "
        f"tagging is {agreement:+.2f}."
    )


def _resolution(family: Mapping[str, Against]) -> str:
    paired = [own.comparison for own in family.values() if own.comparison.n_seeds > 1]
    if not paired:
        return ""
    halves = [(own.interval[1] - own.interval[0]) / 2 for own in paired]
    narrow = sum(half <= _RESOLVED for half in halves)
    return (
        f"Half the width of a 95 % interval is {min(halves):.4f} to {max(halves):.4f} (median {median(halves):.4f}). "
        f"It is at most {_RESOLVED} in {narrow} of {len(halves)} comparisons; these can show a difference of more "
        f"than {_RESOLVED}."
    )


def _missing(results: Results) -> str:
    cells: Sequence[str] = (*TABLE1, *OTHERS, *PARTS)
    absent = [shown(cell) for cell in cells if cell not in results.by_cell]
    seeds = [len(results.by_cell[cell]) for cell in cells if cell in results.by_cell]
    text = f"Not measured yet: {', '.join(absent)}. " if absent else ""
    if seeds and min(seeds) < 5:
        text += "With one seed no difference counts as clear. " * (min(seeds) == 1)
        text += f"Some cells have only {min(seeds)} of the 5 to 10 seeds of the protocol yet."
    return text.strip()
