"""Results of `earmark tag`, one per file: written in each format and read again."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, TextIO

from earmark.cli.recordings import DAMAGE, damaged, text
from earmark.cli.screen import bar, destination, print_tags, rounded, write_json
from earmark.errors import ConfigError, DataError
from earmark.inference.tagger import Tag
from earmark.storage.files import atomic_write
from earmark.storage.text_files import row_writer

_ROWS_PER_GROUP: Final = 4096


@dataclass(frozen=True)
class FileResult:
    """Tags of one file, or the error that prevented them."""

    file: str
    duration: float = 0.0
    """Seconds."""
    tags: tuple[Tag, ...] = ()
    error: str | None = None

    @classmethod
    def failed(cls, file: str, error: str) -> "FileResult":
        """The result of a file that an error prevented."""
        return cls(file, error=error)

    def to_json(self) -> dict[str, Any]:
        """The object that `--format json` prints."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        tags = [{"label": tag.label, "score": rounded(tag.score)} for tag in self.tags]
        return {"file": self.file, "duration": rounded(self.duration), "tags": tags}

    @classmethod
    def from_json(cls, values: Any) -> "FileResult":
        """The result that `to_json` converted; raises one of `DAMAGE` for other values."""
        tags = tuple(Tag(tag["label"], float(tag["score"])) for tag in values.get("tags") or ())
        return cls(str(values["file"]), float(values.get("duration") or 0.0), tags, values.get("error"))


def _write_table(results: Iterable[FileResult], stream: TextIO) -> None:
    for result in results:
        if result.error is None:
            rows = [("", f"{tag.score:.3f}", bar(tag.score), tag.label) for tag in result.tags]
            print_tags(stream, f"{result.file}  {result.duration:.1f} s", rows)


def _write_json(results: Iterable[FileResult], stream: TextIO) -> None:
    for result in results:
        write_json(result.to_json(), stream)


def _write_csv(results: Iterable[FileResult], stream: TextIO) -> None:
    write = row_writer(stream)
    write(("file", "label", "score", "error"))
    for result in results:
        for tag in result.tags:
            write((result.file, tag.label, rounded(tag.score), ""))
        if not result.tags:  # no label reached the threshold, or the file is unreadable
            write((result.file, "", "", result.error or ""))
        stream.flush()


_WRITERS: Final[Mapping[str, Callable[[Iterable[FileResult], TextIO], None]]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}
FORMS: Final = (*_WRITERS, "parquet")


def write(results: Iterable[FileResult], form: str, out: Path | None) -> None:
    """Writes results as they come, to standard output or to a file that appears when it is complete.

    Raises:
        OSError: The file cannot be written.
        ModuleNotFoundError: The format is Parquet and pyarrow is not installed.
    """
    if form == "parquet" and out is not None:
        _write_parquet(results, out)
        return
    with destination(out) as stream:
        _WRITERS[form](results, stream)


def _write_parquet(results: Iterable[FileResult], out: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    tags = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))
    schema = pa.schema([("file", pa.string()), ("duration", pa.float64()), ("tags", tags), ("error", pa.string())])
    values = (result.to_json().items() for result in results)
    rows = ({name: text(value) if isinstance(value, str) else value for name, value in row} for row in values)
    with (
        atomic_write(out) as temporary,
        temporary.open("wb") as stream,  # Arrow opens no names that are not UTF-8
        parquet.ParquetWriter(stream, schema) as writer,
    ):
        while group := list(islice(rows, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def read(out: Path) -> list[FileResult]:
    """Results of a file that `write` wrote, by its suffix.

    Raises:
        ConfigError: No format with this suffix can be read again.
        DataError: The file does not hold such results.
        OSError: The file cannot be read.
    """
    reader = _READERS.get(out.suffix.lower())
    if reader is None:
        raise ConfigError(f"results in {', '.join(_READERS)} were expected, not {out}; name another --out", "resume")
    try:
        return list(reader(out))
    except DAMAGE as error:
        raise damaged(out, "tag", error) from error


def _read_json(out: Path) -> Iterator[FileResult]:
    with out.open(encoding="utf-8") as stream:
        yield from (FileResult.from_json(json.loads(line)) for line in stream if line.strip())


def _read_csv(out: Path) -> Iterator[FileResult]:
    found: dict[str, FileResult] = {}
    with out.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for row in csv.DictReader(stream):
            if None in row.values():
                raise DataError("a row is too short")
            previous = found.get(row["file"], FileResult(row["file"]))
            tags = (*previous.tags, Tag(row["label"], float(row["score"]))) if row["label"] else previous.tags
            found[row["file"]] = FileResult(row["file"], 0.0, tags, row["error"] or None)
    yield from found.values()


def _read_parquet(out: Path) -> Iterator[FileResult]:
    from pyarrow import parquet

    with out.open("rb") as stream, parquet.ParquetFile(stream) as file:
        for batch in file.iter_batches():
            yield from map(FileResult.from_json, batch.to_pylist())


_READERS: Final[Mapping[str, Callable[[Path], Iterator[FileResult]]]] = {
    ".json": _read_json,
    ".jsonl": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
