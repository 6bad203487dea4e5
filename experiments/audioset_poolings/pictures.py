"""Three pictures: mAP with intervals, GMAP minus each pooling by label frequency, localisation against tagging."""

from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.plots import require_matplotlib
from earmark.plots.panels import COLOURS, INK, OTHER
from earmark.storage.files import atomic_write
from experiments.audioset_poolings.cells import INSTANCE, OTHERS, REFERENCE, TABLE1
from experiments.audioset_poolings.clips import BY_FREQUENCY
from experiments.audioset_poolings.comparisons import Results
from experiments.table1.pages import shown
from experiments.table1.statistics import t_quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW: Final = 0.28
"""Height of a row in inches."""
_WIDTH: Final = 7.5
_DPI: Final = 110


def draw(results: Results, out: Path) -> list[Path]:
    """Draws the pictures for which there are runs, and returns their paths.

    Raises:
        EarmarkError: matplotlib is not installed.
        OSError: A picture cannot be written.
    """
    require_matplotlib()
    cells = [cell for cell in (*TABLE1, *OTHERS) if cell in results.by_cell]
    pictures = {"mAP.png": _tagging, "frequency.png": _frequency, "localisation.png": _localisation}
    return [path for name, picture in pictures.items() if (path := picture(results, cells, out / name)) is not None]


def _tagging(results: Results, cells: list[str], path: Path) -> Path | None:
    """mAP of each pooling with its 95 % interval over seeds, best first."""
    values = {cell: [line.mAP for line in results.by_cell[cell] if line.mAP is not None] for cell in cells}
    ranked = sorted((cell for cell in cells if values[cell]), key=lambda cell: fmean(values[cell]))
    if not ranked:
        return None
    figure, axes = _figure(len(ranked))
    for row, cell in enumerate(ranked):
        mean, n = fmean(values[cell]), len(values[cell])
        half = t_quantile(0.95, n - 1) * stdev(values[cell]) / n**0.5 if n > 1 else 0.0
        axes.errorbar(mean, row, xerr=half, fmt="o", color=_colour(cell), capsize=3, markersize=5)
        axes.plot(values[cell], [row] * n, "|", color=_colour(cell), alpha=0.5)
    _rows(axes, ranked)
    axes.set_xlabel("mAP, mean and 95 % interval over seeds; strokes are runs")
    axes.set_title("Poolings on AudioSet's released features", loc="left", color=INK)
    return _save(figure, path)


def _frequency(results: Results, cells: list[str], path: Path) -> Path | None:
    """GMAP minus each other pooling, a mark for each group of labels."""
    figures = next(iter(results.figures.values()))
    groups = [name for name in figures.groups if name.startswith(BY_FREQUENCY)]
    rivals = [cell for cell in cells[::-1] if results.against(REFERENCE, cell) is not None]
    if not rivals:
        return None
    figure, axes = _figure(len(rivals), 1.6)
    for number, group in enumerate(groups):
        shift = 0.6 * (number / max(1, len(groups) - 1) - 0.5)
        for row, cell in enumerate(rivals):
            if (found := results.against(REFERENCE, cell, group)) is None:
                continue
            low, high = found.interval
            error = [[found.difference - low], [high - found.difference]]
            label = f"{group.removeprefix(BY_FREQUENCY)} in training" if row == 0 else None
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(found.difference, row - shift, xerr=error, fmt="o", color=colour, markersize=3, label=label)
    axes.axvline(0, color=OTHER, linewidth=0.8)
    _rows(axes, rivals)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    axes.set_xlabel("GMAP minus it, mAP over the labels of a group, 95 % interval")
    return _save(figure, path)


def _localisation(results: Results, cells: list[str], path: Path) -> Path | None:
    """Segment F1 of single frames against mAP; the level of the poolings by colour."""
    points = {}
    for cell in cells:
        pairs = [(line.mAP, line.localisation["F1-1"]) for line in results.by_cell[cell] if line.localisation]
        known = [(mAP, f1) for mAP, f1 in pairs if mAP is not None and f1 is not None]
        if known:
            points[cell] = np.mean(known, axis=0)
    if not points:
        return None
    figure, axes = _figure(16)
    for cell, (mAP, f1) in points.items():
        axes.plot(mAP, f1, "o", color=_colour(cell), markersize=5)
        axes.annotate(shown(cell), (mAP, f1), (4, 3), textcoords="offset points", fontsize=7, color=INK)
    axes.set_xlabel("tagging: mAP")
    axes.set_ylabel("localisation: segment F1 of single frames")
    axes.set_title("blue: embedding level, red: instance level, green: GMAP", loc="left", fontsize=9, color=INK)
    return _save(figure, path)


def _figure(n_rows: int, scale: float = 1.0) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, 1.2 + _ROW * scale * n_rows), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _rows(axes: "Axes", cells: list[str]) -> None:
    axes.set_yticks(range(len(cells)), [shown(cell) for cell in cells])
    axes.grid(axis="x", alpha=0.3)


def _colour(cell: str) -> str:
    return COLOURS[2] if cell == REFERENCE else COLOURS[cell in INSTANCE]


def _save(figure: "Figure", path: Path) -> Path:
    with atomic_write(path) as temporary:
        # without a date the same results give the same bytes
        figure.savefig(temporary, dpi=_DPI, format="png", metadata={"Software": None})
    return path
