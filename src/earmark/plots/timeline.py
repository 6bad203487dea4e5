"""Picture of a recording, the scores of its labels over time and the detected events."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.inference.events import Event, Threshold, label_thresholds
from earmark.inference.timeline import Timeline
from earmark.labels import LabelSet
from earmark.plots import panels
from earmark.plots.panels import COLOURS, LANE, OTHER
from earmark.plots.spectrogram import Spectrogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N_LANES: Final = 10
_N_WITHOUT_EVENTS: Final = 5
_N_POINTS: Final = 1600
"""Maximum number of points of a curve: the columns of pixels of a picture."""


def plot_timeline(
    path: str | PathLike[str],
    spectrogram: Spectrogram,
    timeline: Timeline,
    events: Sequence[Event],
    *,
    threshold: Threshold = None,
    title: str = "",
) -> None:
    """Draws the spectrogram of a recording and a lane of scores and events for each label.

    Labels with events have a lane, at most the ten with the highest scores; without any events, the five labels with
    the highest scores.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        spectrogram: The recording.
        timeline: The scores of the recording.
        events: The events of the timeline.
        threshold: The threshold of the events, as in `Timeline.events`.
        title: Title of the picture.

    Raises:
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    thresholds = label_thresholds(threshold, timeline.thresholds, LabelSet(timeline.labels, timeline.ids))
    labels = _labels_with_lane(timeline, events)
    figure, (image, lanes) = panels.stack_panels([2.4, 0.3 + LANE * len(labels)], 0.9)
    panels.draw_spectrogram(figure, image, spectrogram)
    for lane, label in enumerate(labels):
        colour = COLOURS[lane % len(COLOURS)]
        for event in events:
            if event.label == timeline.labels[label]:
                lanes.fill_between(
                    [event.onset, event.offset], -lane, 0.95 - lane, color=colour, alpha=0.3, linewidth=0
                )
        lanes.axhline(0.9 * thresholds[label] - lane, color=OTHER, linewidth=0.6, linestyle=":")
        _draw_scores(lanes, timeline, label, lane, colour)
    panels.draw_lanes(lanes, [timeline.labels[label] for label in labels])
    lanes.set_ylabel("score")
    n_detected = len({event.label for event in events})
    left_out = f"; {len(labels)} of {n_detected} labels detected" if n_detected > len(labels) else ""
    panels.draw_caption(lanes, f"a full lane is a score of 1; dotted: threshold; shaded: detected{left_out}")
    panels.finish_figure(figure, [image, lanes], timeline.duration, title)
    panels.save(figure, Path(path))


def _labels_with_lane(timeline: Timeline, events: Sequence[Event]) -> list[int]:
    """Positions of the labels with a lane."""
    best = timeline.scores.max(axis=0)
    detected = {event.label for event in events}
    order = np.argsort(-best, kind="stable").tolist()
    return [i for i in order if timeline.labels[i] in detected][:_N_LANES] or order[:_N_WITHOUT_EVENTS]


def _draw_scores(panel: "Axes", timeline: Timeline, label: int, lane: int, colour: str) -> None:
    middles = (timeline.onsets + np.minimum(timeline.onsets + timeline.window, timeline.duration)) / 2
    scores = timeline.scores[:, label]
    n_each = -(-len(scores) // _N_POINTS)
    if n_each > 1:  # the maximum of each group, so that short events stay visible
        starts = np.arange(0, len(scores), n_each)
        middles, scores = middles[starts], np.maximum.reduceat(scores, starts)
    marker = "o" if len(middles) == 1 else None  # a single point draws no line
    panel.plot(middles, 0.9 * scores - lane, color=colour, linewidth=1.4, marker=marker, markersize=4)
