"""Picture of the number of events by label and hour or day."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from earmark.plots import panels
from earmark.storage.files import as_text

_N_LABELS: Final = 40
_ROW: Final = 0.28
"""Height of a label's row in inches."""
_N_WITH_NUMBERS: Final = 31
"""Columns up to which the cells show their numbers."""
_N_TICKS: Final = 16


def plot_counts(
    path: str | PathLike[str],
    counts: Mapping[tuple[str, str], int],
    groups: Sequence[str],
    group_name: str,
    *,
    title: str = "",
) -> None:
    """Draws a heat map: a row for each label, a column for each group, darker where there are more events.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        counts: Number of events by label and group, at least one; the 40 labels with the most events are drawn.
        groups: Groups from left to right.
        group_name: Name of the horizontal axis.
        title: Title of the picture.

    Raises:
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    panels.require_matplotlib()
    from matplotlib.ticker import MaxNLocator

    totals: dict[str, int] = {}
    for (label, _), n_events in counts.items():
        totals[label] = totals.get(label, 0) + n_events
    labels = sorted(totals, key=lambda label: (-totals[label], label))[:_N_LABELS]
    values = np.array([[counts.get((label, group), 0) for group in groups] for label in labels])
    figure, (panel,) = panels.stack_panels([max(1.0, _ROW * len(labels))], 1.1)
    largest = max(1, int(values.max()))
    image = panel.imshow(values, aspect="auto", interpolation="nearest", cmap="Blues", vmin=0, vmax=largest)
    if len(groups) <= _N_WITH_NUMBERS:
        for (row, column), n_events in np.ndenumerate(values):
            if n_events:
                colour = "white" if n_events > 0.6 * largest else panels.INK
                panel.text(column, row, str(n_events), ha="center", va="center", fontsize=7, color=colour)
    every = -(-len(groups) // _N_TICKS) if len(groups) > _N_WITH_NUMBERS else 1
    is_narrow = len(groups) <= _N_WITH_NUMBERS and max(map(len, groups), default=0) <= 2
    panel.set_xticks(range(0, len(groups), every), groups[::every])
    panel.tick_params(axis="x", labelrotation=0 if is_narrow else 60)
    panel.set_yticks(range(len(labels)), [as_text(label) for label in labels])
    panel.set_xlabel(group_name)
    figure.colorbar(image, ax=panel, label="events", pad=0.01, ticks=MaxNLocator(integer=True))
    if len(labels) < len(totals):
        panels.draw_caption(panel, f"{len(labels)} of {len(totals)} labels, those with the most events")
    if title:
        figure.suptitle(as_text(title), fontsize=12)
    panels.save(figure, Path(path))
