"""Rows of annotation tables: read with their places, so that an error names file, line and column."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from earmark.annotations.events import Annotation, FileEvents
from earmark.errors import DataError
from earmark.labels import check_label, normal_label
from earmark.storage.text_files import read_lines


class AnnotationError(DataError):
    """A row that cannot be read.

    Args:
        path: The file of annotations.
        place: Line and column in it, or the task.
        reason: The fault.
    """

    def __init__(self, path: Path, place: str, reason: str) -> None:
        super().__init__(f"{path}, {place}: {reason}")
        self.path = path
        self.place = place
        self.reason = reason


Faulty = Callable[[AnnotationError], object]
"""Receives the rows that cannot be read; may raise the error."""


def refuse(error: AnnotationError) -> None:
    """Raises the error."""
    raise error


class Located(NamedTuple):
    """An event with its place."""

    file: str
    """Name of the recording, as it is written."""
    event: Annotation | None
    """None states that the recording has no event."""
    row: str
    """Line or task of the event."""
    column: str = ""
    """Place of the recording's name in it; empty where the file's own name is the recording's."""

    @property
    def place(self) -> str:
        """Row and column."""
        return f"{self.row}, {self.column}" if self.column else self.row


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    path: Path
    line: int
    cells: Mapping[str, str]
    """By the name of the column in lower case."""

    def place(self, column: str) -> str:
        """Line and column."""
        return f"line {self.line}, column {column}"

    def fault(self, column: str, reason: str) -> AnnotationError:
        """The error of a cell."""
        return AnnotationError(self.path, self.place(column), reason)

    def text(self, column: str) -> str:
        """The cell without the blanks around it; empty if the table lacks the column."""
        return self.cells.get(column.lower(), "").strip()

    def number(self, column: str) -> float:
        """The number in a cell, with a decimal point or comma.

        Raises:
            AnnotationError: The cell holds no finite number.
        """
        text = self.text(column)
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.fault(column, f"expected a number, got {text!r}")
        return value

    def time(self, column: str) -> datetime:
        """The time of day in a cell.

        Raises:
            AnnotationError: The cell holds no ISO 8601 time.
        """
        try:
            return datetime.fromisoformat(self.text(column))
        except ValueError:
            reason = f"expected a time such as 2024-05-01T05:30:00, got {self.text(column)!r}"
            raise self.fault(column, reason) from None

    def label(self, column: str) -> str:
        """The label in a cell.

        Raises:
            AnnotationError: The cell is empty or holds control characters.
        """
        label = normal_label(decoded(self.text(column)))
        try:
            check_label(label)
        except DataError as error:
            raise self.fault(column, "no label" if not label else str(error)) from None
        return label

    def event(self, onset: float, offset: float, label: str, column: str, score: float | None = None) -> Annotation:
        """The event.

        Args:
            onset: Seconds.
            offset: Seconds.
            label: Its label.
            column: Column of the offset, which an error names.
            score: Its score.

        Raises:
            AnnotationError: The times are impossible.
        """
        try:
            return Annotation(onset, offset, label, score)
        except DataError as error:
            raise self.fault(column, str(error)) from None


def decoded(text: str) -> str:
    """A text of a table that is not UTF-8, read as the Latin alphabet of Windows; other texts are unchanged.

    >>> decoded("G\\udce4nse"), decoded("dog")
    ('Gänse', 'dog')
    """
    if text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text):
        return text
    raw = text.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:  # five bytes have no letter there
        return raw.decode("latin-1")


def read_annotation_rows(
    path: Path, required: Sequence[str], faulty: Faulty, delimiters: str = "\t", is_quoted: bool = False
) -> Iterator[Row]:
    """The rows below the header; empty lines are skipped.

    Args:
        path: The table: UTF-8, with or without a mark, or UTF-16; bytes that are not UTF-8 become surrogates.
        required: Columns that the table must have, whatever the case of their letters.
        faulty: Receives rows with more cells than columns.
        delimiters: Possible delimiters of columns; the first one that occurs in the first line is used.
        is_quoted: Whether quotation marks enclose cells.

    Raises:
        DataError: The table cannot be read or lacks columns.
    """
    lines = read_lines(path, "surrogateescape", newline="" if is_quoted else None)
    first = next(lines, "")
    delimiter = next((mark for mark in delimiters if mark in first), delimiters[0])
    rows = _quoted(path, first, lines, delimiter) if is_quoted else _plain(first, lines, delimiter)
    columns = [name.strip().lower() for name in next(rows, (1, []))[1]]
    missing = [name for name in required if name.lower() not in columns]
    if missing:
        got = ", ".join(columns)[:100] or "none"
        raise DataError(f"{path}: needs the columns {', '.join(required)} in its first row, got {got}")
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(columns) :]):
            reason = f"expected {len(columns)} cells, got {len(cells)}"
            faulty(AnnotationError(path, f"line {line}", reason))
        elif any(cell.strip() for cell in cells):  # editors cut empty cells off at the end
            yield Row(path, line, dict(zip(columns, [*cells, *[""] * (len(columns) - len(cells))], strict=False)))


def _plain(first: str, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    yield 1, first.rstrip("\r\n").split(delimiter)
    for number, line in enumerate(lines, 2):
        yield number, line.rstrip("\r\n").split(delimiter)


def _quoted(path: Path, first: str, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(all_lines(), delimiter=delimiter)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from error


def grouped(located: Iterable[Located]) -> list[FileEvents]:
    """The events of each recording, in the order in which the recordings are named first."""
    files: dict[str, list[Annotation]] = {}
    for found in located:
        events = files.setdefault(found.file, [])
        if found.event is not None:
            events.append(found.event)
    return [FileEvents(file, tuple(events)) for file, events in files.items()]
