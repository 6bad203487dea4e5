"""The format csv: a row an event, `file,onset,offset,label,score` and, if wanted, `time`."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.rows import COLUMNS, grouped, parse_number, parse_time, row_of
from earmark.errors import DataError


def write_csv(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a header and a row an event; a recording without events has a row with its name alone."""
    plain = csv.writer(stream, lineterminator="\n")
    quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    columns = COLUMNS if with_time else COLUMNS[:-1]
    plain.writerow(columns)
    for recording in files:
        writer = quoting if "\r" in recording.file else plain  # Python 3.11 does not quote carriage returns by itself
        writer.writerows([row_of(recording.file, event)[name] for name in columns] for event in recording.events)
        if not recording.events:
            writer.writerow([recording.file, *[""] * (len(columns) - 1)])


def read_csv(path: Path) -> list[FileEvents]:
    """The recordings of a table, in the order of their first rows.

    Raises:
        DataError: The file is no such table; the text names line and column.
        OSError: The file cannot be read.
    """
    return grouped(_rows(path))


def _rows(path: Path) -> Iterator[tuple[str, Annotation | None]]:
    # names may hold bytes that are not UTF-8, and line breaks
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        missing = [name for name in COLUMNS[:4] if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}: needs the columns {', '.join(COLUMNS[:4])}, lacks {', '.join(missing)}")
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(f"{place}: expected {len(reader.fieldnames or ())} cells")
            if not row["label"]:
                yield row["file"], None
                continue
            times = [parse_number(row[name], f"{place}, column {name}") for name in ("onset", "offset")]
            score = parse_number(row["score"], f"{place}, column score") if row.get("score") else None
            time = parse_time(row["time"], f"{place}, column time") if row.get("time") else None
            try:
                yield row["file"], Annotation(times[0], times[1], row["label"], score, time)
            except DataError as error:
                raise DataError(f"{place}: {error}") from error
