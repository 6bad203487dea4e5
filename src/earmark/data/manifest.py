"""Your own clips: a CSV table that lists them, or a folder whose sub-folders are the labels."""

import csv
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple

from earmark.audio import media
from earmark.audio.containers import mp3_states_length
from earmark.audio.recording import count_suffixes, probe, scan_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage, DamageError, RowError
from earmark.errors import AudioError, DataError, EarmarkWarning
from earmark.labels import LabelSet

Missing = Literal["error", "skip"]
"""Missing files: an error that counts and names them, or skipped and listed in `Dataset.missing`."""

_REQUIRED = ("path", "labels")
_OPTIONAL = ("onset", "offset", "duration", "split", "group")
_SPLITS = frozenset({"train", "valid", "test"})
_SLACK = 0.1
"""Seconds that a part may exceed the end of its file: tables round times, encoders pad."""


def read_csv(path: Path | str, missing: Missing = "error", lenient: bool = False) -> Dataset:
    """The clips of a CSV file with the columns `path` and `labels`, and some optional ones.

    `path` is relative to the CSV file; `labels` are joined by `;` and may be empty (no label applies). Optional:
    `onset` with `offset` or `duration`, in seconds, select a part of the file; `split`; `group`, the source that clips
    share. Other columns are ignored. Commas, semicolons or tabs separate the columns. A clip's id is its path, followed
    by `@` and the onset if there is one. An `EarmarkWarning` reports likely typos, such as a column `splt`.

    Args:
        path: The CSV file.
        missing: Whether a clip without its file is skipped or an error.
        lenient: Skip missing files and faulty rows; end a part where its file ends.

    Raises:
        DataError: The file is not such a table, a row is faulty (the text names the row), files are missing, or a part
            exceeds the end of its file.
    """
    path = Path(path)
    damage = Damage(lenient)
    clips: list[Clip] = []
    row_of: dict[str, int] = {}
    for number, row in _rows(path, damage):
        try:
            clip = _clip(path, number, row)
            if clip.id in row_of:
                reason = (
                    f"{clip.id} is already in row {row_of[clip.id]}; write all labels of a clip in one row, joined by ;"
                )
                raise RowError(path, number, reason)
        except RowError as error:
            damage.add(error)
            continue
        row_of[clip.id] = number
        clips.append(clip)
    if not clips:
        raise DataError(f"{path}: no row below the column names{damage.summary()}")
    names = sorted({label for clip in clips for label in clip.labels})
    if not names:
        raise DataError(f"{path}: none of its {len(clips)} rows has a label")
    found, not_there = drop_missing(str(path), clips, "skip" if lenient else missing)
    if not lenient:
        _check_ends(path, found, row_of)
    _warn_of_labels(str(path), names, found)
    return Dataset(path.name, LabelSet(tuple(names)), found, *not_there, damaged=tuple(damage.found))


def _rows(path: Path, damage: Damage) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by column name, numbered as in a spreadsheet: the header is row 1."""
    try:
        with path.open(encoding="utf-8-sig") as stream:  # accepts LF, CRLF and CR as line ends
            lines = stream.readlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text; save it as CSV UTF-8"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    # the header has at least two columns, so it contains the separator
    separator = next((mark for mark in ",;\t" if mark in lines[0]), ",")
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        columns = _columns(path, next(reader))
        for number, cells in enumerate(reader, 2):
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            # spreadsheets pad rows with empty columns
            if len(cells) < len(columns) or any(cells[len(columns) :]):
                reason = f"expected {len(columns)} columns, got {len(cells)}{_hint(separator)}"
                damage.add(RowError(path, number, reason))
                continue
            yield number, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def _hint(separator: str) -> str:
    return "; put labels that are joined by ; into quotes" if separator == ";" else ""


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    while columns and not columns[-1]:
        columns.pop()
    for name in _REQUIRED:
        if name not in columns:
            close = get_close_matches(name, columns, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise DataError(
                f"{path}: needs the columns path and labels in its first row, got {', '.join(columns) or 'none'}{hint}"
            )
    for name in (*_REQUIRED, *_OPTIONAL):
        if columns.count(name) > 1:
            raise DataError(f"{path}: the column {name} occurs {columns.count(name)} times")
    for name in columns:
        if name not in (*_REQUIRED, *_OPTIONAL) and (close := get_close_matches(name, _OPTIONAL, n=1, cutoff=0.75)):
            text = f"the column {name!r} is ignored; if you meant {close[0]!r}, rename it"
            warnings.warn(f"{path}: {text}", EarmarkWarning, stacklevel=2)
    return columns


def _clip(table: Path, number: int, row: dict[str, str]) -> Clip:
    if not row["path"]:
        raise RowError(table, number, "no path")
    times = {name: _seconds(table, number, name, row.get(name, "")) for name in ("onset", "offset", "duration")}
    onset, offset, duration = times["onset"] or 0.0, times["offset"], times["duration"]
    if offset is not None:
        if duration is not None:
            raise RowError(table, number, "expected an offset or a duration, got both")
        if offset <= onset:
            raise RowError(table, number, f"the offset {offset} s is not after the onset {onset} s")
        duration = offset - onset
    elif duration == 0:
        raise RowError(table, number, "the duration is 0 s")
    return Clip(
        id=row["path"] if times["onset"] is None else f"{row['path']}@{onset}",
        labels=tuple(dict.fromkeys(filter(None, (label.strip() for label in row["labels"].split(";"))))),
        audio=FileAudio(table.parent / row["path"], onset, duration),
        split=row.get("split") or None,
        group=row.get("group") or None,
    )


def _check_ends(table: Path, clips: Sequence[Clip], row_of: dict[str, int]) -> None:
    """Refuses parts that exceed the end of their file, judged by the file's header."""
    seconds: dict[Path, float] = {}
    for clip in clips:
        audio = clip.audio
        if not isinstance(audio, FileAudio) or (audio.onset == 0 and audio.duration is None):
            continue
        if audio.path not in seconds:
            seconds[audio.path] = _stated_seconds(audio.path)
        end = audio.onset + (audio.duration or 0.0)
        if end > seconds[audio.path] + _SLACK:
            raise DataError(
                f"{table}, row {row_of[clip.id]}: the part from {audio.onset:g} s to {end:g} s exceeds the end "
                f"of {audio.path}, which lasts {seconds[audio.path]:.3f} s; correct the times (in seconds)"
            )


def _stated_seconds(path: Path) -> float:
    """Duration by the header; infinite where the header does not state it."""
    try:
        # otherwise the whole file would have to be decoded
        is_stated = path.suffix.lower() != ".mp3" or mp3_states_length(path)
        return probe(path).duration if is_stated else math.inf
    except (AudioError, OSError):
        return math.inf  # an unreadable file is reported when its clip is read


def _warn_of_labels(name: str, labels: Sequence[str], clips: Sequence[Clip]) -> None:
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
    n_clips = Counter(label for clip in clips for label in clip.labels)
    for label in labels:
        if n_clips[label] == len(clips) > 1:
            text = f"all {len(clips)} clips have the label {label!r}, so a network cannot learn what is not {label!r}"
            warnings.warn(f"{name}: {text}; add clips without it", EarmarkWarning, stacklevel=3)


def _seconds(table: Path, number: int, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise RowError(table, number, f"expected {name} in seconds, 0 or more, got {cell!r}")
    return seconds


class MissingClips(NamedTuple):
    """The clips whose files are missing."""

    ids: tuple[str, ...]
    splits: tuple[str | None, ...]


def drop_missing(name: str, clips: list[Clip], missing: Missing) -> tuple[tuple[Clip, ...], MissingClips]:
    """Clips whose files exist, and the ids and splits of the others.

    Raises:
        DataError: Files are missing and `missing` is "error", or all are missing.
    """
    found: list[Clip] = []
    not_there: list[Clip] = []
    for clip in clips:
        there = not isinstance(clip.audio, FileAudio) or clip.audio.path.is_file()
        (found if there else not_there).append(clip)
    if not_there and (missing != "skip" or not found):
        shown = ", ".join(str(clip.audio.path) for clip in not_there[:3] if isinstance(clip.audio, FileAudio))
        more = ", ..." if len(not_there) > 3 else ""
        reason = f"{len(not_there)} of {len(clips)} audio files are missing: {shown}{more}"
        raise DamageError(name, "audio files", reason)
    return tuple(found), MissingClips(tuple(clip.id for clip in not_there), tuple(clip.split for clip in not_there))


def drop_outside(
    clips: Sequence[Clip], labels: LabelSet
) -> tuple[tuple[Clip, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """Clips reduced to the labels of the set, and the labels that each clip lost."""
    names = frozenset(labels.names)
    outside = {clip.id: lost for clip in clips if (lost := tuple(label for label in clip.labels if label not in names))}
    kept = (
        replace(clip, labels=tuple(label for label in clip.labels if label in names)) if clip.id in outside else clip
        for clip in clips
    )
    return tuple(kept), tuple(outside.items())


def read_folder(path: Path | str, lenient: bool = False) -> Dataset:
    """The recordings of a folder, labelled by the sub-folder they lie in: `dog/1.wav`, `rain/2.flac`.

    If all sub-folders are named `train`, `valid` or `test` and contain sub-folders, they are splits:
    `train/dog/1.wav`. Hidden files are ignored. A clip's id is its path below the folder.

    Args:
        path: The folder.
        lenient: Take recordings outside the sub-folders as clips without a label.

    Raises:
        DataError: No such folder; no recording in it; recordings outside the sub-folders; a label whose recordings
            all need another decoder; or split folders beside label folders.
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
            f"{path}: {len(bare)} recordings lie in no sub-folder and so have no label, first {bare[0]}; "
            "move them into sub-folders named by their labels"
        )
    tops = {file.parts[0] for file in files}
    # `train` is also a sound: it is a split only if it holds folders and no recordings
    splits = {top for top in tops & _SPLITS if all(len(file.parts) > 2 for file in files if file.parts[0] == top)}
    if splits and splits != tops:
        raise DataError(
            f"{path}: {', '.join(sorted(splits))} look like splits, but {min(tops - splits)} lies beside them; "
            "put all label folders into splits, or none"
        )
    n_above = 1 if splits else 0
    names = tuple(sorted({file.parts[n_above] for file in files}))
    lost = {file.parts[n_above] for file in unread if len(file.parts) > n_above + 1} - set(names)
    if lost:
        label = min(lost)
        of_it = count_suffixes(file for file in unread if label in file.parts[n_above : n_above + 1])
        raise DataError(
            f"{path}: the recordings of the label {label!r} need another decoder ({of_it}); "
            f"{media.INSTALL}, or remove its folder"
        )
    clips = tuple(
        Clip(
            id=file.as_posix(),
            labels=(file.parts[n_above],),
            audio=FileAudio(path / file),
            split=file.parts[0] if splits else None,
        )
        for file in files
    )
    clips = (*clips, *(Clip(file.as_posix(), (), FileAudio(path / file)) for file in bare))
    _warn_of_labels(str(path), names, clips)
    return Dataset(path.resolve().name, LabelSet(names), clips)
