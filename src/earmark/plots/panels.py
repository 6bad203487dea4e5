"""Parts that the pictures share: panels of spectrograms and attention, lanes, captions, saving."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from earmark.errors import EarmarkError
from earmark.plots.spectrogram import Spectrogram
from earmark.storage.files import as_text, atomic_write

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours: distinct for people with colour blindness, and dark enough for lines
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK: Final = "#333333"
OTHER: Final = "#888888"
DASHES: Final = (0, (4, 3))
WIDTH: Final = 10.0
"""Width of a picture in inches."""
LANE: Final = 0.42
"""Height of a lane in inches."""
_TICKS_HZ: Final = (250, 500, 1000, 2000, 4000, 8000, 16000)
_RANGE_DB: Final = 70.0


class Span(NamedTuple):
    """A true event; times in seconds."""

    label: str
    onset: float
    offset: float


def require_matplotlib() -> None:
    """Checks that matplotlib is installed, before the work whose result it draws.

    Raises:
        EarmarkError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise EarmarkError('pictures need matplotlib, which is not installed: pip install "earmark[plot]"') from error


def stack_panels(heights: Sequence[float], room: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels from top to bottom with a common time axis.

    Args:
        heights: Height of each panel in inches.
        room: Height of everything else in inches: titles, labels and gaps.

    Raises:
        EarmarkError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + room), dpi=150, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    return figure, panels.tolist()


def draw_spectrogram(figure: Figure, panel: Axes, spectrogram: Spectrogram) -> None:
    """Draws a spectrogram with frequencies in kHz and a colour bar of levels."""
    n_mels = spectrogram.log_mel.shape[1]
    loudest = float(spectrogram.log_mel.max())
    image = panel.imshow(
        spectrogram.log_mel.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(spectrogram.onset, spectrogram.offset, -0.5, n_mels - 0.5),
        cmap="magma",
        vmin=loudest - _RANGE_DB,
        vmax=loudest,
    )
    low, high = spectrogram.frequencies[[0, -1]]
    ticks = [hertz for hertz in _TICKS_HZ if low <= hertz <= high]
    # bins are evenly spaced in mel, so most ticks lie between two bins
    positions = np.interp(ticks, spectrogram.frequencies, np.arange(n_mels))
    panel.set_yticks(positions, [f"{hertz / 1000:g}" for hertz in ticks])
    panel.set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=panel, label="level (dB)", pad=0.01, aspect=18)


def draw_attention(
    panel: Axes,
    attention: Float[np.ndarray, "head segment"],
    seconds_per_segment: float,
    end: float,
    onset: float = 0.0,
    names: Sequence[str] | None = None,
) -> None:
    """Draws a lane for each head, all with the same scale, from `onset` to `end` (s); by default numbered."""
    n_segments = attention.shape[1]
    largest = float(attention.max())
    borders = np.minimum(onset + np.arange(n_segments + 1) * seconds_per_segment, end)
    for lane, weights in enumerate(attention):
        panel.stairs(0.9 * weights / largest - lane, borders, baseline=-lane, fill=True, color=INK, alpha=0.75)
        panel.axhline(0.9 / (n_segments * largest) - lane, color=OTHER, linewidth=0.8, linestyle=":")
    draw_lanes(panel, names or [f"head {number}" for number in range(1, len(attention) + 1)])
    panel.set_ylabel("attention")
    draw_caption(panel, f"a full lane is a weight of {largest:.2g}; dotted: even attention, {1 / n_segments:.2g}")


def draw_caption(panel: Axes, text: str) -> None:
    """Writes small text above the right end of a panel."""
    panel.annotate(
        text,
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=INK,
    )


def draw_lanes(panel: Axes, names: Sequence[str]) -> None:
    """Draws named lanes: lane k extends from -k (score or weight 0) to 1 - k."""
    panel.set_ylim(-len(names) + 0.95, 1.0)
    panel.set_yticks([0.45 - lane for lane in range(len(names))], names)
    panel.tick_params(axis="y", length=0)
    for lane in range(len(names)):
        panel.axhline(-lane, color=OTHER, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def name_width(label: str, duration: float) -> float:
    """Width of a name in seconds, in a picture of `duration` seconds; slightly overestimated."""
    return duration * (0.009 * len(label) + 0.015)


def rows(intervals: Sequence[tuple[float, float]]) -> list[int]:
    """A row for each interval, sorted by start, so that intervals in a row do not overlap.

    >>> rows([(0.0, 2.0), (1.0, 3.0), (2.5, 4.0)])
    [0, 1, 0]
    """
    ends: list[float] = []
    found = []
    for left, right in intervals:
        row = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        found.append(row)
    return found


def finish_figure(figure: Figure, panels: Sequence[Axes], end: float, title: str, onset: float = 0.0) -> None:
    """Adds the time axis from `onset` to `end` (s) and the title, and aligns the labels."""
    panels[-1].set_xlim(onset, end)
    panels[-1].set_xlabel("time (s)")
    figure.align_ylabels(panels)
    if title:
        figure.suptitle(as_text(title), fontsize=12)


def save(figure: Figure, path: Path) -> None:
    """Writes the picture atomically; equal figures give equal files.

    Raises:
        EarmarkError: matplotlib does not support the format.
        OSError: The file cannot be written.
    """
    from matplotlib.text import Text

    formats = figure.canvas.get_supported_filetypes()
    format_ = path.suffix[1:].lower()
    if format_ not in formats:
        raise EarmarkError(f"{path}: a picture ends in .png, .svg or .pdf, not in {path.suffix or 'nothing'!r}")
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a name with two dollar signs is no formula
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box stands in the picture
        figure.savefig(temporary, format=format_, metadata={"Date": None} if format_ == "svg" else None)
