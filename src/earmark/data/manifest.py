"""Your own clips: a CSV table that lists them, or a folder whose sub-folders are the labels."""

import math
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from earmark.audio import media
from earmark.audio.recording import count_suffixes, probe, scan_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage
from earmark.data.joined_labels import split_cell
from earmark.data.tables import drop_missing, parse_seconds, read_clips, read_csv_table
from earmark.errors import AudioError, DataError, EarmarkWarning, counted, first_few
from earmark.labels import LabelSet, check_label, normal_label
from earmark.storage.files import as_text, in_either_form
from earmark.storage.text_files import NOT_UTF8

_REQUIRED = ("path", "labels")
_OPTIONAL = ("onset", "offset", "duration", "split", "group", "known")
_SPLITS: Final = {
    spelling: split
    for split, spellings in {
        "train": ("train", "training", "trn"),
        "valid": ("valid", "val", "validation", "validate", "dev"),
        "test": ("test", "testing", "tst", "eval", "evaluation"),
    }.items()
    for spelling in spellings
}
"""Splits by the names of their folders, in lower case."""
_FOLDS: Final = ("fold", "split", "part", "subset")
"""Names of splits that are numbered."""
_ADDED: Final = frozenset({"set", "data", "dataset", "split", "audio", "clips", "sounds", "recordings", "files", "wav"})
"""Words that stand beside the name of a split: `train_set`."""
SLACK = 0.1
"""Seconds that a part may exceed the end of its file: tables round times, encoders pad."""


def read_csv(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a CSV file with the columns `path` and `labels`, and some optional ones.

    `path` is relative to the CSV file; `labels` are joined by `;`, or a printed list, and may be empty (no label
    applies). Optional are `onset` with `offset` or `duration`, in seconds, which select a part of the file; `split`;
    `group`, the source that clips share; and `known`, the labels that somebody looked for in the clip (the others are
    unknown; empty means all). Other columns are ignored. Commas, semicolons or tabs separate the columns. A clip's id
    is its path, followed by `@` and the onset if there is one. An `EarmarkWarning` reports likely typos, such as a
    column `splt`.

    Args:
        path: The CSV file.
        lenient: Skip missing files and faulty rows; end a part where its file ends.

    Raises:
        DataError: The file is not such a table, a row is faulty (the text names the row), files are missing, or a part
            exceeds the end of its file.
    """
    path = Path(path)
    damage = Damage(lenient)
    clips = list(read_listed_clips(path, damage))
    if not clips:
        raise DataError(f"{path}: no row below the column names{damage.summary()}")
    names = sorted({label for clip in clips for label in (*clip.labels, *(clip.known or ()))})
    if not names:
        raise DataError(f"{path}: none of its {len(clips)} rows has a label")
    found, missing, splits = drop_missing(str(path), clips, lenient)
    warn_of_labels(str(path), names, found)
    return Dataset(path.name, LabelSet(tuple(names)), found, missing, splits, damaged=tuple(damage.found))


def read_listed_clips(path: Path, damage: Damage) -> Iterator[Clip]:
    """The clips that a CSV file lists; `read_csv` describes the columns. If `damage` is lenient, parts may be too long.

    Raises:
        DataError: As in `read_csv`, except that files may be missing.
    """
    # paths and groups may hold bytes that are not UTF-8
    rows = read_csv_table(path, _REQUIRED, _OPTIONAL, separators=",;\t", errors="surrogateescape", damage=damage)
    cached_seconds = cache(stated_seconds)

    def to_clip(row: dict[str, str]) -> Clip:
        clip = _clip(path.parent, row)
        if not damage.lenient and isinstance(clip.audio, FileAudio):
            _check_end(clip.audio, cached_seconds)
        return clip

    return read_clips(path, rows, to_clip, damage, hint="; write all labels of a clip in one row, joined by ;")


def _clip(folder: Path, row: dict[str, str]) -> Clip:
    if not row["path"]:
        raise DataError("no path")
    if any(row.get(name, "") != as_text(row.get(name, "")) for name in ("labels", "split", "known")):
        raise DataError(NOT_UTF8)
    id_, path = _located(folder, row["path"])
    times = (parse_seconds(text, name) if (text := row.get(name)) else None for name in ("onset", "offset", "duration"))
    onset, offset, duration = times
    start = onset or 0.0
    if offset is not None:
        if duration is not None:
            raise DataError("expected an offset or a duration, got both")
        if offset <= start:
            raise DataError(f"the offset {offset} s is not after the onset {start} s")
        duration = offset - start
    elif duration == 0:
        raise DataError("the duration is 0 s")
    labels, known = split_cell(row["labels"]), split_cell(row.get("known", ""))
    for label in (*labels, *known):
        check_label(normal_label(label))
    return Clip(
        id=id_ if onset is None else f"{id_}@{onset}",
        labels=labels,
        audio=FileAudio(path, start, duration),
        split=row.get("split") or None,
        group=row.get("group") or None,
        known=known or None,
    )


def _located(folder: Path, written: str) -> tuple[str, Path]:
    """The id and the file of a path in a table; both Unicode forms of a name are one id and find the same file."""
    path, id_ = in_either_form(folder / written), unicodedata.normalize("NFC", written)
    if written == id_ and written == as_text(written):
        return id_, path
    there = os.path.exists(path)  # noqa: PTH110 (never raises)
    if written != as_text(written) and not there:
        raise DataError(f"{NOT_UTF8} ({path}: no such file)")
    composed = folder / id_
    if there and composed.exists() and not composed.samefile(path):
        id_ = written  # two files whose names differ only in their Unicode form
    return id_, path


def _check_end(audio: FileAudio, seconds_of: Callable[[Path], float]) -> None:
    """Refuses a part that exceeds the end of its file, where the header states it."""
    if audio.onset == 0 and audio.duration is None:
        return
    end, seconds = audio.onset + (audio.duration or 0.0), seconds_of(audio.path)
    if end > seconds + SLACK:
        raise DataError(
            f"the part from {audio.onset:g} s to {end:g} s exceeds the end of {audio.path}, which lasts "
            f"{seconds:.3f} s; correct the times (in seconds)"
        )


def stated_seconds(path: Path) -> float:
    """Seconds of a recording by its header; infinite where it states none or cannot be read."""
    try:
        seconds = probe(path).duration
    except (AudioError, OSError):
        return math.inf  # an unreadable file is reported when its clip is read
    return math.inf if seconds is None else seconds


def warn_of_labels(name: str, labels: Sequence[str], clips: Sequence[Clip]) -> None:
    """Warns of labels that every clip has, and of labels that differ only in case."""
    spellings: dict[str, list[str]] = {}
    for label in labels:
        spellings.setdefault(label.casefold(), []).append(label)
    for alike in spellings.values():
        if len(alike) > 1:
            text = (
                f"the labels {' and '.join(map(repr, alike))} differ only in case and are treated as different labels"
            )
            warnings.warn(f"{name}: {text}", EarmarkWarning, stacklevel=3)
    if any(clip.known is not None for clip in clips):  # corrections, which are added to other clips
        return
    n_clips = Counter(label for clip in clips for label in clip.labels)
    for label in labels:
        if n_clips[label] == len(clips) > 1:
            text = f"all {len(clips)} clips have the label {label!r}, so a network cannot learn what is not {label!r}"
            warnings.warn(f"{name}: {text}; add clips without it", EarmarkWarning, stacklevel=3)


def _split_of(folder: str) -> str | None:
    """The split that a folder of this name is likely to be.

    >>> _split_of("Train_set"), _split_of("evalset"), _split_of("Fold 1"), _split_of("rain")
    ('train', 'test', 'fold1', None)
    """
    words = re.findall("[^\\W\\d_]+|[0-9]+", folder.lower())
    if len(words) == 2 and words[0] in _FOLDS and words[1].isdigit():
        return words[0] + words[1]
    named = [word for word in words if word not in _ADDED]
    return _SPLITS.get(named[0].removesuffix("set").removesuffix("data")) if len(named) == 1 else None


def _folder_splits(path: Path, files: Sequence[Path]) -> dict[str, str]:
    """The splits by their folders; empty if the sub-folders are labels.

    Raises:
        DataError: They are in doubt.
    """
    tops = {file.parts[0] for file in files}
    # `train` is also a sound: it is a split only if it holds folders and no recordings
    bare = {file.parts[0]: file for file in reversed(files) if len(file.parts) == 2}
    looks = {top: split for top in sorted(tops) if (split := _split_of(top)) is not None}
    splits = {top: split for top, split in looks.items() if top not in bare}
    if len(tops) > 1 and len(looks) == len(tops) and bare:
        first = bare[min(bare)]
        raise DataError(
            f"{path}: the sub-folders {', '.join(looks)} look like splits, but recordings lie in them without a folder "
            f"for their label, first {first.as_posix()}; move them into folders named by their labels"
        )
    _check_splits(path, splits, tops)
    within = {top: {file.parts[1] for file in files if file.parts[0] == top} for top in tops}
    same = next(iter(within.values()))
    if not splits and not bare and len(tops) > 1 < len(same) and all(own == same for own in within.values()):
        text = (
            f"the sub-folders {first_few(sorted(tops))} are taken as labels, and each holds the same folders "
            f"{first_few(sorted(same))}; if they are splits, name them train, valid and test"
        )
        warnings.warn(f"{path}: {text}", EarmarkWarning, stacklevel=3)
    return splits


def _check_splits(path: Path, splits: Mapping[str, str], tops: Collection[str]) -> None:
    """Refuses split folders that are in doubt; warns of other spellings than `train`, `valid` and `test`."""
    if not splits:
        return
    if others := set(tops) - set(splits):
        raise DataError(
            f"{path}: sub-folders look like splits ({', '.join(splits)}), but {min(others)} lies beside them; "
            "put all label folders into splits, or none"
        )
    for split in set(splits.values()):
        folders = [folder for folder in splits if splits[folder] == split]
        if len(folders) > 1:
            raise DataError(f"{path}: {' and '.join(folders)} all look like the split {split}; merge or rename them")
    noted = [folder for folder in splits if folder not in ("train", "valid", "test")]
    if renamed := [f"{folder} as {splits[folder]}" for folder in noted]:
        warnings.warn(f"{path}: sub-folders are taken as splits: {', '.join(renamed)}", EarmarkWarning, stacklevel=4)


def _folder_label(path: Path, file: Path, n_above: int) -> str:
    """The label of a recording, which the name of its folder below `n_above` others is."""
    label = normal_label(file.parts[n_above])
    try:
        check_label(label)
    except DataError as error:
        raise DataError(f"{path.joinpath(*file.parts[: n_above + 1])}: {error}") from error
    return label


def read_folder(path: Path | str, lenient: bool = False) -> Dataset:
    """The recordings of a folder, labelled by the sub-folder they lie in: `dog/1.wav`, `rain/2.flac`.

    If all sub-folders are named `train`, `valid` or `test` and contain sub-folders, they are splits:
    `train/dog/1.wav`. Other spellings of these names (`Training`, `val`, `eval_set`, ...) and numbered folds (`fold1`)
    are splits too, with an `EarmarkWarning`. Another one reports labels that may be splits: each holds the same
    folders. Hidden files are ignored. A clip's id is its path below the folder.

    Args:
        path: The folder.
        lenient: Take recordings outside the sub-folders as clips without a label.

    Raises:
        DataError: No such folder; no recording in it; recordings outside the sub-folders; a label whose recordings
            all need another decoder; a folder whose name is no label; split folders beside label folders, or with
            recordings outside label folders; or two folders of one split.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: {'expected a folder, got a file' if path.exists() else 'no such folder'}")
    try:
        files, unread = ([file.relative_to(path) for file in kind] for kind in scan_audio(path))
    except AudioError as error:
        raise DataError(str(error)) from error
    bare = [file for file in files if len(file.parts) == 1]
    files = [file for file in files if len(file.parts) > 1]
    if bare and not (lenient and files):
        raise DataError(
            f"{path}: no label for {counted(len(bare), 'recording')} outside all sub-folders, first {bare[0]}; "
            "move them into sub-folders named by their labels"
        )
    splits = _folder_splits(path, files)
    n_above = 1 if splits else 0
    names = tuple(sorted({_folder_label(path, file, n_above) for file in files}))
    lost = {normal_label(file.parts[n_above]) for file in unread if len(file.parts) > n_above + 1} - set(names)
    if lost:
        label = min(lost)
        of_it = count_suffixes(file for file in unread if label in map(normal_label, file.parts[n_above : n_above + 1]))
        raise DataError(
            f"{path}: the recordings of the label {label!r} need another decoder ({of_it}); "
            f"{media.INSTALL}, or remove its folder"
        )
    clips = tuple(
        Clip(
            id=file.as_posix(),
            labels=(normal_label(file.parts[n_above]),),
            audio=FileAudio(path / file),
            split=splits[file.parts[0]] if splits else None,
        )
        for file in files
    )
    clips = (*clips, *(Clip(file.as_posix(), (), FileAudio(path / file)) for file in bare))
    warn_of_labels(str(path), names, clips)
    return Dataset(path.resolve().name, LabelSet(names), clips)
