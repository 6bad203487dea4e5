"""The plan of a pack: the shard of each clip and its place in the shard."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.packs import FORMAT
from earmark.data.parquet_audio import ParquetAudio
from earmark.errors import DataError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.storage.files import as_text

_MIXED: Final = 8
"""Number of row groups shuffled together, because a table may be sorted by label. Row groups as large as a shard are
read this many times, smaller ones 2 or 3 times, larger ones once for each shard that has clips of them."""
_NO_SPLIT: Final = "clips"
"""File name prefix of shards with clips outside of all splits."""


@dataclass(frozen=True)
class PackConfig:
    """Settings of a pack."""

    sample_rate: Annotated[int, Limit(at_least=1000, at_most=192000)] = 32000
    """Sample rate (Hz); that of the network to train."""
    codec: Literal["flac", "int16"] = "flac"
    """Format of the 16-bit samples: flac takes about half the space, int16 (WAV) is read faster."""
    clips_per_shard: Annotated[int, Limit(at_least=1)] = 1000
    """Clips per file."""
    clips_per_row_group: Annotated[int, Limit(at_least=1)] = 1
    """Clips that are read together; 1 is best for reading in random order."""
    seed: int = 0
    """Seed of the random order of the clips."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Shard:
    """A file of a pack."""

    file: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Skipped:
    """An unreadable clip that was left out of its shard."""

    id: str
    reason: str


@dataclass(frozen=True)
class Packed:
    """Facts about a finished shard."""

    file: str
    n_clips: int
    n_bytes: int
    sha256: str
    """SHA-256 of the file."""
    duration: float
    """Duration of all clips in seconds."""
    n_overloaded: int
    """Number of clips louder than full scale, whose peaks are clipped."""
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Packed":
        """The shard that `dataclasses.asdict` turned into `values`.

        Raises:
            TypeError: The values are of something else.
            ValueError: The file name leads out of the pack's folder, as that of a foreign manifest may.
        """
        if Path(values["file"]).name != values["file"] or "\\" in values["file"]:
            raise ValueError(f"the name of a file was expected, got {values['file']!r}")
        return cls(**{**values, "skipped": tuple(Skipped(**one) for one in values["skipped"])})


@dataclass(frozen=True)
class Plan:
    """All that the files of a pack depend on, except the sounds."""

    name: str
    """Name of the data set."""
    labels: LabelSet
    config: PackConfig
    shards: tuple[Shard, ...]

    @property
    def n_clips(self) -> int:
        """Number of clips of all shards, unreadable ones included."""
        return sum(len(shard.clips) for shard in self.shards)

    def clips(self) -> Iterator[Clip]:
        """The clips of all shards, in order."""
        return (clip for shard in self.shards for clip in shard.clips)

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 of the label set and of all facts about the clips except their sounds."""
        digest = sha256("\0".join((*self.labels.names, *self.labels.ids)).encode())
        for clip in sorted(self.clips(), key=lambda clip: clip.id):
            known = () if clip.known is None else ("", *clip.known)
            fields = (clip.id, clip.split or "", clip.group or "", *clip.labels, *known)
            digest.update(b"\n" + "\0".join(fields).encode())
        return digest.hexdigest()

    @cached_property
    def order_sha256(self) -> str:
        """SHA-256 of the clips' places."""
        digest = sha256()
        for shard in self.shards:
            digest.update("\0".join((shard.file, *(clip.id for clip in shard.clips), "\n")).encode())
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The plan's entries of `pack.json`."""
        return {
            "format": FORMAT,
            "kind": "pack",
            "name": self.name,
            "settings": asdict(self.config),
            "data_sha256": self.data_sha256,
            "order_sha256": self.order_sha256,
        }

    def schema_json(self) -> dict[str, Any]:
        """Metadata of each shard."""
        return {
            "format": FORMAT,
            "kind": "pack",
            "name": self.name,
            "labels": {"names": list(self.labels.names), "ids": list(self.labels.ids)},
            "sample_rate": self.config.sample_rate,
            "codec": self.config.codec,
        }


def make_plan(dataset: Dataset, config: PackConfig) -> Plan:
    """Shuffles the clips of each split into shards.

    The order follows from the seed and the ids, not from the order of the data set. Clips of one Parquet row group,
    which is read whole for each of them, stay near each other: the row groups are shuffled, then the clips of as many
    row groups as fill a shard (of eight, if at most eight shards hold them). Clips that share a file and have no group
    get one, because a shard does not keep the file that they came from.

    Raises:
        DataError: Two ids or two splits have the same name when written as text or as file names.
    """
    labels = LabelSet(tuple(map(as_text, dataset.labels.names)), tuple(map(as_text, dataset.labels.ids)))
    # making the data set checks that the ids as text differ
    clips = replace(
        dataset, labels=labels, clips=tuple(_with_valid_text(clip) for clip in _grouped(dataset.clips))
    ).clips
    by_split: dict[str | None, list[Clip]] = {}
    by_id = {clip.id: sha256(f"{config.seed}\t{clip.id}".encode()).digest() for clip in clips}
    n_in_block = Counter(map(block_of, clips))

    def key(clip: Clip) -> tuple[bytes, bytes]:
        block = block_of(clip)
        is_shared = block is not None and n_in_block[block] > 1
        return (sha256(f"{config.seed}\t{block}".encode()).digest() if is_shared else by_id[clip.id]), by_id[clip.id]

    for clip in sorted(clips, key=key):
        by_split.setdefault(clip.split, []).append(clip)
    stems = {split: _stem(split) for split in sorted(by_split, key=lambda split: split or "")}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):
        raise DataError(f"{dataset.name}: the shards of two splits would be named alike: {', '.join(stems.values())}")
    shards: list[Shard] = []
    for split, stem in stems.items():
        windows = _windows(by_split[split], lambda clip: key(clip)[0], config.clips_per_shard)
        mixed = [clip for window in windows for clip in sorted(window, key=lambda clip: by_id[clip.id])]
        shards += _cut(stem, mixed, config.clips_per_shard)
    return Plan(as_text(dataset.name), labels, config, tuple(shards))


def _windows(clips: Sequence[Clip], block: Callable[[Clip], bytes], n_clips: int) -> list[list[Clip]]:
    """Groups of whole blocks: each has `n_clips` clips, and `_MIXED` blocks or enough clips for `_MIXED` shards."""
    windows: list[list[Clip]] = []
    window: list[Clip] = []
    n_blocks = 0
    for _, members in groupby(clips, key=block):
        window += members
        n_blocks += 1
        if len(window) >= n_clips and (n_blocks >= _MIXED or len(window) >= _MIXED * n_clips):
            windows.append(window)
            window, n_blocks = [], 0
    if window and windows:
        windows[-1] += window  # too few clips for a group of their own
    elif window:
        windows.append(window)
    return windows


def block_of(clip: Clip) -> tuple[str, int] | None:
    """The file and row group that is read whole for the clip; None unless it is a row of a Parquet file."""
    audio = clip.audio
    return (audio.shard.name, audio.row_group) if isinstance(audio, ParquetAudio) else None


def _cut(stem: str, clips: Sequence[Clip], n_per_shard: int) -> Iterator[Shard]:
    n_shards = -(-len(clips) // n_per_shard)
    for number in range(n_shards):
        first = number * n_per_shard
        yield Shard(f"{stem}-{number:05d}-of-{n_shards:05d}.parquet", tuple(clips[first : first + n_per_shard]))


def _stem(split: str | None) -> str:
    if split is None:
        return _NO_SPLIT
    # readers of Parquet folders skip files whose name begins with a dot or an underscore
    kept = "".join(letter if letter.isalnum() or letter in "-_." else quote(letter, safe="") for letter in split)
    return f"%{ord(kept[0]):02X}{kept[1:]}" if kept[:1] in (".", "_") else kept


def _grouped(clips: Sequence[Clip]) -> list[Clip]:
    files = [clip.audio.source if clip.group is None and isinstance(clip.audio, FileAudio) else None for clip in clips]
    n_clips = Counter(files)
    first: dict[str, str] = {}
    for clip, file in zip(clips, files, strict=True):
        if file is not None and n_clips[file] > 1:
            first[file] = min(first.get(file, clip.id), clip.id)
    return [
        replace(clip, group=first[file]) if file in first else clip for clip, file in zip(clips, files, strict=True)
    ]


def _with_valid_text(clip: Clip) -> Clip:
    if all(
        word is None or word.isascii() for word in (clip.id, clip.split, clip.group, *clip.labels, *(clip.known or ()))
    ):
        return clip
    split, group = (None if word is None else as_text(word) for word in (clip.split, clip.group))
    labels = tuple(map(as_text, clip.labels))
    known = None if clip.known is None else tuple(map(as_text, clip.known))
    return replace(clip, id=as_text(clip.id), labels=labels, split=split, group=group, known=known)
