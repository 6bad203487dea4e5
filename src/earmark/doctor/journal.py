"""The journal of an examination: the facts of each clip are on disk as soon as they are known."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from earmark.data.clips import AudioReader, FileAudio
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.doctor.facts import Facts
from earmark.errors import DataError
from earmark.storage.journal import Journal, open_journal
from earmark.storage.remote import is_url

JOURNAL: Final = "journal.jsonl"
_HEAD: Final = {
    "earmark": "doctor",
    "format": 2,
    "columns": ["clip", "stamp", *(field.name for field in fields(Facts))],
}
_SECONDS: Final = 0.5
"""Maximum time of work that a kill may cost."""


class Stamp(NamedTuple):
    """Facts about a file that change when its content does."""

    n_bytes: int
    mtime_ns: int
    ctime_ns: int
    """Also changes when another file takes the name, whatever its size and time."""


class Entry(NamedTuple):
    """One examined clip."""

    clip: str
    """The clip's key: its id and a hash of its place."""
    facts: Facts
    stamp: Stamp | None
    """Stamp of the clip's file before the examination."""

    def to_json(self) -> list[Any]:
        """The entry as a line of the journal."""
        return [self.clip, self.stamp, *astuple(self.facts)]

    @classmethod
    def from_json(cls, values: Any) -> "Entry":
        """The entry that `to_json` wrote."""
        clip, stamp, *facts = values
        return cls(clip, Facts(*facts), None if stamp is None else Stamp(*stamp))


def stamp_of(audio: AudioReader) -> Stamp | None:
    """The stamp of a clip's file; None if the clip has no local file or the file is missing.

    Remote files have no stamp: there may be thousands, and their file systems differ in the facts that they give.
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
    except (OSError, ValueError):  # the reader reports the reason
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@contextmanager
def open_facts_journal(path: Path) -> Iterator[Journal]:
    """Opens the journal of an examination; no other process can open it until the block ends.

    A clip that was examined again has several entries, the last one counts.

    Raises:
        DataError: Another version of earmark wrote the file, it is not a journal, or another process is at work there.
        OSError: It cannot be written.
    """
    with open_journal(path, _HEAD, seconds=_SECONDS) as journal:
        if journal.head != _HEAD:
            raise DataError(
                f"{path}: the examination there was begun by another version of earmark; name another folder, or "
                "delete the file to start again"
            )
        yield journal
