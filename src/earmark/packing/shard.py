"""One shard: its clips are loaded, resampled, encoded with 16 bits and written as one Parquet file."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np
import soundfile

from earmark.audio.recording import Audio, pcm16
from earmark.data.clips import Clip, FileAudio
from earmark.data.packs import ROWS
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.errors import describe_error
from earmark.packing.plan import PackConfig, Packed, Shard, Skipped, block_of
from earmark.storage.files import as_text, atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED: Final = ("id", "labels", "split", "group")
_FORMATS: Final = {"flac": "FLAC", "int16": "WAV"}
_FOLDERS: Final = re.compile(r"(?<![\w:/.])(?:/[^/:,;\s][^/:,;]*)+/")
"""Folders of absolute paths, but not of URLs, which are the same on every machine."""


def write_shard(
    shard: Shard, out: Path, config: PackConfig, schema: dict[str, Any], begin: Callable[[str], None]
) -> Packed:
    """Writes the file of a shard completely or not at all; unreadable clips are left out.

    `begin` is called with the id of each clip before it is read; `schema` becomes the metadata of the file.

    Raises:
        OSError: The file cannot be written; the text names it.
    """
    from pyarrow import Table, parquet

    durations: list[float] = []
    has_known = any(clip.known is not None for clip in shard.clips)
    repeated: dict[str, list[Any]] = {name: [] for name in (*_REPEATED, *(["known"] if has_known else []))}
    n_overloaded = 0
    skipped: list[Skipped] = []

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal n_overloaded
        for encoded in _in_order(shard.clips, out, config, begin):
            if isinstance(encoded, Skipped):
                skipped.append(encoded)
                continue
            n_overloaded += encoded.is_overloaded
            durations.append(encoded.row["duration"])
            for name, column in repeated.items():
                column.append(encoded.row[name])
            yield encoded.row

    columns = _columns(schema, has_known)
    path = out / shard.file
    # sound is already encoded, and the rest of a row group of one clip is too small for compression to pay
    plain = {"compression": "NONE", "use_dictionary": False, "write_statistics": False}
    with (
        atomic_write(path) as temporary,
        temporary.open("w+b") as sink,
        parquet.ParquetWriter(sink, columns, **plain) as file,
    ):
        places = _Places(sink)
        left = rows()
        while group := list(islice(left, config.clips_per_row_group)):
            file.write_table(Table.from_pylist(group, columns))
            places.find([row["audio"]["bytes"] for row in group])
        # a reader gets all columns but the sound from the end of a remote file, without a request for each row group,
        # and reads a clip by its byte range, without Parquet
        file.add_key_value_metadata({ROWS: json.dumps({**repeated, "start": places.starts, "n_bytes": places.sizes})})
    n_bytes, digest = measure(path)
    return Packed(shard.file, len(durations), n_bytes, digest, sum(durations, 0.0), n_overloaded, tuple(skipped))


class _EncodedClip(NamedTuple):
    row: dict[str, Any]
    is_overloaded: bool


def _in_order(
    clips: Sequence[Clip], out: Path, config: PackConfig, begin: Callable[[str], None]
) -> Iterator[_EncodedClip | Skipped]:
    """Yields the row of each clip; clips of one row group are read together and wait on disk for their turn."""
    blocks = [block_of(clip) for clip in clips]
    if all(block is None for block in blocks):
        yield from (_encode_clip(clip, config, begin) for clip in clips)
        return
    waiting: dict[int, tuple[_EncodedClip | Skipped, int]] = {}
    with TemporaryFile(dir=out) as sound:
        for place in sorted(range(len(clips)), key=lambda place: (blocks[place] or ("", 0), place)):
            encoded = _encode_clip(clips[place], config, begin)
            waiting[place] = encoded, sound.tell()
            if isinstance(encoded, _EncodedClip):
                data = encoded.row["audio"]["bytes"]
                sound.write(data)
                encoded.row["audio"] = len(data)
        for place in range(len(clips)):
            encoded, start = waiting.pop(place)
            if isinstance(encoded, _EncodedClip):
                sound.seek(start)
                encoded.row["audio"] = {"bytes": sound.read(encoded.row["audio"]), "path": None}
            yield encoded


def _encode_clip(clip: Clip, config: PackConfig, begin: Callable[[str], None]) -> _EncodedClip | Skipped:
    begin(clip.id)
    try:
        audio = clip.load(config.sample_rate)
        is_overloaded = bool(np.abs(audio.waveform).max() > 1)
    except Exception as error:  # no clip may keep the others from being packed
        return Skipped(clip.id, _reason(clip, error))
    data = encode(audio, config.codec)
    row = {
        "id": clip.id,
        "audio": {"bytes": data, "path": None},
        "labels": clip.labels,
        "known": clip.known,
        "split": clip.split,
        "group": clip.group,
        "duration": audio.duration,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return _EncodedClip(row, is_overloaded)


class _Places:
    """Byte ranges of the recordings in the file being written."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._end = sink.tell()
        self.starts: list[int] = []
        self.sizes: list[int] = []

    def find(self, recordings: Sequence[bytes]) -> None:
        """Finds recordings, in order, in the bytes written since the last call."""
        self._sink.flush()
        begin, self._end = self._end, self._sink.tell()
        written = os.pread(self._sink.fileno(), self._end - begin, begin)
        place = 0
        for data in recordings:
            place = written.index(data, place)
            self.starts.append(begin + place)
            self.sizes.append(len(data))
            place += len(data)


def measure(path: Path) -> tuple[int, str]:
    """Size of a file in bytes, and its SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def encode(audio: Audio, codec: str) -> bytes:
    """A 16-bit audio file as bytes, the same as `earmark.audio.recording.save_audio` writes."""
    stream = BytesIO()
    soundfile.write(stream, pcm16(audio.waveform), audio.sample_rate, format=_FORMATS[codec], subtype="PCM_16")
    return stream.getvalue()


def _columns(schema: dict[str, Any], has_known: bool) -> "pa.Schema":
    """The columns of a shard; `known` is there where labels of a clip are unknown, and null in clips without any."""
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            # the Audio feature of Hugging Face's datasets
            ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("labels", pa.list_(pa.string())),
            *([("known", pa.list_(pa.string()))] if has_known else []),
            ("split", pa.string()),
            ("group", pa.string()),
            ("duration", pa.float64()),
            ("sha256", pa.string()),
        ],
        metadata={b"earmark": json.dumps(schema).encode()},
    )


def _reason(clip: Clip, error: Exception) -> str:
    """One line without folder names, which differ between machines."""
    text = getattr(error, "strerror", None) or describe_error(error)
    if isinstance(clip.audio, ParquetAudio | PackedAudio):
        text = text.replace(clip.audio.url, clip.audio.shard.name)
    if isinstance(clip.audio, FileAudio):
        text = text.removeprefix(f"{clip.audio.path}: ")
    return as_text(_FOLDERS.sub("", text))
