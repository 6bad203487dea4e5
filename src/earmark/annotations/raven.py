"""Raven's selection tables: a row a selection and view, separated by tabs."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.events import FileEvents
from earmark.annotations.rows import AnnotationError, Faulty, Located, Row, read_annotation_rows
from earmark.errors import DataError
from earmark.storage.text_files import read_lines

_BEGIN: Final = "Begin Time (s)"
_END: Final = "End Time (s)"
_FILE_OFFSET: Final = "File Offset (s)"
_PATH: Final = "Begin Path"
_FILE: Final = "Begin File"
_WRITTEN: Final = (
    *("Selection", "View", "Channel", _BEGIN, _END, "Low Freq (Hz)", "High Freq (Hz)"),
    *(_FILE, _PATH, _FILE_OFFSET, "Annotation", "Score"),
)
_BAND: Final = (0, 16000)
"""Frequencies of a written selection (Hz), which Raven needs to draw a box: the band that most networks use."""
LABEL_COLUMNS: Final = ("Annotation", "Label", "Species", "Common Name", "Call Type", "Type", "Tag")
"""Columns whose first one in a table holds the labels: people name them themselves."""
SCORE_COLUMNS: Final = ("Score", "Confidence")
"""Columns of scores as earmark and BirdNET name them; the first one in a table counts."""
_ENDS: Final = re.compile(r"(\.BirdNET)?(\.Table\.\d+)?(\.selections?)?(\.table)?\.(txt|tsv)$", re.IGNORECASE)
"""Ends of the names of tables, as Raven and BirdNET give them; before them stands the name of the recording."""


def write_raven(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes one table; in Raven, open the recordings in their order as one sound, then the table.

    `Begin Time (s)` counts from the start of the first recording, `File Offset (s)` from that of the event's recording.

    Raises:
        DataError: A recording of unknown duration is followed by another one.
    """
    stream.write("\t".join(_WRITTEN) + "\n")
    start, number, unknown = 0.0, 0, None
    for recording in files:
        if unknown is not None:
            raise DataError(f"{unknown}: Raven counts the times of the next file from its end; its duration is unknown")
        for event in recording.events:
            number += 1
            times = (f"{start + event.onset:.6f}", f"{start + event.offset:.6f}")
            score = "" if event.score is None else f"{event.score:.6g}"
            name = recording.file.replace("\\", "/").rpartition("/")[2]
            place = (name, recording.file, f"{event.onset:.6f}", event.label, score)
            stream.write("\t".join(map(str, (number, "Spectrogram 1", 1, *times, *_BAND, *place))) + "\n")
        if recording.duration is None:
            unknown = recording.file
        else:
            start += recording.duration


def is_raven(path: Path) -> bool:
    """Whether the first line of a file is the header of a selection table.

    Raises:
        DataError: The file cannot be read.
    """
    columns = next(read_lines(path, "surrogateescape"), "").lower().split("\t")
    return {_BEGIN.lower(), _END.lower()} <= {column.strip() for column in columns}


def raven_rows(path: Path, faulty: Faulty, label_column: str | None = None) -> Iterator[Located]:
    """The events of a table. The rows of one selection in several views or channels are one event.

    Where the table names no recordings, its own name without `.Table.1.selections.txt` names the recording.

    Args:
        path: The table.
        faulty: Receives the rows that cannot be read.
        label_column: Column of the labels; by default the first of `LABEL_COLUMNS` in the table.

    Raises:
        DataError: The file is no such table, it has no column of labels, or it has several recordings and no
            `File Offset (s)`.
    """
    own = str(path.with_name(_ENDS.sub("", path.name)))
    seen: set[tuple[str, str, float, float, str]] = set()
    only: str | None = None
    is_empty = True

    def note(error: AnnotationError) -> None:
        nonlocal is_empty
        is_empty = False
        faulty(error)

    for row in read_annotation_rows(path, (_BEGIN, _END), note):
        is_empty = False
        column = label_column or _label_column(row)
        if column.lower() not in row.cells:
            raise DataError(f"{path}: no column {column!r}; there are {', '.join(row.cells)}")
        named = next((name for name in (_PATH, _FILE) if row.text(name)), None)
        file = row.cells[named.lower()] if named is not None else own
        has_offset = bool(row.text(_FILE_OFFSET))
        if not has_offset and only not in (None, file):
            raise row.fault(_BEGIN, f"counts from the start of the first of several files; export {_FILE_OFFSET} too")
        only = only if has_offset else file
        try:
            begin, end = row.number(_BEGIN), row.number(_END)
            onset = row.number(_FILE_OFFSET) if has_offset else begin
            event = row.event(onset, round(onset + (end - begin), 9), row.label(column), _END, _score(row))
        except AnnotationError as error:
            faulty(error)
            continue
        key = (file, row.text("Selection"), event.onset, event.offset, event.label)
        if key[1] and key in seen:
            continue
        seen.add(key)
        yield Located(file, event, f"line {row.line}", f"column {named}" if named is not None else "")
    if is_empty:
        yield Located(own, None, "line 1")


def _score(row: Row) -> float | None:
    """The score; None where there is no number from 0 to 1: people fill these columns with other things too."""
    name = next((name for name in SCORE_COLUMNS if name.lower() in row.cells), None)
    try:
        score = None if name is None else row.number(name)
    except AnnotationError:
        return None
    return score if score is not None and 0 <= score <= 1 else None


def _label_column(row: Row) -> str:
    for name in LABEL_COLUMNS:
        if name.lower() in row.cells:
            return name
    raise DataError(
        f"{row.path}: a column of labels was expected ({', '.join(LABEL_COLUMNS)}), there are {', '.join(row.cells)}; "
        "name yours",
        remedy={"label_column": list(row.cells)[-1]},
    )
