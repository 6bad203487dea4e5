"""Clips and data sets of clips, which every data source yields."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable
from unicodedata import normalize

import numpy as np
from jaxtyping import Float32

from earmark.audio.containers import Source
from earmark.audio.recording import Audio, load_audio
from earmark.errors import DataError, first_few
from earmark.labels import LabelSet, normal_label

GROUP_SEPARATOR = " + "
"""Joins the sources of a clip that was mixed from several."""


@runtime_checkable
class AudioReader(Protocol):
    """Loads a clip's sound on demand; small and picklable, so that it can be sent to workers."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate."""
        ...


@runtime_checkable
class RecordedAudio(Protocol):
    """An AudioReader of a recording or a part of one, whose original file is available: all channels, original rate."""

    @property
    def onset(self) -> float:
        """Start of the clip in the recording, in seconds."""
        ...

    @property
    def duration(self) -> float | None:
        """Duration of the clip in seconds; None means up to the end of the recording, where a longer clip ends too."""
        ...

    def recording(self) -> Source:
        """The file, or its whole content as bytes."""
        ...


@dataclass(frozen=True, slots=True)
class FileAudio:
    """A file, or a part of one."""

    file: Path | str
    """Kept as text: for two million clips, `Path` objects would take half a gigabyte more."""
    onset: float = 0.0
    """Start of the clip in the file, in seconds."""
    duration: float | None = None
    """Duration of the clip in seconds; None means up to the end of the file, where a longer clip ends too."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", os.fspath(self.file))

    @property
    def path(self) -> Path:
        """Path of the file."""
        return Path(self.file)

    @property
    def source(self) -> str:
        """The file with links resolved, which identifies it: two folders may both hold a dog/1.wav."""
        return os.path.realpath(self.file)

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate; only the needed part of the file is decoded.

        Raises:
            AudioError: The file can't be read, is cut off or ends before the clip starts.
        """
        return load_audio(self.path, sample_rate, self.onset, self.duration)

    def recording(self) -> Path:
        """The file, which may not exist."""
        return self.path


@dataclass(frozen=True, slots=True)
class Clip:
    """The labelled unit, with labels but without their times; in the paper's terms, the bag."""

    id: str
    """Unique within its data set."""
    labels: tuple[str, ...]
    """Names from the label set; empty if no label applies."""
    audio: AudioReader
    split: str | None = None
    """Part of the data set, such as `train` or a fold."""
    group: str | None = None
    """Source of the clip; clips of one group must stay on the same side of every split."""
    known: tuple[str, ...] | None = None
    """Labels of which it is known whether they apply, `labels` included; the others are unknown. None means all."""

    def __post_init__(self) -> None:
        if not all(map(str.isascii, self.labels)):
            object.__setattr__(self, "labels", tuple(dict.fromkeys(map(normal_label, self.labels))))
        if self.known is not None:
            object.__setattr__(self, "known", tuple(dict.fromkeys((*self.labels, *map(normal_label, self.known)))))
        for name, text in (("split", self.split), ("group", self.group)):
            if text is not None and not text.isascii():
                object.__setattr__(self, name, normalize("NFC", text))

    @property
    def is_unlabelled(self) -> bool:
        """Whether it has no label and nothing says that somebody looked for any."""
        return not self.labels and self.known is None

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
        DataError: No clip, a repeated id, or a clip with a label outside the label set.
    """

    name: str
    labels: LabelSet
    clips: tuple[Clip, ...]
    missing: tuple[str, ...] = ()
    """Ids of listed clips whose files are missing and were skipped."""
    missing_splits: tuple[str | None, ...] = ()
    """Splits of the missing clips; empty if the source does not state them."""
    outside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Ids of clips with the labels that they lost because the label set lacks them (lenient readers only)."""
    damaged: tuple[tuple[str, str], ...] = ()
    """Unreadable rows and files of the source, each with the reason (lenient readers only)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clips", tuple(self.clips))
        if not self.clips:
            raise DataError(f"{self.name}: a data set needs at least one clip, this one has none")
        seen: dict[str, int] = {}
        for clip in self.clips:
            seen[clip.id] = seen.get(clip.id, 0) + 1
        _refuse(self.name, "clip ids occur more than once", [i for i, times in seen.items() if times > 1])
        names = frozenset(self.labels.names)
        _refuse(
            self.name,
            f"clips have a label that is not among the {len(names)} of the set",
            [
                f"{c.id} ({', '.join({*c.labels, *(c.known or ())} - names)})"
                for c in self.clips
                if not (names.issuperset(c.labels) and names.issuperset(c.known or ()))
            ],
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __getitem__(self, position: int) -> Clip:
        return self.clips[position]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, sorted."""
        return tuple(sorted({clip.split for clip in self.clips if clip.split is not None}))

    def select(self, splits: Iterable[str] | None = None, labels: Iterable[str] | None = None) -> "Dataset":
        """The clips of some splits, or with at least one of some labels, or both.

        Selecting labels (by name or id) narrows the label set to them, and the labels of each clip. Missing clips are
        selected by split as well.

        Raises:
            DataError: A split or label does not exist (the text lists the existing ones), or no clip is left.
        """
        clips: Iterable[Clip] = self.clips
        missing = tuple(zip(self.missing, self.missing_splits, strict=False))
        label_set = self.labels
        if splits is not None:
            wanted = {normalize("NFC", name) for name in ([splits] if isinstance(splits, str) else splits)}
            if unknown := wanted - set(self.splits):
                there = f"the splits are {', '.join(self.splits)}" if self.splits else "the clips have no splits"
                raise DataError(f"{self.name}: no split {', '.join(sorted(unknown))}; {there}")
            clips = (clip for clip in clips if clip.split in wanted)
            missing = tuple((id_, split) for id_, split in missing if split in wanted)
        if labels is not None:
            label_set = self.labels.subset(labels)
            names = frozenset(label_set.names)
            clips = (_narrowed(clip, names) for clip in clips if not names.isdisjoint(clip.labels))
        selected = replace(self, labels=label_set, clips=tuple(clips))
        if self.missing_splits:
            ids, of_splits = tuple(id_ for id_, _ in missing), tuple(split for _, split in missing)
            selected = replace(selected, missing=ids, missing_splits=of_splits)
        return selected

    def targets(self) -> Float32[np.ndarray, "clip label"]:
        """The multi-hot targets of all clips; an unknown label counts as absent."""
        return np.stack([self.labels.encode(clip.labels) for clip in self.clips])

    def labels_without_clips(self) -> tuple[str, ...]:
        """Names of the labels that no clip has, in the order of the set."""
        used = {label for clip in self.clips for label in clip.labels}
        return tuple(name for name in self.labels.names if name not in used)

    def fingerprint(self) -> str:
        """A SHA-256 of ids and labels, known ones too, independent of the order of the clips."""
        digest = hashlib.sha256()
        for clip in sorted(self.clips, key=lambda clip: clip.id):
            known = () if clip.known is None else ("", *sorted(clip.known))
            digest.update("\t".join((clip.id, *sorted(clip.labels), *known)).encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()

    def clip_ids_sha256(self) -> str:
        """A SHA-256 of the clip ids, which identifies the clips that a figure was measured on."""
        return ids_sha256(clip.id for clip in self.clips)


def _narrowed(clip: Clip, names: frozenset[str]) -> Clip:
    """The clip with these labels alone."""
    known = None if clip.known is None else tuple(label for label in clip.known if label in names)
    return replace(clip, labels=tuple(label for label in clip.labels if label in names), known=known)


def ids_sha256(ids: Iterable[str]) -> str:
    """A SHA-256 of clip ids, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(ids)).encode(errors="surrogateescape")).hexdigest()


def check_disjoint(train: Dataset, valid: Dataset) -> None:
    """Refuses two data sets that share a source: clips of one source sound alike and would inflate the result.

    The source of a clip is its group or, without one, its file or row.

    Raises:
        DataError: The data sets share sources.
    """
    shared = set().union(*map(sources, train)) & set().union(*map(sources, valid))
    _refuse(f"{train.name} and {valid.name}", "sources are in both data sets", sorted(shared))


def sources(clip: Clip) -> set[str]:
    """The sources of a clip: its group, or the groups that it was mixed from; without a group its file or row."""
    if clip.group is not None:
        return set(clip.group.split(GROUP_SEPARATOR))
    return {normalize("NFC", getattr(clip.audio, "source", clip.id))}


def _refuse(name: str, what: str, offenders: list[str]) -> None:
    if offenders:
        raise DataError(f"{name}: {len(offenders)} {what}: {first_few(offenders)}")
