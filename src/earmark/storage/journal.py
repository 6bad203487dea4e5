"""A journal: JSON values, one per line, that survive the death of their writer."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from earmark.errors import DataError
from earmark.storage.locks import claim

_Value = TypeVar("_Value")

_BLOCK: Final = 1 << 16
_DAMAGE: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, DataError)
"""Exceptions that a parser raises for a line written by another program."""


class Journal:
    """An open journal, locked by this process until it is closed. `open_journal` makes it."""

    def __init__(self, path: Path, stream: IO[bytes], head: Any, seconds: float, is_synced: bool) -> None:
        self.path = path
        self.head = head
        """First line of the file: that of an earlier call, or the one given to this call."""
        self._stream, self._seconds, self._is_synced = stream, seconds, is_synced
        self._flushed_at = time.monotonic()
        self._n_head = int(head is not None)
        self._end: int | None = _end_of_lines(stream)
        """End of the last whole line; None when what follows has been cut off."""
        if head is not None:
            self._read_head()

    def read(self, parse: Callable[[Any], _Value]) -> Iterator[_Value]:
        """Yields `parse(value)` for each line after the head; nothing may be appended meanwhile.

        Raises:
            DataError: A line is not JSON, or `parse` cannot use its value; the text names the line.
        """
        return _parsed(self.path, self._stream, parse, self._n_head)

    def append(self, value: Any) -> None:
        """Adds a line.

        Raises:
            OSError: The file cannot be written.
        """
        line = _line(value)
        if self._end is not None:
            self._stream.truncate(self._end)  # a line that a killed writer cut off
            self._end = None
        self._stream.write(line)
        if time.monotonic() - self._flushed_at >= self._seconds:
            self._stream.flush()
            if self._is_synced:
                os.fsync(self._stream.fileno())
            self._flushed_at = time.monotonic()

    def remove(self) -> None:
        """Deletes the file. Call it last: another process may then open a new journal."""
        if sys.platform == "win32":
            self._stream.close()  # Windows does not delete open files
        self.path.unlink(missing_ok=True)

    def _read_head(self) -> None:
        self._stream.seek(0)
        line = self._stream.readline()
        if self._end:
            try:
                self.head = json.loads(line)
            except ValueError as error:
                raise _damaged(self.path, 1, error) from error
        elif not _line(self.head).startswith(line):
            raise _damaged(self.path, 1, "not the beginning of a journal")
        else:
            self.append(self.head)
            self._stream.flush()


@contextmanager
def open_journal(path: Path, head: Any = None, *, seconds: float = 0.0, is_synced: bool = False) -> Iterator[Journal]:
    """Opens a journal to read and append; a last line that was cut off is dropped.

    No other process can open the journal until the block ends.

    Args:
        path: The file; made if it is not there.
        head: First line of a new file, if the journal has one; the caller compares it with `Journal.head`.
        seconds: Time after which appended lines are flushed; a kill loses what is not flushed.
        is_synced: Whether flushed lines survive a power cut too.

    Raises:
        DataError: Another process has the journal open, or the first line is damaged.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        claim(stream, path)
        yield Journal(path, stream, head, seconds, is_synced)


def read_journal(path: Path, parse: Callable[[Any], _Value]) -> Iterator[_Value]:
    """Yields `parse(value)` for each whole line of a journal without a head; nothing if there is no file.

    Raises:
        DataError: A line is not JSON, or `parse` cannot use its value; the text names the line.
    """
    if path.exists():
        with path.open("rb") as stream:
            yield from _parsed(path, stream, parse, n_head=0)


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _end_of_lines(stream: IO[bytes]) -> int:
    """The position after the last newline."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        stream.seek(start)
        if (place := stream.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


def _parsed(path: Path, stream: IO[bytes], parse: Callable[[Any], _Value], n_head: int) -> Iterator[_Value]:
    stream.seek(0)
    for number, line in enumerate(stream, 1):
        if number > n_head and line.endswith(b"\n"):
            try:
                value = parse(json.loads(line))
            except _DAMAGE as error:
                raise _damaged(path, number, error) from error
            yield value


def _damaged(path: Path, number: int, reason: object) -> DataError:
    remedy = "delete the file to start again" if number == 1 else "restore the line or remove it"
    return DataError(f"{path}, line {number}: damaged ({reason}); {remedy}")
