"""What a pack will be before any of it is made: which clip lies in which shard, and in which place there."""

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

_MIXED: Final = 8
"""Row groups whose clips are mixed, if as many shards hold them: a table may be sorted by label. Those with as many
rows as a shard has clips are each read as often, smaller ones 2 or 3 times, larger ones once a shard of theirs."""
_NO_SPLIT: Final = "clips"
"""What the shards of clips outside every split are called."""


@dataclass(frozen=True)
class PackConfig:
    """How clips are packed."""

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
    """Its name."""
    clips: tuple[Clip, ...]
    """What is in it, in this order."""


@dataclass(frozen=True)
class Skipped:
    """A clip that is not in its shard."""

    id: str
    reason: str


@dataclass(frozen=True)
class Packed:
    """What came out of one shard."""

    file: str
    n_clips: int
    n_bytes: int
    """Of the file."""
    sha256: str
    """Of the file."""
    duration: float
    """Seconds of sound."""
    n_overloaded: int
    """Clips louder than full scale, whose peaks are cut off."""
    skipped: tuple[Skipped, ...] = ()
    """Clips that could not be read."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Packed":
        """From what `dataclasses.asdict` made of one.

        Raises:
            TypeError: It is nothing of the kind.
            ValueError: Its file is not one of the pack's folder: a manifest may come from anywhere.
        """
        if Path(values["file"]).name != values["file"] or "\\" in values["file"]:
            raise ValueError(f"the name of a file was expected, got {values['file']!r}")
        return cls(**{**values, "skipped": tuple(Skipped(**one) for one in values["skipped"])})


@dataclass(frozen=True)
class Plan:
    """All that decides what the files of a pack hold."""

    name: str
    """Of the data set."""
    labels: LabelSet
    config: PackConfig
    shards: tuple[Shard, ...]

    @property
    def n_clips(self) -> int:
        """In all shards together, whether they can be read or not."""
        return sum(len(shard.clips) for shard in self.shards)

    def clips(self) -> Iterator[Clip]:
        """Shard by shard."""
        return (clip for shard in self.shards for clip in shard.clips)

    @cached_property
    def data_sha256(self) -> str:
        """Of the label set and of all that is known of each clip but its sound."""
        digest = sha256("\0".join((*self.labels.names, *self.labels.ids)).encode())
        for clip in sorted(self.clips(), key=lambda clip: clip.id):
            fields = (clip.id, clip.split or "", clip.group or "", *clip.labels)
            digest.update(b"\n" + "\0".join(fields).encode())
        return digest.hexdigest()

    @cached_property
    def order_sha256(self) -> str:
        """Of which clips are in which shard, and where."""
        digest = sha256()
        for shard in self.shards:
            digest.update("\0".join((shard.file, *(clip.id for clip in shard.clips), "\n")).encode())
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What `pack.json` says of it."""
        return {
            "format": FORMAT,
            "kind": "pack",
            "name": self.name,
            "settings": asdict(self.config),
            "data_sha256": self.data_sha256,
            "order_sha256": self.order_sha256,
        }

    @property
    def is_by_ids(self) -> bool:
        """Whether the order follows from ids and seed alone, not from where the clips lie."""
        return all(block_of(clip) is None for clip in self.clips())

    def schema_json(self) -> dict[str, Any]:
        """What each shard says of itself."""
        return {
            "format": FORMAT,
            "kind": "pack",
            "name": self.name,
            "labels": {"names": list(self.labels.names), "ids": list(self.labels.ids)},
            "sample_rate": self.config.sample_rate,
            "codec": self.config.codec,
        }


def make_plan(dataset: Dataset, config: PackConfig) -> Plan:
    """Shuffles the clips into shards, those of each split into shards of their own.

    The order follows from the seed and the ids alone, not from the order of the data set. But rows of Parquet that are
    in one row group, which is read whole for each, stay near each other: it is the row groups that are shuffled, and
    then the clips of as many of them as fill a shard, of eight where eight shards hold them. Clips that share a file
    and have no group get one, because a shard no longer tells that they come from one source.

    Raises:
        DataError: Two ids, or the names of two splits, cannot be told apart as the text of a table or of file names.
    """
    labels = LabelSet(tuple(map(_text, dataset.labels.names)), tuple(map(_text, dataset.labels.ids)))
    # as a data set it tells of ids that are there twice
    clips = replace(dataset, labels=labels, clips=tuple(_as_text(clip) for clip in _grouped(dataset.clips))).clips
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
    return Plan(_text(dataset.name), labels, config, tuple(shards))


def _windows(clips: Sequence[Clip], block: Callable[[Clip], bytes], n_clips: int) -> list[list[Clip]]:
    """Clips of whole blocks: enough to fill a shard of `n_clips`, and of `_MIXED` blocks or for as many shards."""
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
        windows[-1] += window  # too few to be mixed among themselves
    elif window:
        windows.append(window)
    return windows


def block_of(clip: Clip) -> tuple[str, int] | None:
    """What is read whole for a clip and others: the file and the row group of a row of Parquet; else nothing."""
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
    # a first dot or underscore would hide the file from those that read folders of Parquet
    kept = "".join(letter if letter.isalnum() or letter in "-_." else quote(letter, safe="") for letter in split)
    return f"%{ord(kept[0]):02X}{kept[1:]}" if kept[:1] in (".", "_") else kept


def _grouped(clips: Sequence[Clip]) -> list[Clip]:
    files = [clip.audio.source if clip.group is None and isinstance(clip.audio, FileAudio) else None for clip in clips]
    n_clips = Counter(files)
    first: dict[str, str] = {}
    for clip, file in zip(clips, files, strict=True):
        if file is not None and n_clips[file] > 1:
            first[file] = min(first.get(file, clip.id), clip.id)
    if not first:
        return list(clips)
    return [
        replace(clip, group=first[file]) if file in first else clip for clip, file in zip(clips, files, strict=True)
    ]


def _as_text(clip: Clip) -> Clip:
    words = (clip.id, clip.split, clip.group, *clip.labels)
    if all(word is None or word.isascii() for word in words):
        return clip
    split, group = (None if word is None else _text(word) for word in (clip.split, clip.group))
    return replace(clip, id=_text(clip.id), labels=tuple(map(_text, clip.labels)), split=split, group=group)


def _text(text: str) -> str:
    """The text with bytes that are none, which names of files can hold, written out."""
    return text.encode("utf-8", "backslashreplace").decode()
