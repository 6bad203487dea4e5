"""Recordings in the rows of Parquet files, read on demand from files that stay open."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

from earmark.audio.recording import Audio, decode_audio
from earmark.errors import AudioError
from earmark.storage.files import utf8_name
from earmark.storage.recent_values import RecentValues
from earmark.storage.remote import RemotePath, is_url, join_path

_OPEN_FILES: Final = 64
_KEPT_GROUPS: Final = 8
"""Row groups kept in memory: threads that read one file in parallel are at most this far apart."""
_KEPT_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file with recordings, shared by its rows."""

    folder: str = field(repr=False)
    """Path or URL; not part of the identity, as a data set may move between a run's start and its resumption."""
    name: str
    """Name of the file, relative to the folder."""
    column: str
    """Column of the bytes: `audio`, or `audio.bytes` in a column of structs."""

    @property
    def url(self) -> str:
        """Path or URL of the file."""
        return join_path(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class _RowAudio:
    """The common part of recordings in rows, however their bytes are located."""

    shard: Shard
    row: int
    """Index of the row in the file."""
    name: str
    """Id of the clip, for errors."""

    @property
    def url(self) -> str:
        """Path or URL of the row's file."""
        return self.shard.url

    @property
    def source(self) -> str:
        """File and row, which identify the recording whatever its id."""
        return f"{self.url if is_url(self.url) else os.path.realpath(self.url)} row {self.row}"

    @property
    def _place(self) -> str:
        return f"{self.url}, row {self.row} ({self.name})"

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        """Turns any error into an AudioError that names the row."""
        try:
            yield
        except Exception as error:  # remote file systems raise errors of any type
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            text = f"{self._place}: cannot be read, missing, changed, damaged or cut off: {reason}"
            raise AudioError(text) from error


@dataclass(frozen=True, slots=True)
class ParquetAudio(_RowAudio):
    """The recording of a row, or a part of it."""

    row_group: int
    row_in_group: int
    onset: float = 0.0
    """Start of the clip in the recording, in seconds."""
    duration: float | None = None
    """Duration of the clip in seconds; None means up to the end of the recording."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate.

        Raises:
            AudioError: The file or the row cannot be read, or the row has no audio.
        """
        return decode_audio(self.recording(), sample_rate, self._place, self.onset, self.duration)

    def recording(self) -> bytes:
        """The bytes of the recording, as stored in the table.

        Raises:
            AudioError: The file cannot be read, or the row has no audio.
        """
        with self._errors_named():
            data = _open_files(os.getpid()).read(self.shard, self.row_group, self.row_in_group)
        if not data:
            raise AudioError(f"{self._place}: this row has no audio")
        return data


@dataclass(frozen=True, slots=True)
class PackedAudio(_RowAudio):
    """The recording of a row of a pack, located by its byte range: one read, without the footer.

    The footers of thousands of open shards would take gigabytes; parsing a footer for each clip takes a third of a
    processor.
    """

    start: int
    """First byte of the recording in the file."""
    n_bytes: int

    onset = 0.0
    duration = None

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate.

        Raises:
            AudioError: The file cannot be read, or has changed.
        """
        return decode_audio(self.recording(), sample_rate, self._place)

    def recording(self) -> bytes:
        """The bytes of the recording.

        Raises:
            AudioError: The file cannot be read, or is too short.
        """
        with self._errors_named():
            file = _file(self.url, os.getpid())
            if file.is_local:
                with open(file.path, "rb") as stream:  # noqa: PTH123 (a Path for each clip takes longer than to open it)
                    stream.seek(self.start)
                    data = stream.read(self.n_bytes)
            else:
                data = file.read(self.start, self.start + self.n_bytes)
        if len(data) < self.n_bytes:
            raise AudioError(f"{self._place}: the file ends before this recording; run `earmark pack` again")
        return data


@lru_cache(maxsize=4096)
def _file(url: str, process: int) -> RemotePath:
    # one per process: an inherited connection belongs to the parent
    return RemotePath(url)


@cache
def _open_files(process: int) -> "_OpenFiles":
    # one per process: an inherited file handle shares its position with the parent
    return _OpenFiles()


class _OpenFile:
    """An open shard and its lock: a thread that waited for a row group finds it in memory."""

    def __init__(self, shard: Shard) -> None:
        from pyarrow import parquet

        place = RemotePath(shard.url)
        self.lock = threading.Lock()
        # Arrow reads local files directly; from remote files only the requested bytes are fetched
        with utf8_name(place.path) if place.is_local else nullcontext(place.open(read_ahead=False)) as source:
            self.parquet = parquet.ParquetFile(source)


class _OpenFiles:
    """The most recently read shards and their row groups; thread-safe."""

    def __init__(self) -> None:
        self._files = RecentValues[Shard, _OpenFile](_OPEN_FILES)
        self._groups = RecentValues[tuple[Shard, int], Any](_KEPT_GROUPS, _KEPT_BYTES)

    def read(self, shard: Shard, row_group: int, row: int) -> bytes:
        """The bytes in a row of a row group; empty if null."""
        group = self._groups.get((shard, row_group))
        if group is None:
            file = self._files.get(shard) or self._files.add(shard, _OpenFile(shard))
            with file.lock:
                group = self._groups.get((shard, row_group))
                if group is None:
                    table = file.parquet.read_row_group(row_group, columns=[shard.column], use_threads=False)
                    group = self._groups.add((shard, row_group), table.column(0), table.column(0).nbytes)
        value = group[row].as_py()
        if isinstance(value, dict):
            value = value["bytes"]
        return value or b""
