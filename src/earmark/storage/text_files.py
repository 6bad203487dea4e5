"""Lines of text files that other programs wrote, and rows of tables."""

import csv
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, Final

from earmark.errors import DataError
from earmark.storage.files import text_encoding

NOT_UTF8: Final = "it is not UTF-8 text; save it as CSV UTF-8"


def read_lines(path: Path, errors: str = "strict", newline: str | None = None) -> Iterator[str]:
    """The lines of a text file in UTF-8, or in UTF-16 with its mark.

    Args:
        path: The file.
        errors: Treatment of undecodable bytes, as for `open`.
        newline: Treatment of line ends, as for `open`; by default LF, CRLF and CR end a line and become LF.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            encoding = text_encoding(file.peek(2))
            with TextIOWrapper(file, encoding, errors, newline) as stream:
                yield from stream
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or NOT_UTF8}") from error


def row_writer(stream: IO[Any], delimiter: str = ",") -> Callable[[Iterable[object]], None]:
    """A function that writes a row of a table into a stream whose line ends are not translated."""
    plain = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    quoting = csv.writer(stream, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(row: Iterable[object]) -> None:
        cells = list(row)
        # Python 3.11 does not quote carriage returns by itself
        has_return = any("\r" in cell for cell in cells if isinstance(cell, str))
        (quoting if has_return else plain).writerow(cells)

    return write
