"""Strongly labelled test clips: their sources, and how well the scores of frames find their events."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from earmark.data.clips import Dataset
from earmark.data.segments import ClipSegments
from earmark.data.tables import parse_seconds, read_csv_table
from earmark.errors import DataError
from earmark.evaluation.localisation import PSDS1, PSDS2, ScoredRecording, TrueEvent, psds, segment_f1
from earmark.labels import LabelSet
from earmark.model.head import Stages
from experiments.localisation_measures import best_thresholds

WINDOWS: Final = (1, 3)
"""Frames that are scored together for one frame: itself, or itself and its neighbours."""
_EVENT_COLUMNS: Final = ("video_id", "onset", "offset", "event_label", "label_ids", "source")
_CLIP_COLUMNS: Final = ("video_id", "source")
_BAGS_PER_CALL: Final = 2048
_NEVER: Final = 2.0
"""Threshold above all probabilities."""


@dataclass(frozen=True, eq=False)
class Source:
    """The test clips that one data set labelled strongly; it says nothing about sounds outside its classes."""

    name: str
    classes: Mapping[str, Int[np.ndarray, " _"]]
    """Numbers of the labels that each class was mapped to; the class scores as the highest of them."""
    clips: Int[np.ndarray, " clip"]
    """Numbers of the clips in the test set."""
    ids: tuple[str, ...]
    borders: tuple[Float[np.ndarray, " border"], ...]
    """Start of each frame of each clip and the end of the last (s)."""
    events: tuple[tuple[TrueEvent, ...], ...]
    """Events of each clip up to the end of its last frame; their labels are numbers of classes."""
    lengths: Mapping[str, float]
    """Median length of the events of each class (s)."""

    def recordings(self, scores: Sequence[Float[np.ndarray, "frame class"]]) -> list[ScoredRecording]:
        """The clips with these scores."""
        return [ScoredRecording(*parts) for parts in zip(self.borders, scores, self.events, strict=True)]


def read_sources(folder: Path, segments: ClipSegments, test: Dataset) -> tuple[Source, ...]:
    """The sources of `strong.tsv` and `strong_clips.tsv` in a folder, as far as their clips are test clips.

    Raises:
        DataError: A table is damaged, or none of its clips is a test clip.
    """
    rows = [row for _, row in read_csv_table(folder / "strong.tsv", _EVENT_COLUMNS, separators="\t")]
    listed = [row for _, row in read_csv_table(folder / "strong_clips.tsv", _CLIP_COLUMNS, separators="\t")]
    place = {clip.id: number for number, clip in enumerate(test)}
    found = []
    for name in sorted({row["source"] for row in listed}):
        own = [row for row in rows if row["source"] == name]
        ids = tuple(dict.fromkeys(row["video_id"] for row in listed if row["source"] == name))
        known = tuple(video for video in ids if video in place)
        if known and own:
            found.append(_source(name, own, known, np.array([place[video] for video in known]), segments, test.labels))
    if not found:
        raise DataError(f"{folder}: none of the strongly labelled clips is among the {len(test)} test clips")
    return tuple(found)


def _source(
    name: str,
    rows: Sequence[Mapping[str, str]],
    ids: tuple[str, ...],
    clips: np.ndarray,
    segments: ClipSegments,
    labels: LabelSet,
) -> Source:
    classes = {row["event_label"]: row["label_ids"].split(";") for row in rows}
    numbers = {event: number for number, event in enumerate(sorted(classes))}
    seconds = segments.encoder.seconds_per_segment
    borders = tuple(np.arange(n + 1) * seconds for n in segments.lengths[clips])
    ends = {video: float(own[-1]) for video, own in zip(ids, borders, strict=True)}
    events: dict[str, list[TrueEvent]] = {video: [] for video in ids}
    lengths: dict[str, list[float]] = {}
    for row in rows:
        onset, offset = parse_seconds(row["onset"]), parse_seconds(row["offset"])
        lengths.setdefault(row["event_label"], []).append(offset - onset)
        end = ends.get(row["video_id"], 0.0)
        if onset < min(offset, end):
            events[row["video_id"]].append(TrueEvent(numbers[row["event_label"]], onset, min(offset, end)))
    return Source(
        name,
        {event: np.array([labels.index(label) for label in classes[event]]) for event in numbers},
        clips,
        ids,
        borders,
        tuple(tuple(events[video]) for video in ids),
        {event: median(own) for event, own in lengths.items()},
    )


def event_lengths(sources: Sequence[Source], n_labels: int) -> Float[np.ndarray, " label"]:
    """Median length of the events of each label (s); nan for a label without events."""
    of_label: dict[int, list[float]] = {}
    for source in sources:
        for event, numbers in source.classes.items():
            for number in numbers.tolist():
                of_label.setdefault(number, []).append(source.lengths[event])
    lengths = np.full(n_labels, np.nan)
    for number, own in of_label.items():
        lengths[number] = fmean(own)
    return lengths


def localise(stages: Stages, segments: ClipSegments, sources: Sequence[Source]) -> dict[str, float]:
    """PSDS1, PSDS2 and segment F1 of each window, means over the sources; by measure and window, such as `PSDS1-3`."""
    figures: dict[str, float] = {}
    for window in WINDOWS:
        found = [
            measures(source, [_by_class(scores, source) for scores in _frame_scores(stages, segments, source, window)])
            for source in sources
        ]
        figures |= {f"{name}-{window}": fmean(own[name] for own in found) for name in found[0]}
    return figures


def measures(source: Source, scores: Sequence[Float[np.ndarray, "frame class"]]) -> dict[str, float]:
    """PSDS1, PSDS2 and F1 of a source's clips.

    F1 is segment-based with segments of 1 s, the mean over the classes. Its thresholds are chosen on one half of the
    clips and measured on the other, and the other way round.
    """
    recordings = source.recordings(scores)
    halves: tuple[list[ScoredRecording], ...] = ([], [])
    for video, recording in zip(source.ids, recordings, strict=True):
        halves[zlib.crc32(video.encode()) % 2].append(recording)
    f1 = [
        segment_f1(measured, np.minimum(best_thresholds(choosing), _NEVER)).macro
        for choosing, measured in (halves, halves[::-1])
        if choosing and any(own.events for own in measured)
    ]
    return {
        "PSDS1": psds(recordings, PSDS1),
        "PSDS2": psds(recordings, PSDS2),
        "F1": fmean(f1) if f1 else float("nan"),
    }


def perfect_frames(source: Source) -> dict[str, float]:
    """The measures of frames that score the share of them that an event covers: what frames of 0.96 s allow."""
    scores = []
    for borders, events in zip(source.borders, source.events, strict=True):
        covered = np.zeros((len(borders) - 1, len(source.classes)))
        for label, onset, offset in events:
            inside = np.minimum(borders[1:], offset) - np.maximum(borders[:-1], onset)
            covered[:, label] += np.maximum(inside, 0.0) / np.diff(borders)
        scores.append(np.minimum(covered, 1.0))
    return measures(source, scores)


@torch.inference_mode()
def _frame_scores(
    stages: Stages, segments: ClipSegments, source: Source, window: int
) -> list[Float32[np.ndarray, "frame label"]]:
    """Scores of each frame of each clip, from the bag of the frames around it."""
    rows = segments.rows[source.clips]
    lengths = segments.table.lengths[rows]
    values = torch.from_numpy(segments.table.gather(rows, np.zeros_like(lengths), lengths))
    around = torch.arange(values.shape[1])[:, None] + torch.arange(window) - window // 2
    real = (around >= 0) & (around < torch.from_numpy(lengths)[:, None, None])
    is_frame = torch.arange(values.shape[1]) < torch.from_numpy(lengths)[:, None]
    bags = values[:, around.clamp(0, values.shape[1] - 1)][is_frame]
    logits = [
        stages.classify(own, mask)
        for own, mask in zip(bags.split(_BAGS_PER_CALL), real[is_frame].split(_BAGS_PER_CALL), strict=True)
    ]
    return np.split(torch.cat(logits).sigmoid().numpy(), np.cumsum(lengths)[:-1])


def _by_class(scores: Float32[np.ndarray, "frame label"], source: Source) -> Float[np.ndarray, "frame class"]:
    return np.stack([scores[:, numbers].max(axis=1) for numbers in source.classes.values()], axis=1).astype(float)
