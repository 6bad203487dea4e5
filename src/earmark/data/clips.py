"""The common currency of all data sources: a clip, and a data set of clips."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from earmark.audio.containers import Source
from earmark.audio.recording import Audio, load_audio
from earmark.errors import DataError
from earmark.labels import LabelSet

GROUP_SEPARATOR = " + "
"""Joins the sources of a clip that was mixed of several."""


@runtime_checkable
class AudioReader(Protocol):
    """Anything that yields a clip's sound on demand; small and picklable, so that it travels to workers."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate."""
        ...


@runtime_checkable
class RecordedAudio(Protocol):
    """An AudioReader of a recording, or of a part of one, that can be had as it is too: all channels, own rate."""

    @property
    def onset(self) -> float:
        """Where the clip starts in the recording, in seconds."""
        ...

    @property
    def duration(self) -> float | None:
        """How long the clip is, in seconds; None is to the end of the recording, and no clip reaches further."""
        ...

    def recording(self) -> Source:
        """Its file, or all the bytes of one."""
        ...


@dataclass(frozen=True, slots=True)
class FileAudio:
    """A file, or a part of one."""

    file: Path | str
    """Kept as text: of two million clips, paths as objects would take half a gigabyte more."""
    onset: float = 0.0
    """Where the clip starts in the file, in seconds."""
    duration: float | None = None
    """How long the clip is, in seconds; None is to the end of the file, and no clip reaches further."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", os.fspath(self.file))

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.file)

    @property
    def source(self) -> str:
        """The file, whatever links lead to it: two folders may both have a dog/1.wav."""
        return os.path.realpath(self.file)

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate; decodes no more of the file than asked for.

        Raises:
            AudioError: The file can't be read, is cut off or ends before the clip starts.
        """
        return load_audio(self.path, sample_rate, self.onset, self.duration)

    def recording(self) -> Path:
        """The file, there or not."""
        return self.path


@dataclass(frozen=True, slots=True)
class Clip:
    """The labelled unit: known is what sounds in it, not when. In the words of the paper, the bag."""

    id: str
    """Unique within its data set."""
    labels: tuple[str, ...]
    """Names of the label set; none at all is a clip in which no label sounds."""
    audio: AudioReader
    split: str | None = None
    """The part of the data set it belongs to, such as `train` or a fold."""
    group: str | None = None
    """Clips of one group come from the same source and must stay on one side of every split."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono float32, at that rate.

        Raises:
            AudioError: The sound can't be read.
        """
        return self.audio.load(sample_rate)


@dataclass(frozen=True)
class Dataset:
    """Clips and the labels they may carry.

    Raises:
        DataError: No clip, an id twice, or a clip with a label that is not in the set.
    """

    name: str
    labels: LabelSet
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    """Ids of clips that the source lists but whose files are not there, where the reader was told to skip them."""
    missing_splits: tuple[str | None, ...] = ()
    """The split of each of those; none at all where the source does not say."""
    outside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Ids of clips with the labels that they have lost because the set does not have them, where the reader was told to
    be lenient."""
    damaged: tuple[tuple[str, str], ...] = ()
    """Rows and files of the source that could not be read, and why, where the reader was told to be lenient."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", tuple(self.clips))
        if not self.clips:
            raise DataError(f"{self.name}: no clip in it, and a data set needs at least one")
        seen: dict[str, int] = {}
        for clip in self.clips:
            seen[clip.id] = seen.get(clip.id, 0) + 1
        _refuse(self.name, "clip ids are there more than once", [i for i, times in seen.items() if times > 1])
        names = frozenset(self.labels.names)
        _refuse(
            self.name,
            f"clips carry a label that is not among the {len(names)} of the set",
            [f"{c.id} ({', '.join(set(c.labels) - names)})" for c in self.clips if not names.issuperset(c.labels)],
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __getitem__(self, position: int) -> Clip:
        return self.clips[position]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted; clips outside every split don't count."""
        return tuple(sorted({clip.split for clip in self.clips if clip.split is not None}))

    def select(self, splits: Iterable[str] | None = None, labels: Iterable[str] | None = None) -> "Dataset":
        """The clips of some splits, or with at least one of some labels, or both.

        Selecting labels (by name or id) narrows the label set to them; a clip keeps those of its labels that are left.
        Of the missing clips those of the splits stay.

        Raises:
            DataError: There is no such split or label (the text lists what there is), or no clip is left.
        """
        clips: Iterable[Clip] = self.clips
        missing = tuple(zip(self.missing, self.missing_splits, strict=False))
        label_set = self.labels
        if splits is not None:
            wanted = {splits} if isinstance(splits, str) else set(splits)
            if unknown := wanted - set(self.splits):
                there = ", ".join(self.splits) or "none at all"
                raise DataError(f"{self.name}: no split {', '.join(sorted(unknown))}; the splits are {there}")
            clips = (clip for clip in clips if clip.split in wanted)
            missing = tuple((id_, split) for id_, split in missing if split in wanted)
        if labels is not None:
            label_set = self.labels.subset(labels)
            names = frozenset(label_set.names)
            clips = (
                replace(clip, labels=tuple(label for label in clip.labels if label in names))
                for clip in clips
                if not names.isdisjoint(clip.labels)
            )
        selected = replace(self, labels=label_set, clips=tuple(clips))
        if self.missing_splits:
            ids, of_splits = tuple(id_ for id_, _ in missing), tuple(split for _, split in missing)
            selected = replace(selected, missing=ids, missing_splits=of_splits)
        return selected

    def targets(self) -> Float32[np.ndarray, "clip label"]:
        """The multi-hot targets of all clips."""
        return np.stack([self.labels.encode(clip.labels) for clip in self.clips])

    def labels_without_clips(self) -> tuple[str, ...]:
        """The names of the set that no clip carries, in its order."""
        used = {label for clip in self.clips for label in clip.labels}
        return tuple(name for name in self.labels.names if name not in used)

    def fingerprint(self) -> str:
        """A SHA-256 that changes when a clip comes, goes or is labelled anew; the order of clips doesn't matter."""
        digest = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda clip: clip.id):
            digest.update("\t".join((clip.id, *sorted(clip.labels))).encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()

    def clip_ids_sha256(self) -> str:
        """A SHA-256 of the sorted clip ids, one a line: which clips a figure was measured on."""
        return ids_sha256(clip.id for clip in self.clips)


def ids_sha256(ids: Iterable[str]) -> str:
    """A SHA-256 of clip ids, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(ids)).encode(errors="surrogateescape")).hexdigest()


def check_disjoint(train: Dataset, valid: Dataset) -> None:
    """Refuses two data sets that share a source: clips of one source sound alike, and the result would flatter.

    The sources of a clip are its group or, without one, its file or row.

    Raises:
        DataError: Sources are on both sides.
    """
    shared = set().union(*map(sources, train)) & set().union(*map(sources, valid))
    _refuse(f"{train.name} and {valid.name}", "sources are in both", sorted(shared))


def sources(clip: Clip) -> set[str]:
    """What a clip was taken or mixed from: its group, or the groups joined in it; without one its file or row."""
    if clip.group is not None:
        return set(clip.group.split(GROUP_SEPARATOR))
    return {getattr(clip.audio, "source", clip.id)}


def _refuse(name: str, what: str, offenders: list[str]) -> None:
    if offenders:
        shown = ", ".join(offenders[:3]) + (", ..." if len(offenders) > 3 else "")
        raise DataError(f"{name}: {len(offenders)} {what}: {shown}")
