"""Picture of a recording and of the attention of several networks over it."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float

from earmark.errors import ConfigError
from earmark.plots import panels
from earmark.plots.panels import COLOURS, DASHES, INK, LANE, Span
from earmark.plots.spectrogram import Spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW: Final = 0.26
"""Height of a row of true events in inches."""
_TINT: Final = 0.3
"""Opacity of the marks of an event, light enough for dark text and lines on top."""


def plot_attention(
    path: str | PathLike[str],
    spectrogram: Spectrogram,
    attentions: Mapping[str, Float[np.ndarray, "_ _"]],
    *,
    truth: Sequence[Span] = (),
    seconds_per_segment: float = 0.4,
    title: str = "",
) -> None:
    """Draws, from top to bottom, the true events of a recording, its spectrogram and the attention of each head.

    All lanes of attention have the same scale, so that even attention looks flat; a dotted line marks the weight of
    uniform attention. The time of a true event is shaded in the lanes and has dashed borders in the spectrogram.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        spectrogram: The recording.
        attentions: Weights of the segments (head, segment) by the name of the network, summing to 1 per head; all for
            the same recording.
        truth: The true events; without any, their panel is left out.
        seconds_per_segment: Length of a segment.
        title: Title of the picture.

    Raises:
        ConfigError: There is no network, or the networks have different numbers of segments.
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    if len({weights.shape[-1] for weights in attentions.values()}) != 1:
        raise ConfigError("a picture of attention needs at least one network, and all of them over the same segments")
    duration = spectrogram.duration
    names = [
        f"{network} head {number}" if len(weights) > 1 else network
        for network, weights in attentions.items()
        for number in range(1, len(weights) + 1)
    ]
    shown = sorted(truth, key=lambda span: (span.onset, span.label))
    rows = panels.rows([_extent(span, duration) for span in shown])
    heights = [*([_ROW * (1 + max(rows))] if rows else []), 2.4, 0.3 + LANE * len(names)]
    figure, stack = panels.stack_panels(heights, 0.9)
    *bars, image, lanes = stack
    colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(dict.fromkeys(span.label for span in shown))}

    for panel in bars:
        _draw_events(panel, shown, rows, colours, duration)
    panels.draw_spectrogram(figure, image, spectrogram)
    heads = np.concatenate(list(attentions.values()))
    panels.draw_attention(lanes, heads, seconds_per_segment, duration, names=names)
    for lane in np.cumsum([len(weights) for weights in attentions.values()])[:-1].tolist():
        lanes.axhline(1 - lane, color=INK, linewidth=1.6)
    for span in shown:
        for moment in (span.onset, span.offset):
            image.axvline(moment, color="white", linewidth=0.9, linestyle=DASHES)
        lanes.axvspan(span.onset, span.offset, color=colours[span.label], alpha=_TINT, linewidth=0, zorder=0)
    panels.finish_figure(figure, stack, duration, title)
    panels.save(figure, Path(path))


def _draw_events(
    panel: "Axes", spans: Sequence[Span], rows: Sequence[int], colours: Mapping[str, str], duration: float
) -> None:
    for span, row in zip(spans, rows, strict=True):
        panel.broken_barh(
            [(span.onset, span.offset - span.onset)],
            (-row - 0.42, 0.84),
            facecolor=(colours[span.label], _TINT),
            edgecolor=INK,
            linewidth=0.8,
        )
        position, alignment = _name_position(span, duration)
        panel.annotate(
            span.label,
            (position, -row),
            xytext=(3 if alignment == "left" else -3, 0),
            textcoords="offset points",
            ha=alignment,
            va="center",
            fontsize=9,
            color=INK,
        )
    panel.set_ylim(-max(rows) - 0.6, 0.6)
    panel.set_yticks([])
    panel.set_ylabel("truth")
    panel.tick_params(axis="x", length=0)
    panel.spines[:].set_visible(False)


def _name_position(span: Span, duration: float) -> tuple[float, str]:
    """Position and alignment of an event's name: inside its bar if it fits, else beside the bar."""
    width = panels.name_width(span.label, duration)
    if span.offset - span.onset >= width:
        return span.onset, "left"
    return (span.offset, "left") if span.offset + width <= duration else (span.onset, "right")


def _extent(span: Span, duration: float) -> tuple[float, float]:
    """Start and end of an event's bar together with its name."""
    position, alignment = _name_position(span, duration)
    width = panels.name_width(span.label, duration)
    end = position + width if alignment == "left" else position - width
    return min(span.onset, end), max(span.offset, end)
