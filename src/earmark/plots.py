"""Pictures of what a tagger heard, and when. The only door to matplotlib."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from jaxtyping import Float

from earmark.errors import ConfigError, EarmarkError
from earmark.files import atomic_write
from earmark.tagger import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any form of colour blindness can tell apart; dark enough for lines
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_INK: Final = "#333333"
_OTHER: Final = "#888888"
_TICKS_HZ: Final = (250, 500, 1000, 2000, 4000, 8000, 16000)
_DASHES: Final = (0, (4, 3))
_SOLID: Final = (0, ())
_RANGE_DB: Final = 70.0
_WIDTH: Final = 10.0
"""Inches."""
_LANE: Final = 0.42
"""Inches of a head's or a label's lane."""


class Span(NamedTuple):
    """When a sound truly happens, in seconds."""

    label: str
    onset: float
    offset: float


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """A log-mel spectrogram with its axes."""

    log_mel: Float[np.ndarray, "frame mel"]
    """dB."""
    frequencies: Float[np.ndarray, " mel"]
    """Centre of each bin in Hz, rising."""
    seconds_per_frame: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.log_mel) * self.seconds_per_frame


def require_matplotlib() -> None:
    """Find out now, rather than after minutes of work, whether there will be a picture.

    Raises:
        EarmarkError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise EarmarkError('pictures need matplotlib, which is not installed: pip install "earmark[plot]"') from error


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
    """One recording from top to bottom: its spectrogram, where each head looked, and the score of each label.

    Every label has a lane of its own, in which its true events are shaded and the scores of each model are drawn at the
    middle of their windows. Dashed lines mark the true onsets in all panels.

    Args:
        path: The picture; its suffix says which kind (.png, .svg, .pdf).
        spectrogram: The recording.
        timelines: Scores over time by the name of the model, the most important one first; all know `labels`.
        labels: Which labels get a lane, from top to bottom.
        attention: Weights over the segments, summing to 1 per head; without them that panel is left out.
        seconds_per_segment: How far the segments of `attention` are apart.
        truth: The events that truly happen; those of labels without a lane are not drawn.
        threshold: The score from which a label counts as heard.
        title: What the picture shows, in a line.

    Raises:
        ConfigError: There is no label, no timeline, or a timeline without one of the labels.
        EarmarkError: matplotlib is not installed, or knows no such kind of picture.
        OSError: The file cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    _check(labels, timelines)
    n_heads = 0 if attention is None else len(attention)
    heights = [2.6, *([0.3 + _LANE * n_heads] if n_heads else []), 0.3 + _LANE * len(labels)]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 1.1), dpi=150, layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0].tolist()
    colours = {label: _COLOURS[lane % len(_COLOURS)] for lane, label in enumerate(labels)}

    _draw_spectrogram(figure, panels[0], spectrogram)
    if attention is not None:
        _draw_attention(panels[1], attention, seconds_per_segment, spectrogram.duration)
    shown = sorted((span for span in truth if span.label in colours), key=lambda span: span.onset)
    _draw_scores(figure, panels[-1], timelines, colours, shown, threshold)
    for span in shown:
        panels[0].axvline(span.onset, color="white", linewidth=0.9, linestyle=_DASHES)
        for panel in panels[1:]:
            panel.axvline(span.onset, color=_INK, linewidth=0.9, linestyle=_DASHES)
    _name_onsets(panels[0], shown, spectrogram.duration)
    panels[-1].set_xlim(0, spectrogram.duration)
    panels[-1].set_xlabel("time (s)")
    figure.align_ylabels(panels)
    if title:
        figure.suptitle(title, fontsize=12)
    _save(figure, Path(path))


def _check(labels: Sequence[str], timelines: Mapping[str, Timeline]) -> None:
    if not labels or not timelines:
        raise ConfigError("a picture of scores needs at least one label and one timeline")
    for name, timeline in timelines.items():
        if missing := [label for label in labels if label not in timeline.labels]:
            raise ConfigError(f"the timeline of {name} has no label {missing[0]!r}")


def _draw_spectrogram(figure: "Figure", panel: "Axes", spectrogram: Spectrogram) -> None:
    n_mels = spectrogram.log_mel.shape[1]
    loudest = float(spectrogram.log_mel.max())
    image = panel.imshow(
        spectrogram.log_mel.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, spectrogram.duration, -0.5, n_mels - 0.5),
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


def _name_onsets(panel: "Axes", spans: Sequence[Span], duration: float) -> None:
    # names of sounds that begin together would lie over one another: each goes to the first row with room for it
    ends: list[float] = []
    for span in spans:
        width = duration * (0.009 * len(span.label) + 0.015)
        left = span.onset if span.onset + width <= duration else span.onset - width
        row = next((row for row, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + width]
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


def _draw_attention(
    panel: "Axes", attention: Float[np.ndarray, "head segment"], seconds_per_segment: float, duration: float
) -> None:
    largest = float(attention.max())
    borders = np.minimum(np.arange(attention.shape[1] + 1) * seconds_per_segment, duration)
    for lane, weights in enumerate(attention):
        panel.stairs(0.9 * weights / largest - lane, borders, baseline=-lane, fill=True, color=_INK, alpha=0.75)
    _lanes(panel, [f"head {number}" for number in range(1, len(attention) + 1)])
    panel.set_ylabel("attention")
    panel.annotate(
        f"a full lane is a weight of {largest:.2g}",
        (1.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=_INK,
    )


def _draw_scores(
    figure: "Figure",
    panel: "Axes",
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
        panel.axhline(0.9 * threshold - lane, color=_OTHER, linewidth=0.6, linestyle=":")
        for rank, timeline in reversed(list(enumerate(timelines.values()))):
            ends = np.minimum(timeline.onsets + timeline.window, timeline.duration)
            panel.plot(
                (timeline.onsets + ends) / 2,
                0.9 * timeline.scores[:, timeline.labels.index(label)] - lane,
                color=colour if rank == 0 else _INK,
                linewidth=1.8 if rank == 0 else 1.0,
                linestyle=_style(rank),
            )
    _lanes(panel, list(colours))
    panel.set_ylabel("score")
    keys: dict[str, Line2D | Patch] = {
        f"score of {name}": Line2D([], [], color=_COLOURS[0] if rank == 0 else _INK, linestyle=_style(rank))
        for rank, name in enumerate(timelines)
    }
    if truth:
        keys["truth"] = Patch(color=_COLOURS[0], alpha=0.28, linewidth=0)
        keys["true onset"] = Line2D([], [], color=_INK, linewidth=0.9, linestyle=_DASHES)
    keys[f"threshold {threshold:g}"] = Line2D([], [], color=_OTHER, linewidth=0.8, linestyle=":")
    figure.legend(
        list(keys.values()), list(keys), loc="outside lower center", ncols=len(keys), frameon=False, fontsize=9
    )


def _style(rank: int) -> tuple[int, Sequence[float]]:
    return (_SOLID, (0, (1.5, 1.0)), (0, (6.0, 1.0, 1.0, 1.0)))[rank % 3]


def _lanes(panel: "Axes", names: Sequence[str]) -> None:
    """Lane k runs from -k, score or weight 0, up to 1 - k; its name stands at its middle."""
    panel.set_ylim(-len(names) + 0.95, 1.0)
    panel.set_yticks([0.45 - lane for lane in range(len(names))], names)
    panel.tick_params(axis="y", length=0)
    for lane in range(len(names)):
        panel.axhline(-lane, color=_OTHER, linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def _save(figure: "Figure", path: Path) -> None:
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix[1:].lower()
    if kind not in kinds:
        raise EarmarkError(f"{path}: a picture ends in .png, .svg or .pdf, not in {path.suffix or 'nothing'!r}")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, metadata={"Date": None} if kind == "svg" else None)
