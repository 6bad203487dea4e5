"""Audacity's label tracks: a line an event with onset, offset and label, separated by tabs."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.events import FileEvents
from earmark.annotations.rows import AnnotationError, Faulty, Located, Row
from earmark.storage.text_files import read_lines

_CELLS: Final = ("onset", "offset", "label")


def write_audacity(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes the lines of one recording; scores and times of day have no place in them."""
    for recording in files:
        stream.writelines(f"{event.onset:.6f}\t{event.offset:.6f}\t{event.label}\n" for event in recording.events)


def audacity_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of a label track; its lines with frequencies, which begin with a backslash, are skipped.

    The recording has the name of the file without `.txt`. Where the track is empty, it has no event.

    Raises:
        DataError: The file cannot be read.
    """
    file = str(path.with_suffix(""))
    is_empty = True
    for number, line in enumerate(read_lines(path, "surrogateescape"), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        is_empty = False
        row = Row(path, number, dict(zip(_CELLS, [*line.split("\t", 2), "", ""], strict=False)))
        try:
            onset, offset, label = row.number("onset"), row.number("offset"), row.label("label")
            yield Located(file, row.event(onset, offset, label, "offset"), f"line {number}")
        except AnnotationError as error:
            faulty(error)
    if is_empty:
        yield Located(file, None, "line 1")


def is_audacity(path: Path) -> bool:
    """Whether the first line of a file begins with a time and a tab, or the file is empty.

    Raises:
        DataError: The file cannot be read.
    """
    first = next((line for line in read_lines(path, "surrogateescape") if line.strip()), None)
    return first is None or re.match(r"\s*[0-9.,]+\t", first) is not None
