"""The formats of annotations by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.audacity import audacity_rows, write_audacity
from earmark.annotations.birdnet import write_birdnet
from earmark.annotations.dcase import dcase_rows, write_dcase
from earmark.annotations.event_tables import (
    csv_rows,
    jsonl_rows,
    parquet_rows,
    write_csv,
    write_jsonl,
    write_parquet,
)
from earmark.annotations.events import FileEvents
from earmark.annotations.kaleidoscope import write_kaleidoscope
from earmark.annotations.label_studio import label_studio_rows, write_label_studio
from earmark.annotations.raven import raven_rows, write_raven
from earmark.annotations.rows import Faulty, Located, grouped, refuse
from earmark.errors import ConfigError, DataError
from earmark.storage.files import as_text, atomic_write


@dataclass(frozen=True)
class Format:
    """A format of annotations."""

    title: str
    """Name with its article, for error messages."""
    suffixes: tuple[str, ...]
    """Ends of file names that choose the format; earmark gives the first one to files that it names."""
    writer: Callable[[Iterable[FileEvents], IO[Any], bool], None]
    """Writes recordings to an open stream as they come; the last argument asks for times of day."""
    rows: Callable[[Path, Faulty], Iterator[Located]] | None = None
    """The events of a file with their places; None if earmark does not read the format."""
    is_binary: bool = False
    """Whether a file is binary, so that it is not written to standard output."""
    is_single: bool = False
    """Whether a file holds the events of one recording, whose name it does not state."""
    is_utf8: bool = True
    """Whether file names must be UTF-8."""
    forbidden: str = ""
    """Characters that file names must not have."""

    def write(self, out: Path | IO[Any], files: Iterable[FileEvents], with_time: bool = False) -> None:
        """Writes recordings as they come: memory does not grow with their number.

        Args:
            out: A file, which appears when it is complete, or an open stream.
            files: The recordings in the order of the result.
            with_time: Write the times of day, where the format has a place for them.

        Raises:
            DataError: The format cannot hold a file name, or holds one recording and got several.
            OSError: The file cannot be written.
        """
        checked = self._checked(files)
        if not isinstance(out, Path):
            self.writer(checked, out, with_time)
            return
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with (
            atomic_write(out) as temporary,
            temporary.open("wb" if self.is_binary else "w", **({} if self.is_binary else text)) as stream,
        ):
            self.writer(checked, stream, with_time)

    def check_name(self, file: str) -> None:
        """Checks that the format can hold a file name, which a command does before its work.

        Raises:
            DataError: The name is not UTF-8, or has one of the forbidden characters.
        """
        mark = next((mark for mark in self.forbidden if mark in file), None)
        reason = f"it holds {mark!r}" if mark is not None else "it is not UTF-8"
        if mark is not None or (self.is_utf8 and as_text(file) != file):
            raise DataError(
                f"{file!r}: {self.title} cannot hold this file name: {reason}; rename the file, or take csv"
            )

    def _checked(self, files: Iterable[FileEvents]) -> Iterator[FileEvents]:
        for number, recording in enumerate(files):
            if number and self.is_single:
                raise DataError(f"{recording.file}: {self.title} holds one recording; write a file for each recording")
            self.check_name(recording.file)
            yield recording

    def read(self, path: Path, faulty: Faulty = refuse) -> list[FileEvents]:
        """The recordings of a file, in the order in which they are named first.

        Args:
            path: The file.
            faulty: Receives the rows that cannot be read; by default the first is an error.

        Raises:
            ConfigError: earmark does not read the format.
            DataError: The file has another format, or a row cannot be read; the text names line and column.
        """
        if self.rows is None:
            readable = ", ".join(name for name, form in FORMATS.items() if form.rows is not None)
            raise ConfigError(f"{path}: a file in one of the formats {readable} was expected", "format")
        return grouped(self.rows(path, faulty))


FORMATS: Final[Mapping[str, Format]] = {
    "csv": Format("a CSV table", (".csv",), write_csv, csv_rows, is_utf8=False),
    "jsonl": Format("a file of JSON lines", (".jsonl",), write_jsonl, jsonl_rows, is_utf8=False),
    "parquet": Format("a Parquet file", (".parquet",), write_parquet, parquet_rows, is_binary=True),
    "audacity": Format(
        "an Audacity label track", (".txt",), write_audacity, audacity_rows, is_single=True, is_utf8=False
    ),
    "raven": Format("a Raven selection table", (".selections.txt",), write_raven, raven_rows, forbidden="\t\r\n"),
    "dcase": Format("a DCASE table", (".tsv",), write_dcase, dcase_rows, is_utf8=False),
    "birdnet": Format("a BirdNET table", (".BirdNET.results.csv",), write_birdnet, forbidden="\r\n"),
    "kaleidoscope": Format("a Kaleidoscope table", (".id.csv",), write_kaleidoscope, forbidden="\r\n"),
    "label-studio": Format("a file of Label Studio", (".json",), write_label_studio, label_studio_rows),
}
"""Every format; a new one adds its line here."""


def format_of(path: Path) -> Format:
    """The format that the end of a file's name chooses; the longest fitting end decides.

    Raises:
        ConfigError: No format has this end.
    """
    name = f".{path.name.lower()}"  # kaleidoscope's file is called id.csv
    fitting = [(len(end), form) for form in FORMATS.values() for end in form.suffixes if name.endswith(end.lower())]
    if not fitting:
        ends = ", ".join(form.suffixes[0] for form in FORMATS.values())
        raise ConfigError(f"{path}: a file name that ends in one of {ends} was expected; or name the format", "format")
    return max(fitting, key=lambda pair: pair[0])[1]
