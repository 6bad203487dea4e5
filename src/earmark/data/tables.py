"""CSV and TSV tables, and the clips that their rows list; errors name the file and the row."""

import csv
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TypeVar

from earmark.data.clips import Clip, FileAudio
from earmark.data.damage import Damage, DamageError, RowError
from earmark.errors import DataError, EarmarkWarning, first_few
from earmark.labels import LabelSet
from earmark.storage.text_files import read_lines

_Row = TypeVar("_Row")


def read_csv_rows(path: Path, separators: str = ",", errors: str = "strict") -> Iterator[tuple[int, list[str]]]:
    """The rows as stripped cells, numbered as in a spreadsheet; empty rows are left out.

    Args:
        path: The table.
        separators: Possible separators of columns; the first one that occurs in the first line is used.
        errors: As in `read_lines`.

    Raises:
        DataError: The file cannot be read, or is not valid CSV.
    """
    lines = read_lines(path, errors, newline="")
    first = next(lines, "")
    separator = next((mark for mark in separators if mark in first), separators[0])
    reader = csv.reader(chain([first], lines), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for number, cells in enumerate(reader, 1):
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield number, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def read_csv_table(
    path: Path,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    separators: str = ",",
    errors: str = "strict",
    damage: Damage | None = None,
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the header, by column name in lower case; other columns are ignored.

    An `EarmarkWarning` reports columns that are likely misspelt optional ones.

    Args:
        path: The table.
        required: Columns that the table must have.
        optional: Columns that it may have.
        separators: As in `read_csv_rows`.
        errors: As in `read_lines`.
        damage: Receives the rows with a wrong number of columns; by default the first is an error.

    Raises:
        DataError: The file cannot be read, is not valid CSV, or lacks or repeats columns.
        RowError: A row has a wrong number of columns, and `damage` is not lenient.
    """
    rows = read_csv_rows(path, separators, errors)
    columns = [name.lower() for name in next(rows, (1, []))[1]]
    while columns and not columns[-1]:  # spreadsheets pad rows with empty columns
        columns.pop()
    _check_columns(path, columns, required, optional)
    damage = damage or Damage(lenient=False)
    for number, cells in rows:
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            hint = "; put cells that contain the separator into quotes" if len(cells) > len(columns) else ""
            damage.add(RowError(path, number, f"expected {len(columns)} columns, got {len(cells)}{hint}"))
            continue
        yield number, dict(zip(columns, cells, strict=False))


def _check_columns(path: Path, columns: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    for name in required:
        if name not in columns:
            close = get_close_matches(name, columns, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            expected, got = ", ".join(required), ", ".join(columns)[:100] or "none"
            raise DataError(f"{path}: needs the columns {expected} in its first row, got {got}{hint}")
    for name in (*required, *optional):
        if columns.count(name) > 1:
            raise DataError(f"{path}: the column {name} occurs {columns.count(name)} times")
    for name in columns:
        if name not in (*required, *optional) and (close := get_close_matches(name, optional, n=1, cutoff=0.75)):
            text = f"the column {name!r} is ignored; if you meant {close[0]!r}, rename it"
            warnings.warn(f"{path}: {text}", EarmarkWarning, stacklevel=3)


def read_clips(
    path: Path,
    rows: Iterable[tuple[int, _Row]],
    to_clip: Callable[[_Row], Clip],
    damage: Damage,
    places: dict[str, str] | None = None,
    hint: str = "",
) -> Iterator[Clip]:
    """The clips of numbered rows; faulty rows and repeated ids are damage.

    Args:
        path: The table.
        rows: Its numbered rows.
        to_clip: The clip of a row; raises a `DataError` that states the fault of the row.
        damage: Receives the faulty rows.
        places: Receives the place of each clip, by id; tables that share it have no id in common.
        hint: Ends the error of a repeated id.

    Raises:
        RowError: A row is faulty, and `damage` is not lenient.
    """
    places = {} if places is None else places
    for number, row in rows:
        try:
            clip = to_clip(row)
            if clip.id in places:
                raise DataError(f"{clip.id} is already in {places[clip.id]}{hint}")
        except DataError as error:
            damage.add(RowError(path, number, str(error)))
            continue
        places[clip.id] = f"row {number} of {path.name}"
        yield clip


def read_labels(path: Path, rows: Iterable[tuple[int, Sequence[str]]]) -> LabelSet:
    """The label set of a table, of numbered rows with the label's index, name and id.

    Raises:
        DataError: The indices do not count up from 0, or names or ids are invalid.
    """
    names: list[str] = []
    ids: list[str] = []
    for number, cells in rows:
        if len(cells) != 3 or cells[0] != str(len(ids)):
            raise RowError(path, number, f"expected index {len(ids)}, a label and its id, got {', '.join(cells)[:60]}")
        names.append(cells[1])
        ids.append(cells[2])
    try:
        return LabelSet(tuple(names), tuple(ids))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def parse_seconds(text: str, name: str = "a time") -> float:
    """The time that a cell holds, in seconds.

    Raises:
        DataError: The text is no finite number of 0 or more.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(f"expected {name} in seconds, 0 or more, got {text!r}")
    return seconds


def wav_or_flac(wav: Path) -> Path:
    """The file, or else its FLAC copy: many convert data sets to save space and leave their tables unchanged."""
    flac = wav.with_suffix(".flac")
    return flac if not wav.is_file() and flac.is_file() else wav


def drop_missing(
    name: str, clips: Sequence[Clip], lenient: bool
) -> tuple[tuple[Clip, ...], tuple[str, ...], tuple[str | None, ...]]:
    """Clips whose files exist, and the ids and splits of the others.

    Raises:
        DataError: Files are missing and `lenient` is not set, or all are missing.
    """
    found: list[Clip] = []
    missing: list[Clip] = []
    for clip in clips:
        there = not isinstance(clip.audio, FileAudio) or clip.audio.path.is_file()
        (found if there else missing).append(clip)
    if missing and not (lenient and found):
        shown = first_few([str(clip.audio.path) for clip in missing if isinstance(clip.audio, FileAudio)])
        raise DamageError(name, "audio files", f"{len(missing)} of {len(clips)} audio files are missing: {shown}")
    return tuple(found), tuple(clip.id for clip in missing), tuple(clip.split for clip in missing)


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
