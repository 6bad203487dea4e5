"""One shard made: its clips are read, brought to rate and 16 bits, and written as one Parquet file."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import numpy as np
import soundfile

from earmark.audio.recording import Audio, pcm16
from earmark.data.clips import Clip, FileAudio
from earmark.data.packs import ROWS
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.errors import EarmarkError
from earmark.packing.plan import PackConfig, Packed, Shard, Skipped, block_of
from earmark.storage.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

_REPEATED: Final = ("id", "labels", "split", "group")
_FORMATS: Final = {"flac": "FLAC", "int16": "WAV"}
_FOLDERS: Final = re.compile(r"(?<![\w:/.])(?:/[^/:,;\s][^/:,;]*)+/")
"""Of absolute paths; those of URLs are the same everywhere."""


def write_shard(
    shard: Shard, out: Path, config: PackConfig, said: dict[str, Any], begin: Callable[[str], None]
) -> Packed:
    """Makes the file of a shard, whole or not at all; a clip that cannot be read is left out.

    Args:
        shard: What to make.
        out: The folder.
        config: How.
        said: What the file says of itself.
        begin: Told the id of each clip before it is read; what it raises ends the work.

    Raises:
        OSError: The file cannot be written; the text names it.
    """
    from pyarrow import Table, parquet

    durations: list[float] = []
    repeated: dict[str, list[Any]] = {name: [] for name in _REPEATED}
    n_overloaded = 0
    skipped: list[Skipped] = []

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal n_overloaded
        for made in _in_order(shard.clips, out, config, begin):
            if isinstance(made, Skipped):
                skipped.append(made)
                continue
            n_overloaded += made.is_overloaded
            durations.append(made.row["duration"])
            for name, column in repeated.items():
                column.append(made.row[name])
            yield made.row

    schema = _schema(said)
    path = out / shard.file
    # nothing is compressed: sound is already, and a row group of one clip has nothing else that would be worth it
    plain = {"compression": "NONE", "use_dictionary": False, "write_statistics": False}
    with (
        atomic_write(path) as temporary,
        temporary.open("w+b") as sink,
        parquet.ParquetWriter(sink, schema, **plain) as file,
    ):
        places = _Places(sink)
        for group in _in_groups(rows(), config.clips_per_row_group):
            file.write_table(Table.from_pylist(group, schema))
            places.find([row["audio"]["bytes"] for row in group])
        # who opens the file far away has all but the sound from its end, without a request for each row group, and
        # who reads a clip needs neither the footer nor Parquet
        file.add_key_value_metadata({ROWS: json.dumps({**repeated, "start": places.starts, "n_bytes": places.sizes})})
    n_bytes, digest = measure(path)
    return Packed(shard.file, len(durations), n_bytes, digest, sum(durations, 0.0), n_overloaded, tuple(skipped))


class _Made(NamedTuple):
    row: dict[str, Any]
    is_overloaded: bool


def _in_order(
    clips: Sequence[Clip], out: Path, config: PackConfig, begin: Callable[[str], None]
) -> Iterator[_Made | Skipped]:
    """What becomes of each clip; rows that are read as one are read one after the other, and wait on the disk."""
    blocks = [block_of(clip) for clip in clips]
    if all(block is None for block in blocks):
        yield from (_made(clip, config, begin) for clip in clips)
        return
    waiting: dict[int, tuple[_Made | Skipped, int]] = {}
    with TemporaryFile(dir=out) as sound:
        for place in sorted(range(len(clips)), key=lambda place: (blocks[place] or ("", 0), place)):
            made = _made(clips[place], config, begin)
            waiting[place] = made, sound.tell()
            if isinstance(made, _Made):
                data = made.row["audio"]["bytes"]
                sound.write(data)
                made.row["audio"] = len(data)
        for place in range(len(clips)):
            made, start = waiting.pop(place)
            if isinstance(made, _Made):
                sound.seek(start)
                made.row["audio"] = {"bytes": sound.read(made.row["audio"]), "path": None}
            yield made


def _made(clip: Clip, config: PackConfig, begin: Callable[[str], None]) -> _Made | Skipped:
    begin(clip.id)
    try:
        audio = clip.load(config.sample_rate)
        is_overloaded = bool(np.abs(audio.waveform).max() > 1)
    except Exception as error:  # whatever one clip does to a decoder, the others are packed
        return Skipped(clip.id, _reason(clip, error))
    return _Made(_row(clip, audio, config.codec), is_overloaded)


class _Places:
    """Where in a file the recordings lie that were written to it."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._end = sink.tell()
        self.starts: list[int] = []
        self.sizes: list[int] = []

    def find(self, recordings: Sequence[bytes]) -> None:
        """Looks for recordings, in this order, in what was written since the last call."""
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
    """Bytes of a file, and their SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def encode(audio: Audio, codec: str) -> bytes:
    """A whole file of 16-bit samples in memory; as `earmark.audio.recording.save_audio` would write it."""
    stream = BytesIO()
    soundfile.write(stream, pcm16(audio.waveform), audio.sample_rate, format=_FORMATS[codec], subtype="PCM_16")
    return stream.getvalue()


def _row(clip: Clip, audio: Audio, codec: str) -> dict[str, Any]:
    data = encode(audio, codec)
    return {
        "id": clip.id,
        "audio": {"bytes": data, "path": None},
        "labels": clip.labels,
        "split": clip.split,
        "group": clip.group,
        "duration": audio.duration,
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _schema(said: dict[str, Any]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            # as the Audio of Hugging Face's datasets is kept
            ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("labels", pa.list_(pa.string())),
            ("split", pa.string()),
            ("group", pa.string()),
            ("duration", pa.float64()),
            ("sha256", pa.string()),
        ],
        metadata={b"earmark": json.dumps(said).encode()},
    )


def _in_groups(rows: Iterator[dict[str, Any]], n_rows: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == n_rows:
            yield group
            group = []
    if group:
        yield group


def _reason(clip: Clip, error: Exception) -> str:
    """One line; without folders, which are others on another machine."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    else:
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, EarmarkError):
            text = f"{type(error).__name__}: {text}"
    if isinstance(clip.audio, ParquetAudio | PackedAudio):
        text = text.replace(clip.audio.url, clip.audio.shard.name)
    if isinstance(clip.audio, FileAudio):
        text = text.removeprefix(f"{clip.audio.path}: ")
    text = _FOLDERS.sub("", text)
    return text.encode("utf-8", "backslashreplace").decode()
