"""GMAP against each other cell: paired over seeds and clips, corrected for the number of comparisons."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from earmark.errors import DataError
from experiments.audioset_poolings.clips import BY_FREQUENCY
from experiments.audioset_poolings.lines import Line
from experiments.audioset_poolings.measures import Figures
from experiments.audioset_poolings.plan import figures_file
from experiments.table1.statistics import Comparison, ResampledRuns, compare

LEVEL: Final = 0.05
"""Largest corrected p of a clear difference."""


@dataclass(frozen=True)
class Against:
    """The mean mAP of one cell minus that of another."""

    comparison: Comparison
    p: float
    """The comparison's p, corrected by Holm's method for the number of comparisons of its family."""

    @property
    def is_clear(self) -> bool:
        """Whether the difference is clear; never with one pair of runs, which says nothing about seeds."""
        return self.p <= LEVEL and self.comparison.n_seeds > 1


@dataclass(frozen=True)
class Results:
    """The final runs of an experiment and their figures."""

    out: Path
    lines: tuple[Line, ...]

    def __post_init__(self) -> None:
        if len({line.ids_sha256 for line in self.lines}) > 1:
            raise DataError(f"{self.out}: the runs were measured on different clips; an experiment needs the same")

    @cached_property
    def by_cell(self) -> Mapping[str, tuple[Line, ...]]:
        """The runs of each cell by rising seed."""
        cells: dict[str, list[Line]] = {}
        for line in sorted(self.lines, key=lambda line: line.seed):
            cells.setdefault(line.cell, []).append(line)
        return {cell: tuple(lines) for cell, lines in cells.items()}

    @cached_property
    def figures(self) -> Mapping[tuple[str, int], Figures]:
        """Figures by label of each run, by cell and seed.

        Raises:
            DataError: A file is missing or damaged.
        """
        return {
            (line.cell, line.seed): Figures.read(figures_file(self.out, line.cell, line.seed)) for line in self.lines
        }

    def seeds(self, *cells: str) -> list[int]:
        """The seeds that all of these cells have."""
        found = [{line.seed for line in self.by_cell.get(cell, ())} for cell in cells]
        return sorted(set.intersection(*found))

    def against(self, ours: str, theirs: str, group: str | None = None) -> Comparison | None:
        """The mAP of one cell minus that of another over the seeds that both have; None if there is none.

        Args:
            ours: The first cell.
            theirs: The second cell.
            group: Only over the labels of this group; None takes all labels.
        """
        if ours == theirs or not (seeds := self.seeds(ours, theirs)):
            return None
        return compare(*(resampled([self.figures[cell, seed] for seed in seeds], group) for cell in (ours, theirs)))

    def family(self, ours: str, cells: Iterable[str], group: str | None = None) -> dict[str, Against]:
        """One cell against each of others, corrected for the number of these comparisons."""
        found = {cell: result for cell in cells if (result := self.against(ours, cell, group)) is not None}
        corrected = holm([result.p for result in found.values()])
        return {cell: Against(result, p) for (cell, result), p in zip(found.items(), corrected, strict=True)}


def resampled(figures: Sequence[Figures], group: str | None) -> ResampledRuns:
    """mAP of runs and of their resamples: over the labels of one group, or of all groups by frequency."""
    measured, moved = [], []
    for own in figures:
        chosen = np.array([name == group if group else name.startswith(BY_FREQUENCY) for name in own.groups])
        chosen &= own.n_labels > 0
        weights = own.n_labels[chosen] / own.n_labels[chosen].sum()
        measured.append(weights @ own.mAP[chosen])
        moved.append(measured[-1] + weights @ own.moved[chosen])
    return ResampledRuns(np.array(measured), np.stack(moved))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p values (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p), 0.0
    for place, number in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - place) * p[number]))
        corrected[number] = largest
    return corrected
