"""earmark's own tables, a row an event: the formats csv, jsonl and parquet."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.rows import AnnotationError, Faulty, Located, Row, read_annotation_rows
from earmark.errors import DataError
from earmark.labels import normal_label
from earmark.storage.text_files import read_lines, row_writer

COLUMNS: Final = ("file", "onset", "offset", "label", "score", "time")
"""Columns of the tables; `time` only where it is wanted."""
_ROWS_PER_GROUP: Final = 65536


def rows_of(files: Iterable[FileEvents], with_time: bool) -> Iterator[dict[str, Any]]:
    """A row an event: seconds to the microsecond, scores with six significant digits, times as ISO 8601.

    A recording without events has a row with its name alone.
    """
    columns = COLUMNS if with_time else COLUMNS[:-1]
    for recording in files:
        for event in recording.events:
            values = (
                recording.file,
                round(event.onset, 6),
                round(event.offset, 6),
                event.label,
                None if event.score is None else float(f"{event.score:.6g}"),
                None if event.time is None else event.time.isoformat(),
            )
            yield dict(zip(columns, values, strict=False))
        if not recording.events:
            yield {**dict.fromkeys(columns), "file": recording.file}


def write_csv(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a header and the rows."""
    write = row_writer(stream)
    write(COLUMNS if with_time else COLUMNS[:-1])
    for row in rows_of(files, with_time):
        write(row.values())


def csv_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of a csv table; other columns are ignored. Spreadsheets may have changed its commas.

    Raises:
        DataError: The file is no such table.
    """
    for row in read_annotation_rows(path, COLUMNS[:4], faulty, delimiters=",;\t", is_quoted=True):
        try:
            if not row.text("file"):
                raise row.fault("file", "no file name")
            yield Located(row.cells["file"], _event(row), f"line {row.line}", "column file")
        except AnnotationError as error:
            faulty(error)


def _event(row: Row) -> Annotation | None:
    if not any(row.text(name) for name in COLUMNS[1:4]):
        return None
    score = row.number("score") if row.text("score") else None
    event = row.event(row.number("onset"), row.number("offset"), row.label("label"), "offset", score)
    if not row.text("time"):
        return event
    return Annotation(event.onset, event.offset, event.label, score, row.time("time"))


def write_jsonl(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a JSON object a row, in ASCII: names in any encoding are escaped."""
    stream.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows_of(files, with_time))


def jsonl_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of a file of JSON lines; other names are ignored.

    Raises:
        DataError: The file cannot be read.
    """
    for number, line in enumerate(read_lines(path, "surrogateescape"), 1):
        if not line.strip():
            continue
        try:
            yield _located(json.loads(line), f"line {number}")
        except (DataError, KeyError, TypeError, ValueError, OverflowError) as error:
            faulty(AnnotationError(path, f"line {number}", _reason(error)))


def write_parquet(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes row groups as the rows come.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = (pa.string(), pa.float64(), pa.float64(), pa.string(), pa.float64(), pa.string())
    columns = COLUMNS if with_time else COLUMNS[:-1]
    schema = pa.schema(list(zip(columns, types, strict=False)))
    rows = rows_of(files, with_time)
    with parquet.ParquetWriter(stream, schema) as writer:
        while group := list(islice(rows, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def parquet_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of a Parquet file; other columns are ignored.

    Raises:
        DataError: The file is no such table.
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as stream, parquet.ParquetFile(stream) as file:
            missing = [name for name in COLUMNS[:4] if name not in file.schema_arrow.names]
            if missing:
                raise DataError(f"{path}: needs the columns {', '.join(COLUMNS[:4])}, lacks {', '.join(missing)}")
            there = [name for name in COLUMNS if name in file.schema_arrow.names]
            rows = (row for batch in file.iter_batches(columns=there) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                try:
                    yield _located(row, f"row {number}")
                except (DataError, TypeError, ValueError, OverflowError) as error:
                    faulty(AnnotationError(path, f"row {number}", _reason(error)))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())}") from error


def _located(row: Any, place: str) -> Located:
    if not isinstance(row["file"], str) or not row["file"].strip():
        raise DataError("no file name")
    if row["onset"] is None and row["offset"] is None and row["label"] is None:
        return Located(row["file"], None, place)
    score, time = row.get("score"), row.get("time")
    event = Annotation(
        float(row["onset"]),
        float(row["offset"]),
        normal_label(row["label"]) if isinstance(row["label"], str) else row["label"],
        None if score is None else float(score),
        None if time is None else datetime.fromisoformat(time),
    )
    return Located(row["file"], event, place)


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, KeyError):
        return f"needs the values {', '.join(COLUMNS[:4])}, lacks {error.args[0]}"
    return f"expected the values {', '.join(COLUMNS[:4])} ({error})"
