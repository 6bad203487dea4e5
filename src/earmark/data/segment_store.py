"""Stores of encoded clips, as `earmark encode` writes them: arrays of segments, and what is known of each clip."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark.data.clips import Clip, Dataset
from earmark.data.segments import Encoder, SegmentedClip, SegmentTable
from earmark.errors import DataError
from earmark.labels import LabelSet
from earmark.storage.files import atomic_write, sha256_of

FORMAT: Final = 1
MANIFEST: Final = "segments.json"
"""Name of the file that describes a finished store."""
JOURNAL: Final = "_segments.jsonl"
"""Name of the file that marks an unfinished store."""
ENCODER: Final = "encoder.safetensors"
"""Name of the checkpoint of the encoder; a store by an exported `.onnx` file has none."""

_COLUMNS: Final = ("id", "labels", "split", "group")
"""Columns of a shard's file of clips."""


@dataclass(frozen=True)
class StoredShard:
    """A finished shard: `segments-00000.npy` holds its segments, `segments-00000.json` its clips."""

    file: str
    n_clips: int
    n_segments: int
    sha256: str
    """SHA-256 of the segments' file."""
    clips_sha256: str
    """SHA-256 of the clips' file."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Id and error of the clips that could not be read."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "StoredShard":
        """The shard that `dataclasses.asdict` turned into `values`.

        Raises:
            TypeError: The values are of something else.
            ValueError: The file name leads out of the store.
        """
        if Path(values["file"]).name != values["file"] or "\\" in values["file"]:
            raise ValueError(f"the name of a file was expected, got {values['file']!r}")
        return cls(**{**values, "skipped": tuple((name, reason) for name, reason in values["skipped"])})


def write_shard(
    folder: Path,
    number: int,
    clips: Sequence[Clip],
    segments: Sequence[Sequence[np.ndarray]],
    labels: LabelSet,
    skipped: Iterable[tuple[str, str]] = (),
) -> StoredShard:
    """Writes a shard.

    Args:
        folder: The store.
        number: Number of the shard.
        clips: Its clips.
        segments: The segments of each clip: an array (segment, channel) for each of its crops.
        labels: Label set of the data set.
        skipped: Id and error of clips that could not be read.
    """
    file = f"segments-{number:05d}.npy"
    rows = [array for crops in segments for array in crops]
    with atomic_write(folder / file) as path, path.open("wb") as stream:
        np.save(stream, np.concatenate(rows) if rows else np.zeros((0, 0), np.float16), allow_pickle=False)
    columns: dict[str, Any] = {
        "id": [clip.id for clip in clips],
        "labels": [[labels.index(label) for label in clip.labels] for clip in clips],
        "split": [clip.split for clip in clips],
        "group": [clip.group for clip in clips],
        "n_segments": [len(array) for array in rows],
    }
    if any(clip.known is not None for clip in clips):
        columns["known"] = [clip.known and [labels.index(label) for label in clip.known] for clip in clips]
    clips_file = _clips_file(folder, file)
    with atomic_write(clips_file) as path:
        path.write_text(json.dumps(columns), encoding="utf-8")
    n_segments = sum(map(len, rows))
    return StoredShard(file, len(clips), n_segments, sha256_of(folder / file), sha256_of(clips_file), tuple(skipped))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The description of a finished store.

    Raises:
        DataError: There is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        about = json.loads(path.read_bytes())
        if about["kind"] != "segments" or about["format"] != FORMAT:
            raise DataError(f"{path}: a store of format {FORMAT} was expected, not {about['kind']} {about['format']}")
        Encoder(**about["encoder"])
        LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
        if not isinstance(about["name"], str) or not isinstance(about["settings"]["n_crops"], int):
            raise TypeError("a name and a number of crops were expected")
        about["shards"] = [StoredShard.from_json(shard) for shard in about["shards"]]
    except FileNotFoundError:
        if (folder / JOURNAL).exists():
            text = "unfinished; run the same `earmark encode` command again to finish it"
            raise DataError(f"{folder}: {text}") from None
        raise DataError(f"{folder}: no store of encoded clips (no {MANIFEST} in it)") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged, or no description of a store ({error!r}); encode again") from error
    return dict(about)


def read_segments(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a store, with segments that are mapped into memory.

    Raises:
        DataError: The store is unfinished or damaged.
    """
    folder = Path(path)
    about = read_manifest(folder)
    labels = LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
    columns = [_columns(folder, shard) for shard in about["shards"]]
    table = _table(folder, about, columns)
    n_crops = about["settings"]["n_crops"]
    clips: list[Clip] = []
    for column in columns:
        of_shard = column.get("known") or [None] * len(column["id"])
        for id_, own, split, group, known in zip(*(column[name] for name in _COLUMNS), of_shard, strict=True):
            names = tuple(labels.names[label] for label in own)
            judged = None if known is None else tuple(labels.names[label] for label in known)
            clips.append(Clip(id_, names, SegmentedClip(table, n_crops * len(clips)), split, group, judged))
    return Dataset(about["name"], labels, tuple(clips))


def open_table(folder: Path) -> SegmentTable:
    """The segments of a store.

    Raises:
        DataError: As for `read_segments`.
    """
    about = read_manifest(folder)
    return _table(folder, about, [_columns(folder, shard) for shard in about["shards"]])


def is_whole(folder: Path, shard: StoredShard) -> bool:
    """Whether the files of a shard are there and have their checksums."""
    files = {folder / shard.file: shard.sha256, _clips_file(folder, shard.file): shard.clips_sha256}
    return all(path.is_file() and sha256_of(path) == expected for path, expected in files.items())


def _clips_file(folder: Path, file: str) -> Path:
    return (folder / file).with_suffix(".json")


def _columns(folder: Path, shard: StoredShard) -> dict[str, Any]:
    path = _clips_file(folder, shard.file)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != shard.clips_sha256:
            raise DataError(f"{path}: damaged, its checksum differs; encode again")
        return dict(json.loads(content))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; encode again") from error


def _table(folder: Path, about: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> SegmentTable:
    n_channels = about["encoder"]["n_channels"]
    blocks = [_mapped(folder / s.file, (s.n_segments, n_channels)) for s in about["shards"] if s.n_segments]
    lengths = np.array([n for column in columns for n in column["n_segments"]], np.int64)
    if not len(lengths):
        raise DataError(f"{folder}: no clip in this store could be read")
    return SegmentTable(Encoder(**about["encoder"]), blocks, lengths, about["settings"]["n_crops"], folder)


def _mapped(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        block: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: missing or cut off ({error}); encode again") from error
    if block.shape != shape:
        raise DataError(f"{path}: segments of shape {shape} were expected, not {block.shape}; encode again")
    return block


def manifest(plan: Mapping[str, Any], shards: Sequence[StoredShard]) -> dict[str, Any]:
    """The content of `segments.json`: the plan and the shards."""
    return {**plan, "n_clips": sum(shard.n_clips for shard in shards), "shards": [asdict(shard) for shard in shards]}
