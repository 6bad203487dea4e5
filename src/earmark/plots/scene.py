"""Picture of a recording, the attention of each head and the scores of labels over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.errors import ConfigError
from earmark.inference.timeline import Timeline
from earmark.plots import panels
from earmark.plots.panels import COLOURS, DASHES, INK, LANE, OTHER, Span
from earmark.plots.spectrogram import Spectrogram

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLES: Final = ((0, ()), (0, (1.5, 1.0)), (0, (6.0, 1.0, 1.0, 1.0)))
"""Line styles of the first, second and third model, then again from the first."""


def plot_scene(
    path: str | PathLike[str],
    spectrogram: Spectrogram,
    timelines: Mapping[str, Timeline],
    *,
    labels: Sequence[str],
    attention: Float[np.ndarray, "head segment"] | None = None,
    seconds_per_segment: float = 0.4,
    truth: Sequence[Span] = (),
    threshold: float = 0.5,
    title: str = "",
) -> None:
    """Draws, from top to bottom, the spectrogram of a recording, the attention of each head and the scores of labels.

    Each label has a lane: its true events are shaded, and each model's scores are drawn at the middle of their windows.
    Dashed lines mark the true onsets in all panels.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        spectrogram: The recording.
        timelines: Scores over time by the name of the model, the main model first; all contain `labels`.
        labels: The labels with a lane, from top to bottom.
        attention: Weights over the segments, summing to 1 per head; by default that panel is left out.
        seconds_per_segment: Length of a segment of `attention`.
        truth: The true events; those of labels without a lane are not drawn.
        threshold: The score from which a label counts as detected.
        title: Title of the picture.

    Raises:
        ConfigError: `labels` or `timelines` is empty, or a timeline lacks a label.
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    if not labels or not timelines:
        raise ConfigError("a picture of scores needs at least one label and one timeline")
    for name, timeline in timelines.items():
        if missing := [label for label in labels if label not in timeline.labels]:
            raise ConfigError(f"the timeline of {name} has no label {missing[0]!r}")
    n_heads = 0 if attention is None else len(attention)
    heights = [2.6, *([0.3 + LANE * n_heads] if n_heads else []), 0.3 + LANE * len(labels)]
    figure, stack = panels.stack_panels(heights, 1.1)
    colours = {label: COLOURS[lane % len(COLOURS)] for lane, label in enumerate(labels)}

    panels.draw_spectrogram(figure, stack[0], spectrogram)
    if attention is not None:
        panels.draw_attention(stack[1], attention, seconds_per_segment, spectrogram.duration)
    shown = sorted((span for span in truth if span.label in colours), key=lambda span: span.onset)
    _draw_scores(figure, stack[-1], timelines, colours, shown, threshold)
    for span in shown:
        stack[0].axvline(span.onset, color="white", linewidth=0.9, linestyle=DASHES)
        for panel in stack[1:]:
            panel.axvline(span.onset, color=INK, linewidth=0.9, linestyle=DASHES)
    _name_onsets(stack[0], shown, spectrogram.duration)
    panels.finish_figure(figure, stack, spectrogram.duration, title)
    panels.save(figure, Path(path))


def _name_onsets(panel: Axes, spans: Sequence[Span], duration: float) -> None:
    intervals = []
    for span in spans:
        width = panels.name_width(span.label, duration)
        left = span.onset if span.onset + width <= duration else span.onset - width
        intervals.append((left, left + width))
    for span, (left, _), row in zip(spans, intervals, panels.rows(intervals), strict=True):
        panel.annotate(
            span.label,
            (span.onset, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(4 if left == span.onset else -4, -5 - 14 * row),
            textcoords="offset points",
            ha="left" if left == span.onset else "right",
            va="top",
            fontsize=8.5,
            color="white",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "black", "alpha": 0.55, "linewidth": 0},
        )


def _draw_scores(
    figure: Figure,
    panel: Axes,
    timelines: Mapping[str, Timeline],
    colours: Mapping[str, str],
    truth: Sequence[Span],
    threshold: float,
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    for lane, (label, colour) in enumerate(colours.items()):
        for span in truth:
            if span.label == label:
                panel.fill_between([span.onset, span.offset], -lane, 0.95 - lane, color=colour, alpha=0.28, linewidth=0)
        panel.axhline(0.9 * threshold - lane, color=OTHER, linewidth=0.6, linestyle=":")
        for rank, timeline in reversed(list(enumerate(timelines.values()))):
            ends = np.minimum(timeline.onsets + timeline.window, timeline.duration)
            panel.plot(
                (timeline.onsets + ends) / 2,
                0.9 * timeline.scores[:, timeline.labels.index(label)] - lane,
                color=colour if rank == 0 else INK,
                linewidth=1.8 if rank == 0 else 1.0,
                linestyle=_STYLES[rank % len(_STYLES)],
            )
    panels.draw_lanes(panel, list(colours))
    panel.set_ylabel("score")
    keys: dict[str, Line2D | Patch] = {
        f"score of {name}": Line2D(
            [], [], color=COLOURS[0] if rank == 0 else INK, linestyle=_STYLES[rank % len(_STYLES)]
        )
        for rank, name in enumerate(timelines)
    }
    if truth:
        keys["truth"] = Patch(color=COLOURS[0], alpha=0.28, linewidth=0)
        keys["true onset"] = Line2D([], [], color=INK, linewidth=0.9, linestyle=DASHES)
    keys[f"threshold {threshold:g}"] = Line2D([], [], color=OTHER, linewidth=0.8, linestyle=":")
    figure.legend(
        list(keys.values()), list(keys), loc="outside lower center", ncols=len(keys), frameon=False, fontsize=9
    )
