"""What clips were found to be, on disk from the moment that it is known, so that no death of the job loses it."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from earmark.data.clips import AudioReader, FileAudio
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.doctor.facts import Facts
from earmark.errors import DataError
from earmark.storage.locks import lock_file
from earmark.storage.remote import is_url

NAME: Final = "journal.jsonl"
_COLUMNS: Final = ["clip", "stamp", *(field.name for field in fields(Facts))]
_SECONDS: Final = 0.5
"""Of work that a kill may cost: as often what is known goes to the disk."""


class Stamp(NamedTuple):
    """What changes with a file whose name stays."""

    n_bytes: int
    mtime_ns: int
    ctime_ns: int
    """Changes too when another file takes the name, whatever its size and time."""


Told = Callable[[str, Facts, Stamp | None], None]
"""What a clip is called, its facts, and the stamp that its file had before it was examined."""


def stamp_of(audio: AudioReader) -> Stamp | None:
    """That of the file that a clip is in; None where it is in none, or none is there.

    Of files far away nothing is asked: there may be thousands, and what there is to ask differs.
    """
    if isinstance(audio, ParquetAudio | PackedAudio):
        path = audio.url.removeprefix("file://")
        if is_url(path):
            return None
    elif isinstance(audio, FileAudio):
        path = str(audio.file)
    else:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path for each of millions of clips)
    except (OSError, ValueError):  # why it cannot be read is found out by whoever reads it
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Journal:
    """A file of one line a clip, in the order in which they were examined; the first says what the columns are.

    Args:
        path: Of the file, there or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None
        self._head = {"earmark": "doctor", "format": 2, "columns": _COLUMNS}

    @contextmanager
    def opened(self, known: Told) -> Iterator[Told]:
        """Tells what is known already, then keeps what is handed to it.

        Args:
            known: Told each clip that an earlier call has examined, again where another one has examined it anew.

        Raises:
            DataError: The file is another version's, or no journal; or another process is writing it.
            OSError: It cannot be written.
        """
        with self.path.open("a+b") as stream:
            _claim(stream, self.path)
            self._stream = stream
            self._read(stream, known)
            flushed_at = time.monotonic()

            def keep(clip: str, facts: Facts, stamp: Stamp | None) -> None:
                nonlocal flushed_at
                stream.write(_line([clip, stamp, *astuple(facts)]))
                if time.monotonic() - flushed_at > _SECONDS:
                    stream.flush()
                    flushed_at = time.monotonic()

            yield keep

    def remove(self) -> None:
        """Ends the examination, as the last thing in the block: until then no other one begins, nor on top of it."""
        if sys.platform == "win32" and self._stream is not None:
            self._stream.close()  # what is open cannot be removed there
        self.path.unlink(missing_ok=True)

    def _read(self, stream: BinaryIO, known: Told) -> None:
        """Tells the lines, and leaves the file with whole ones alone."""
        n_whole = 0
        head = _line(self._head)
        stream.seek(0)
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n") and (number > 1 or head.startswith(line)):
                break  # the job was killed while it wrote
            try:
                if number > 1:
                    clip, stamp, *facts = json.loads(line)
                    known(clip, Facts(*facts), None if stamp is None else Stamp(*stamp))
                elif json.loads(line) != self._head:
                    raise DataError(
                        f"{self.path}: what was begun there was begun by another version of earmark; name another "
                        "folder, or delete the file to begin anew"
                    )
            except (ValueError, TypeError, IndexError) as error:
                raise DataError(f"{self.path}, line {number}: damaged; delete the file to begin anew") from error
            n_whole += len(line)
        stream.truncate(n_whole)
        stream.seek(n_whole)
        if n_whole == 0:
            stream.write(head)
            stream.flush()


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _claim(stream: BinaryIO, path: Path) -> None:
    """Keeps a second call out, where there are file locks; they are gone with their process, however it ends."""
    if sys.platform == "win32":
        return
    try:
        # who has ended since the file was opened has removed it, and the next one would make another
        is_ours = lock_file(stream) and os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        raise DataError(f"{path.parent}: another process is at work there; wait for it, or stop it")
