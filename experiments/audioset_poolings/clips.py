"""The clips of the experiment: training, its validation part, test, and groups of their labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Int

from earmark.data.clips import Dataset
from earmark.data.released_features import read_released_features
from earmark.data.segments import ClipSegments, segments_of
from earmark.errors import DataError
from experiments.audioset_poolings.strong import Source, event_lengths, perfect_frames, read_sources

BY_FREQUENCY: Final = "frequency: "
"""Beginning of the names of the groups of labels by number of training clips; each label is in one of them."""
BY_LENGTH: Final = "length: "
"""Beginning of the names of the groups of labels by length of their events, as far as it is known."""
FREQUENCIES: Final = ((0, 60), (61, 69), (70, 199), (200, None))
"""Fewest and most training clips of the labels of a group."""
LENGTHS: Final = ((0.0, 1.5), (1.5, 5.0), (5.0, None))
"""Bounds of the median length (s) of a label's events in a group; the lower one belongs to the group."""


@dataclass(frozen=True)
class Places:
    """Where the clips are."""

    features: Path
    """Folder of AudioSet's released features, with a folder for each split."""
    train_split: str = "bal_train"
    test_split: str = "eval"
    strong: Path | None = None
    """Folder of `strong.tsv` and `strong_clips.tsv`; None: no localisation."""


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips, opened."""

    train: Dataset
    test: Dataset
    segments: ClipSegments
    """Segments of the test clips."""
    target: Bool[np.ndarray, "clip label"]
    """Labels of the test clips."""
    groups: Mapping[str, Int[np.ndarray, " _"]]
    """Numbers of the labels of each group; the groups by frequency hold each label once."""
    sources: tuple[Source, ...]
    """Strongly labelled clips among the test clips."""

    def parts(self, share: float, seed: int) -> tuple[Dataset, Dataset]:
        """The training clips without the validation part, and that part: the same share of all videos."""
        is_valid = [_draw(clip.id, seed) < share for clip in self.train]
        fit, valid = (
            tuple(clip for clip, own in zip(self.train, is_valid, strict=True) if own == wanted)
            for wanted in (False, True)
        )
        return replace(self.train, clips=fit), replace(self.train, clips=valid)

    def facts(self) -> dict[str, Any]:
        """Facts about the clips for the pages, as plain JSON values."""
        return {
            "train": {"name": self.train.name, "n_clips": len(self.train), "fingerprint": self.train.fingerprint()},
            "test": {"name": self.test.name, "n_clips": len(self.test), "fingerprint": self.test.fingerprint()},
            "n_labels": len(self.train.labels),
            "groups": {name: len(labels) for name, labels in self.groups.items()},
            "sources": [
                {
                    "name": source.name,
                    "n_clips": len(source.clips),
                    "n_classes": len(source.classes),
                    "n_events": sum(map(len, source.events)),
                    "perfect_frames": perfect_frames(source),
                }
                for source in self.sources
            ],
        }


@cache
def open_clips(places: Places) -> Clips:
    """The clips, read once for all runs of a process.

    Raises:
        DataError: A folder has no features that can be read, or a table of strong labels is damaged.
    """
    train, test = (read_released_features(places.features / split) for split in (places.train_split, places.test_split))
    segments, target = encoded(test), test.targets() > 0
    groups = _by_frequency(train.targets().sum(axis=0).astype(int))
    sources: tuple[Source, ...] = ()
    if places.strong is not None:
        sources = read_sources(places.strong, segments, test)
        groups |= _by_length(event_lengths(sources, len(test.labels)))
    return Clips(train, test, segments, target, groups, sources)


def encoded(dataset: Dataset) -> ClipSegments:
    """The segments of a data set.

    Raises:
        DataError: Its clips have sound.
    """
    segments = segments_of(dataset)
    if segments is None:
        raise DataError(f"{dataset.name}: clips with segments were expected, these have sound")
    return segments


def _by_frequency(counts: np.ndarray) -> dict[str, np.ndarray]:
    groups = {}
    for low, high in FREQUENCIES:
        labels = np.flatnonzero((counts >= low) & (counts <= (counts.max() if high is None else high)))
        if len(labels):
            groups[BY_FREQUENCY + _named("clips", low or int(counts.min()), high)] = labels
    return groups


def _by_length(lengths: np.ndarray) -> dict[str, np.ndarray]:
    groups = {}
    for low, high in LENGTHS:
        labels = np.flatnonzero((lengths >= low) & (lengths < (np.inf if high is None else high)))
        if len(labels):
            groups[BY_LENGTH + _named("s", low, high)] = labels
    return groups


def _named(unit: str, low: float, high: float | None) -> str:
    """Name of a group, such as `61 to 69 clips`."""
    if high is None:
        return f"{low:g} {unit} or more"
    return f"{low:g} to {high:g} {unit}" if low else f"under {high:g} {unit}"


def _draw(clip_id: str, seed: int) -> float:
    """A number from 0 to below 1 that depends on the video and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{clip_id}".encode()).digest()[:4]) / 2**32
