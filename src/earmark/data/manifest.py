"""One's own clips: a table that lists them, or a folder whose sub-folders are the labels."""

import csv
import math
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from earmark.audio import find_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.errors import AudioError, DataError
from earmark.labels import LabelSet

Missing = Literal["error", "skip"]
"""What becomes of clips whose files are not there: an error that counts and names them, or `Dataset.missing`."""

_REQUIRED = ("path", "labels")
_OPTIONAL = ("onset", "offset", "duration", "split", "group")
_SPLITS = frozenset({"train", "valid", "test"})


def read_csv(path: Path | str, missing: Missing = "error") -> Dataset:
    """The clips of a CSV file with the columns `path` and `labels`, and what it has of the others.

    `path` is relative to the CSV file, `labels` are joined by `;` (none at all: no label sounds in the clip). Optional
    are `onset` and either `offset` (the end) or `duration`, in seconds, for a part of the file; `split`; and `group`,
    the source that clips share. Other columns are ignored. Columns may be separated by commas, semicolons or tabs.
    A clip's id is its path, with the onset behind it where there is one.

    Raises:
        DataError: The file is no such table, a row is wrong (the text names the row), or files are missing.
    """
    path = Path(path)
    clips: list[Clip] = []
    row_of: dict[str, int] = {}
    for number, row in _rows(path):
        clip = _clip(path, number, row)
        if clip.id in row_of:
            raise DataError(
                f"{path}, row {number}: {clip.id} is in row {row_of[clip.id]} already; "
                "write all labels of a clip in one row, joined by ;"
            )
        row_of[clip.id] = number
        clips.append(clip)
    if not clips:
        raise DataError(f"{path}: no row below the column names")
    names = sorted({label for clip in clips for label in clip.labels})
    if not names:
        raise DataError(f"{path}: none of its {len(clips)} rows has a label")
    found, not_there = drop_missing(str(path), clips, missing)
    return Dataset(path.name, LabelSet(tuple(names)), found, not_there)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows by column name with their numbers as a spreadsheet shows them, the header being row 1."""
    try:
        with path.open(encoding="utf-8-sig") as stream:  # takes CRLF, and CR alone, for the ends of lines
            lines = stream.readlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text; save it as CSV UTF-8"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    # the header has at least two columns, so it has the separator in it
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
                raise DataError(
                    f"{path}, row {number}: expected {len(columns)} columns, got {len(cells)}{_hint(separator)}"
                )
            yield number, dict(zip(columns, cells, strict=False))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def _hint(separator: str) -> str:
    return "; quote labels that are joined by ;" if separator == ";" else ""


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    while columns and not columns[-1]:
        columns.pop()
    for name in _REQUIRED:
        if name not in columns:
            close = get_close_matches(name, columns, n=1)
            hint = f"; is {close[0]!r} the one?" if close else ""
            raise DataError(
                f"{path}: needs the columns path and labels in its first row, got {', '.join(columns) or 'none'}{hint}"
            )
    for name in (*_REQUIRED, *_OPTIONAL):
        if columns.count(name) > 1:
            raise DataError(f"{path}: the column {name} is there {columns.count(name)} times")
    return columns


def _clip(table: Path, number: int, row: dict[str, str]) -> Clip:
    if not row["path"]:
        raise DataError(f"{table}, row {number}: no path")
    times = {name: _seconds(table, number, name, row.get(name, "")) for name in ("onset", "offset", "duration")}
    onset, offset, duration = times["onset"] or 0.0, times["offset"], times["duration"]
    if offset is not None:
        if duration is not None:
            raise DataError(f"{table}, row {number}: expected an offset or a duration, got both")
        if offset <= onset:
            raise DataError(f"{table}, row {number}: the offset {offset} s is not after the onset {onset} s")
        duration = offset - onset
    elif duration == 0:
        raise DataError(f"{table}, row {number}: the duration is 0 s")
    return Clip(
        id=row["path"] if times["onset"] is None else f"{row['path']}@{onset}",
        labels=tuple(dict.fromkeys(filter(None, (label.strip() for label in row["labels"].split(";"))))),
        audio=FileAudio(table.parent / row["path"], onset, duration),
        split=row.get("split") or None,
        group=row.get("group") or None,
    )


def _seconds(table: Path, number: int, name: str, cell: str) -> float | None:
    if not cell:
        return None
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{table}, row {number}: expected {name} in seconds, 0 or more, got {cell!r}")
    return seconds


def drop_missing(name: str, clips: list[Clip], missing: Missing) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """Clips whose files are there, and the ids of the others.

    Raises:
        DataError: Files are missing and not to be skipped, or all of them are missing.
    """
    found: list[Clip] = []
    not_there: list[Clip] = []
    for clip in clips:
        there = not isinstance(clip.audio, FileAudio) or clip.audio.path.is_file()
        (found if there else not_there).append(clip)
    if not_there and (missing != "skip" or not found):
        shown = ", ".join(str(clip.audio.path) for clip in not_there[:3] if isinstance(clip.audio, FileAudio))
        more = ", ..." if len(not_there) > 3 else ""
        raise DataError(f"{name}: {len(not_there)} of {len(clips)} audio files are missing: {shown}{more}")
    return tuple(found), tuple(clip.id for clip in not_there)


def read_folder(path: Path | str) -> Dataset:
    """The recordings of a folder, labelled by the sub-folder they lie in: `dog/1.wav`, `rain/2.flac`.

    Sub-folders that are all named `train`, `valid` or `test` and have sub-folders themselves are splits:
    `train/dog/1.wav`. Hidden files are passed over. A clip's id is its path below the folder.

    Raises:
        DataError: No such folder, no recording in it, recordings outside the sub-folders, or splits beside labels.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder, {'got a file' if path.exists() else 'there is none'}")
    try:
        files = [file.relative_to(path) for file in find_audio(path)]
    except AudioError as error:
        raise DataError(str(error)) from error
    if bare := [file for file in files if len(file.parts) == 1]:
        raise DataError(
            f"{path}: {len(bare)} recordings lie in no sub-folder and so have no label, the first is {bare[0]}; "
            "put them into sub-folders named by their labels"
        )
    tops = {file.parts[0] for file in files}
    # `train` is also a sound: it is a split only where it holds folders and no recordings
    splits = {top for top in tops & _SPLITS if all(len(file.parts) > 2 for file in files if file.parts[0] == top)}
    if splits and splits != tops:
        raise DataError(
            f"{path}: {', '.join(sorted(splits))} look like splits, but beside them lies {min(tops - splits)}; "
            "put every label folder into a split, or none"
        )
    n_above = 1 if splits else 0
    names = tuple(sorted({file.parts[n_above] for file in files}))
    return Dataset(
        path.resolve().name,
        LabelSet(names),
        tuple(
            Clip(
                id=file.as_posix(),
                labels=(file.parts[n_above],),
                audio=FileAudio(path / file),
                split=file.parts[0] if splits else None,
            )
            for file in files
        ),
    )
