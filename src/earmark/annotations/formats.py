"""The formats of annotations by name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from earmark.annotations.csv_table import read_csv, write_csv
from earmark.annotations.events import FileEvents
from earmark.errors import ConfigError
from earmark.storage.files import atomic_write


@dataclass(frozen=True)
class Format:
    """A format of annotations."""

    suffixes: tuple[str, ...]
    """Ends of the file names that choose the format; the first one ends the names that earmark gives."""
    writer: Callable[[Iterable[FileEvents], IO[Any], bool], None]
    """Writes recordings to an open stream as they come; the last argument asks for times of day."""
    read: Callable[[Path], list[FileEvents]] | None = None
    """The recordings of a file; None if earmark does not read the format."""
    is_binary: bool = False
    """Whether a file is bytes, which no terminal shows."""
    is_single: bool = False
    """Whether a file holds the events of one recording, whose name it does not state."""

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
        if not isinstance(out, Path):
            self.writer(files, out, with_time)
            return
        text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
        with (
            atomic_write(out) as temporary,
            temporary.open("wb" if self.is_binary else "w", **({} if self.is_binary else text)) as stream,
        ):
            self.writer(files, stream, with_time)


FORMATS: Final[Mapping[str, Format]] = {"csv": Format((".csv",), write_csv, read_csv)}
"""Every format; a new one adds its line here."""


def format_of(path: Path) -> Format:
    """The format that the end of a file's name chooses; the longest fitting end decides.

    Raises:
        ConfigError: No format has this end.
    """
    name = f".{path.name.lower()}"  # kaleidoscope's file is called id.csv
    fitting = [(len(end), form) for form in FORMATS.values() for end in form.suffixes if name.endswith(end)]
    if not fitting:
        ends = ", ".join(form.suffixes[0] for form in FORMATS.values())
        raise ConfigError(f"{path}: a file name that ends in one of {ends} was expected; or name the format", "format")
    return max(fitting, key=lambda pair: pair[0])[1]
