"""A recording in a row of a Parquet file: read when it is asked for, from files that stay open."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

from earmark.audio.recording import Audio, decode_audio
from earmark.errors import AudioError
from earmark.storage.remote import RemotePath, is_url, join_path

_OPEN_FILES: Final = 64
_KEPT_GROUPS: Final = 8
"""Row groups whose bytes are kept: threads that go through a file side by side are at most so far apart."""
_KEPT_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Shard:
    """A Parquet file with recordings, shared by its rows."""

    folder: str = field(repr=False)
    """Path or URL. A data set may move between a run's start and its resumption: what it is does not depend on it."""
    name: str
    """Of the file, relative to the folder."""
    column: str
    """Where the bytes are: `audio`, or `audio.bytes` in a column of structs."""

    @property
    def url(self) -> str:
        """Path or URL of the file."""
        return join_path(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class _RowAudio:
    """What the recordings of rows have in common, however their bytes are found."""

    shard: Shard
    row: int
    """In the file, from 0."""
    name: str
    """What its data set calls it, for errors."""

    @property
    def url(self) -> str:
        """Path or URL of the file that the row is in."""
        return self.shard.url

    @property
    def source(self) -> str:
        """The row, whatever the data set calls it."""
        return f"{self.url if is_url(self.url) else os.path.realpath(self.url)} row {self.row}"

    @property
    def _place(self) -> str:
        return f"{self.url}, row {self.row} ({self.name})"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Says which row could not be read."""
        try:
            yield
        except Exception as error:  # far away, file systems raise what they like
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            text = f"{self._place}: cannot be read, missing, changed, damaged or cut off: {reason}"
            raise AudioError(text) from error


@dataclass(frozen=True, slots=True)
class ParquetAudio(_RowAudio):
    """The recording of a row, or a part of it."""

    row_group: int
    row_in_group: int
    onset: float = 0.0
    """Where the clip starts in the recording, in seconds."""
    duration: float | None = None
    """How long the clip is, in seconds; None is to the end."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate.

        Raises:
            AudioError: The file or the row cannot be read, or has no bytes of a recording.
        """
        return decode_audio(self.recording(), sample_rate, self._place, self.onset, self.duration)

    def recording(self) -> bytes:
        """All the bytes of the recording, as they are in the table.

        Raises:
            AudioError: The file cannot be read, or there are none in the row.
        """
        with self._told():
            data = _open_files(os.getpid()).read(self.shard, self.row_group, self.row_in_group)
        if not data:
            raise AudioError(f"{self._place}: no bytes of audio in this row")
        return data


@dataclass(frozen=True, slots=True)
class PackedAudio(_RowAudio):
    """The recording of a row of a pack, which says where in the file its bytes are: one read, and no footer.

    Thousands of shards, open, would take gigabytes for their footers; opened for each clip, a third of a processor.
    """

    start: int
    """Where the recording begins in the file, in bytes."""
    n_bytes: int

    onset = 0.0
    duration = None

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, at that rate.

        Raises:
            AudioError: The file cannot be read, or its bytes are no longer those of a recording.
        """
        return decode_audio(self.recording(), sample_rate, self._place)

    def recording(self) -> bytes:
        """All the bytes of the recording.

        Raises:
            AudioError: The file cannot be read, or ends before them.
        """
        with self._told():
            file = _file(self.url, os.getpid())
            if file.is_local:
                with open(file.path, "rb") as stream:  # noqa: PTH123 (a Path for each clip takes longer than to open it)
                    stream.seek(self.start)
                    data = stream.read(self.n_bytes)
            else:
                data = file.read(self.start, self.start + self.n_bytes)
        if len(data) < self.n_bytes:
            raise AudioError(f"{self._place}: the file ends before its bytes; pack anew")
        return data


@lru_cache(maxsize=4096)
def _file(url: str, process: int) -> RemotePath:
    # one for each process: a connection that a fork has inherited is its parent's
    return RemotePath(url)


@cache
def _open_files(process: int) -> "_OpenFiles":
    # one for each process: a handle that a fork has inherited is at the same place of the same file as its parent's
    return _OpenFiles()


class _OpenFile:
    """An open shard and its lock: who waits for a row group finds it read."""

    def __init__(self, shard: Shard) -> None:
        from pyarrow import parquet

        place = RemotePath(shard.url)
        self.lock = threading.Lock()
        # Arrow reads local files without Python; of far ones it is given what it asks for and no more
        source = place.path if place.is_local else place.open(read_ahead=False)
        self.parquet = parquet.ParquetFile(source)


class _OpenFiles:
    """The shards that were read last, and their last row groups; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Shard, _OpenFile] = OrderedDict()
        self._groups: OrderedDict[tuple[Shard, int], Any] = OrderedDict()
        self._n_bytes = 0

    def read(self, shard: Shard, row_group: int, row: int) -> bytes:
        """The bytes in a row of a row group; none where it is null."""
        group = self._kept(shard, row_group)
        if group is None:
            file = self._file(shard)
            with file.lock:
                group = self._kept(shard, row_group)
                if group is None:
                    table = file.parquet.read_row_group(row_group, columns=[shard.column], use_threads=False)
                    group = table.column(0)
                    self._keep(shard, row_group, group)
        value = group[row].as_py()
        if isinstance(value, dict):
            value = value["bytes"]
        return value or b""

    def _file(self, shard: Shard) -> _OpenFile:
        with self._lock:
            if shard in self._files:
                self._files.move_to_end(shard)
                return self._files[shard]
        opened = _OpenFile(shard)  # far away that takes a while; others go on
        with self._lock:
            file = self._files.setdefault(shard, opened)
            while len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)
            return file

    def _kept(self, shard: Shard, row_group: int) -> Any:
        with self._lock:
            key = (shard, row_group)
            if key in self._groups:
                self._groups.move_to_end(key)
            return self._groups.get(key)

    def _keep(self, shard: Shard, row_group: int, group: Any) -> None:
        with self._lock:
            known = self._groups.pop((shard, row_group), None)
            self._groups[shard, row_group] = group
            self._n_bytes += group.nbytes - (0 if known is None else known.nbytes)
            while len(self._groups) > 1 and (len(self._groups) > _KEPT_GROUPS or self._n_bytes > _KEPT_BYTES):
                _, forgotten = self._groups.popitem(last=False)
                self._n_bytes -= forgotten.nbytes
