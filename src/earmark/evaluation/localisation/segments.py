"""Segment-based F1: the labels in each second."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from earmark.errors import ConfigError, DataError
from earmark.evaluation.localisation.recordings import DECIMALS, ScoredRecording, check_same_labels

_Array = np.ndarray[Any, np.dtype[Any]]


class SegmentF1(NamedTuple):
    """Segment-based F1 (Mesaros et al. 2016)."""

    micro: float
    """F1 of all labels together; nan without events and detections."""
    macro: float
    """Mean over the labels with an event; nan without any."""
    labels: Float[np.ndarray, " label"]
    """F1 of each label; nan without an event."""


def segment_f1(
    recordings: Sequence[ScoredRecording], thresholds: Float[np.ndarray, " label"], *, seconds: float = 1.0
) -> SegmentF1:
    """Segment-based F1: a label is detected in a segment if a cell reaches its threshold, true if an event overlaps.

    Args:
        recordings: Scores and true events.
        thresholds: One per label, chosen on other recordings.
        seconds: Length of the segments; the last one may exceed the end of the recording.

    Raises:
        DataError: There is no recording, or the numbers of labels differ.
    """
    scores, active = score_segments(recordings, seconds)
    if thresholds.shape != scores.shape[1:]:
        raise DataError(f"expected one threshold for each of the {scores.shape[1]} labels, got {len(thresholds)}")
    detected = scores >= thresholds
    hits, sizes = (detected & active).sum(axis=0), detected.sum(axis=0) + active.sum(axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 gives the intended nan
        labels = np.where(active.any(axis=0), 2 * hits / sizes, np.nan)
        micro = float(2 * hits.sum() / sizes.sum())
    macro = float(np.nanmean(labels)) if active.any() else float("nan")
    return SegmentF1(micro, macro, labels)


def score_segments(
    recordings: Sequence[ScoredRecording], seconds: float
) -> tuple[_Array, Bool[np.ndarray, "segment label"]]:
    """The highest score in each segment of each recording, and whether an event overlaps it.

    Raises:
        ConfigError: The length of a segment is not positive.
        DataError: There is no recording, or recordings differ in their number of labels.
    """
    if not 0 < seconds < np.inf:
        raise ConfigError(f"a positive length of a segment was expected, not {seconds:g}", "seconds")
    check_same_labels(recordings)
    scores, active = [], []
    for recording in recordings:
        borders = np.round(recording.borders, DECIMALS)
        edges = np.round(np.arange(np.ceil(np.round(borders[-1] / seconds, DECIMALS)) + 1) * seconds, DECIMALS)
        first = np.searchsorted(borders, edges[:-1], side="right") - 1
        end = np.searchsorted(borders[:-1], edges[1:], side="left")
        cells = recording.scores
        peaks = [cells[a:b].max(axis=0) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
        sounds = np.zeros((len(edges) - 1, cells.shape[1]), bool)
        for label, onset, offset in recording.events:
            sounds[(edges[:-1] < offset) & (edges[1:] > onset), label] = True
        scores.append(np.stack(peaks))
        active.append(sounds)
    return np.concatenate(scores), np.concatenate(active)
