"""What the pictures are made of: a spectrogram, lanes of attention, the true events."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from earmark.errors import EarmarkError
from earmark.plots.spectrogram import Spectrogram
from earmark.storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any form of colour blindness can tell apart; dark enough for lines
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK: Final = "#333333"
OTHER: Final = "#888888"
DASHES: Final = (0, (4, 3))
WIDTH: Final = 10.0
"""Inches."""
LANE: Final = 0.42
"""Inches of a head's or a label's lane."""
_TICKS_HZ: Final = (250, 500, 1000, 2000, 4000, 8000, 16000)
_RANGE_DB: Final = 70.0


class Span(NamedTuple):
    """When a sound truly happens, in seconds."""

    label: str
    onset: float
    offset: float


def require_matplotlib() -> None:
    """Find out now, rather than after minutes of work, whether there will be a picture.

    Raises:
        EarmarkError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise EarmarkError('pictures need matplotlib, which is not installed: pip install "earmark[plot]"') from error


def stacked(heights: Sequence[float], room: float) -> "tuple[Figure, list[Axes]]":
    """A figure of panels from top to bottom that share the axis of time.

    Args:
        heights: Inches of each panel.
        room: Inches for what stands above, between and below them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights) + room), dpi=150, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    return figure, panels.tolist()


def draw_spectrogram(figure: "Figure", panel: "Axes", spectrogram: Spectrogram) -> None:
    """The spectrogram with its frequencies in kHz and a bar for its levels."""
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
    # bins are evenly spaced in mel, so that a frequency lies between two bins
    places = np.interp(ticks, spectrogram.frequencies, np.arange(n_mels))
    panel.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
    panel.set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=panel, label="level (dB)", pad=0.01, aspect=18)


def draw_attention(
    panel: "Axes",
    names: Sequence[str],
    attention: Float[np.ndarray, "head segment"],
    seconds_per_segment: float,
    end: float,
    onset: float = 0.0,
) -> None:
    """A lane for each head, all on one scale, from `onset` to `end` (s)."""
    n_segments = attention.shape[1]
    largest = float(attention.max())
    borders = np.minimum(onset + np.arange(n_segments + 1) * seconds_per_segment, end)
    for lane, weights in enumerate(attention):
        panel.stairs(0.9 * weights / largest - lane, borders, baseline=-lane, fill=True, color=INK, alpha=0.75)
        panel.axhline(0.9 / (n_segments * largest) - lane, color=OTHER, linewidth=0.8, linestyle=":")
    lanes(panel, names)
    panel.set_ylabel("attention")
    caption(panel, f"a full lane is a weight of {largest:.2g}; dotted: even attention, {1 / n_segments:.2g}")


def caption(panel: "Axes", text: str) -> None:
    """How to read a panel, in small letters above its right end."""
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


def lanes(panel: "Axes", names: Sequence[str]) -> None:
    """Lane k runs from -k, score or weight 0, up to 1 - k; its name stands at its middle."""
    panel.set_ylim(-len(names) + 0.95, 1.0)
    panel.set_yticks([0.45 - lane for lane in range(len(names))], names)
    panel.tick_params(axis="y", length=0)
    for lane in range(len(names)):
        panel.axhline(-lane, color=OTHER, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def name_width(label: str, duration: float) -> float:
    """Seconds that a name covers in a picture of this width, a little too many."""
    return duration * (0.009 * len(label) + 0.015)


def rows(reaches: Sequence[tuple[float, float]]) -> list[int]:
    """The row of each of these stretches, sorted by their beginnings, such that none lies over another.

    >>> rows([(0.0, 2.0), (1.0, 3.0), (2.5, 4.0)])
    [0, 1, 0]
    """
    ends: list[float] = []
    found = []
    for left, right in reaches:
        row = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [right]
        found.append(row)
    return found


def finish(figure: "Figure", panels: "Sequence[Axes]", end: float, title: str, onset: float = 0.0) -> None:
    """The axis of time below all panels, from `onset` to `end` (s), their labels in one line, the title above."""
    panels[-1].set_xlim(onset, end)
    panels[-1].set_xlabel("time (s)")
    figure.align_ylabels(panels)
    if title:
        figure.suptitle(title, fontsize=12)


def save(figure: "Figure", path: Path) -> None:
    """Writes the picture, whole or not at all; the same figure gives the same file.

    Raises:
        EarmarkError: matplotlib knows no such kind of picture.
        OSError: The file cannot be written.
    """
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix[1:].lower()
    if kind not in kinds:
        raise EarmarkError(f"{path}: a picture ends in .png, .svg or .pdf, not in {path.suffix or 'nothing'!r}")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
