"""DCASE's tables of events: `filename`, `onset`, `offset` and `event_label`, separated by tabs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.events import FileEvents
from earmark.annotations.rows import AnnotationError, Faulty, Located, read_annotation_rows
from earmark.storage.text_files import row_writer

_COLUMNS: Final = ("filename", "onset", "offset", "event_label")


def write_dcase(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a header and a row an event; scores and times of day have no place in them.

    A recording without events has a row with its name alone.
    """
    write = row_writer(stream, "\t")
    write(_COLUMNS)
    for recording in files:
        for event in recording.events:
            write((recording.file, f"{event.onset:.6f}", f"{event.offset:.6f}", event.label))
        if not recording.events:
            write((recording.file, "", "", ""))


def dcase_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of a table; other columns are ignored. A row without onset and offset states that there is no event.

    Raises:
        DataError: The file is no such table.
    """
    for row in read_annotation_rows(path, _COLUMNS, faulty, is_quoted=True):
        try:
            place = (f"line {row.line}", "column filename")
            if not row.text("filename"):
                raise row.fault("filename", "no file name")
            if not row.text("onset") and not row.text("offset"):
                yield Located(row.cells["filename"], None, *place)
                continue
            onset, offset, label = row.number("onset"), row.number("offset"), row.label("event_label")
            yield Located(row.cells["filename"], row.event(onset, offset, label, "offset"), *place)
        except AnnotationError as error:
            faulty(error)
