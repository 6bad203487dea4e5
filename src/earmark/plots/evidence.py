"""Picture of a recording and of the evidence for a tag."""

from os import PathLike
from pathlib import Path

import numpy as np

from earmark.inference.evidence import Evidence
from earmark.plots import panels
from earmark.plots.panels import COLOURS, INK, LANE
from earmark.plots.spectrogram import Spectrogram


def plot_evidence(path: str | PathLike[str], spectrogram: Spectrogram, evidence: Evidence, *, title: str = "") -> None:
    """Draws, from top to bottom, the spectrogram, the effect of each segment on the logit, and the attention.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        spectrogram: The part of the recording that the evidence covers.
        evidence: The evidence for one label.
        title: Title of the picture.

    Raises:
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    attention = evidence.attention
    n_heads = 0 if attention is None else len(attention)
    figure, stack = panels.stack_panels([2.4, 1.5, *([0.3 + LANE * n_heads] if n_heads else [])], 0.9)
    image, bars = stack[:2]
    start, end = float(evidence.onsets[0]), float(evidence.offsets[-1])
    panels.draw_spectrogram(figure, image, spectrogram)

    borders = np.append(evidence.onsets, end)
    for sign, colour in ((1, COLOURS[0]), (-1, COLOURS[1])):
        weights = np.where(sign * evidence.weights > 0, evidence.weights, 0.0)
        bars.stairs(weights, borders, fill=True, color=colour, hatch=None if sign > 0 else "////", alpha=0.85)
    bars.axhline(0, color=INK, linewidth=0.8)
    bars.set_ylabel("effect on\nthe logit")
    bars.spines[["top", "right"]].set_visible(False)
    panels.draw_caption(bars, f"above the line: evidence for {evidence.label}; below, hatched: against it")
    if attention is not None:
        step = float(evidence.onsets[1] - evidence.onsets[0])
        panels.draw_attention(stack[2], attention, step, end, start)
    panels.finish_figure(figure, stack, end, title, start)
    panels.save(figure, Path(path))
