"""Clips in Parquet files, labels and recordings side by side: AudioSet as it is spread now, earmark's own, one's own.

What is opened is footers and columns without audio; a recording is read when its clip is (`parquet_audio`).
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import chain, pairwise, repeat
from typing import Any, Final, NamedTuple

import numpy as np

from earmark.data import packs
from earmark.data.clips import AudioReader, Clip, Dataset
from earmark.data.parquet_audio import PackedAudio, ParquetAudio, Shard
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet
from earmark.storage import Place

_AUDIOSET: Final = "a file of AudioSet"
_PACK: Final = "a file of `earmark pack`"
_OWN: Final = "a table of one's own"
_ACCEPTED: Final = (
    "audio, labels and either path or id (and optionally onset, offset or duration, split, group), or AudioSet's "
    "video_id, audio and labels"
)
_TIMES: Final = ("onset", "offset", "duration")
_AT_ONCE: Final = 16
_LARGE_GROUP: Final = 16 << 20

_Array = np.ndarray[Any, np.dtype[Any]]


class _Table(NamedTuple):
    """What is read of a shard: all but the audio. Columns are Arrow's, None where there is no such column."""

    shard: Shard
    kind: str
    about: dict[str, Any]
    """What `earmark pack` says of its data set."""
    id_column: str
    ids: Any
    labels: Any
    """Lists of texts."""
    splits: Any
    groups: Any
    times: dict[str, Any]
    rows_per_group: list[int]
    ranges: tuple[list[int], list[int]] | None
    """First byte and bytes of each recording in the file, where it says so."""
    largest_group: int
    """Compressed bytes of audio; 0 where that is not looked at."""

    def row(self, number: int) -> str:
        """The place of a row, for errors."""
        return f"{self.shard.url}, row {number} ({self.ids[number].as_py()})"


def read_parquet(url: str, lenient: bool = False) -> Dataset:
    """The clips of a Parquet file, of all in a folder and its sub-folders, or of those that wildcards fit.

    By its columns a file is one of three: AudioSet as it is spread through the Hugging Face Hub (`video_id`, `audio`,
    `labels` as MIDs), whose clips have the video as id and group; what `earmark pack` writes; or one's own, with
    `audio` (all bytes of a recording's file, or a struct that has them in `bytes`), `labels` (a list, or a text joined
    by `;`), `path` or `id`, and optionally `onset`, `offset` or `duration` in seconds for a part of the recording,
    `split` and `group`. Parts of one `path` are a group where there is no other. Hidden files are passed over.

    Args:
        url: A path, or a URL that fsspec or Arrow knows.
        lenient: Passes over labels outside of the set and rows without labels.

    Raises:
        DataError: There is no such file, or a pack that is not finished; a file has other columns, or rows without id
            or labels; files do not go together; or pyarrow or fsspec are not installed.
    """
    if missing := [name for name in ("pyarrow", "fsspec") if find_spec(name) is None]:
        raise DataError(f"{url}: needs {' and '.join(missing)}, not installed here: pip install 'earmark[parquet]'")
    place = Place(url).absolute
    root, names = _files(place)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        tables = list(pool.map(lambda name: _read(root, name), names))
    first = tables[0]
    for table in tables:
        if table.kind != first.kind:
            raise DataError(f"{table.shard.url}: {table.kind} beside {first.kind}; name files of one kind")
    if first.kind == _PACK:
        _check_whole(place, root, names)
    labels, names_of = _LABELS[first.kind](tables)
    _tell_of_large_groups(url, tables)
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    outside: list[tuple[str, tuple[str, ...]]] | None = [] if lenient else None
    clips = tuple(chain.from_iterable(_clips(table, names_of, shared, outside) for table in tables))
    name = {_AUDIOSET: "AudioSet", _PACK: first.about.get("name")}.get(first.kind)
    return Dataset(name or place.name, labels, clips, outside=tuple(outside or ()))


def _files(place: Place) -> tuple[str, list[str]]:
    """A folder and the Parquet files in it."""
    try:
        if not place.has_wildcards and place.is_file():
            return place.folder, [place.name]
        root = place.root
        # what a killed writer leaves behind is hidden
        listed = [name for name in place.files() if not any(word.startswith(".") for word in name.split("/"))]
        names = [name for name in listed if root != place or name.endswith(".parquet")]
        folders = sorted({root.url, *(root.child(name).folder for name in names)})
        unfinished = [folder for folder in folders if Place(folder).child(packs.JOURNAL).is_file()]
    except OSError as error:
        raise DataError(f"{place.url}: cannot be opened: {error.strerror or error}") from error
    if unfinished:
        raise DataError(f"{unfinished[0]}: the pack is not finished; run the same `earmark pack` again, it goes on")
    if not names:
        raise DataError(f"{place.url}: no Parquet file there; a file, a folder of some or wildcards were expected")
    return root.url, names


def _check_whole(place: Place, root: str, names: Sequence[str]) -> None:
    """Refuses a pack that lacks files; where some files were named, and not the folder, it is told."""
    manifest = Place(root).child(packs.MANIFEST)
    is_all = place.url == root
    gone = packs.missing_files(names, manifest.read() if is_all and manifest.is_file() else None)
    if gone:
        shown = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
        text = f"{place.url}: {len(gone)} of {len(gone) + len(names)} files of the pack are not there: {shown}"
        if is_all:
            raise DataError(
                f"{text}; bring them back, or name those that are to be read, as in parquet:'PACK/*.parquet'"
            )
        warnings.warn(text, EarmarkWarning, stacklevel=3)


def _read(folder: str, name: str) -> _Table:
    from pyarrow import ArrowException, parquet

    url = Shard(folder, name, "audio").url
    place = Place(url)
    try:
        # Arrow reads local files without Python
        with nullcontext(place.path) if place.is_local else place.open() as source, parquet.ParquetFile(source) as file:
            return _read_columns(folder, name, file)
    except (OSError, ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{url}: cannot be read as Parquet, damaged or cut off: {reason}") from error


def _read_columns(folder: str, name: str, file: Any) -> _Table:
    import pyarrow as pa

    schema, footer = file.schema_arrow, file.metadata
    url = Shard(folder, name, "audio").url
    about = packs.about(url, (schema.metadata or {}).get(b"earmark"))
    kind, id_column = _kind(url, schema.names, about)
    shard = Shard(folder, name, _audio_column(url, schema))
    times = [time for time in _TIMES if kind == _OWN and time in schema.names]
    group = "group" if "group" in schema.names else "path" if times and "path" in schema.names else None
    wanted = {name for name in (id_column, "labels", "split", group, *times) if name and name in schema.names}
    rows = (footer.metadata or {}).get(packs.ROWS) if kind == _PACK else None
    read = file.read(columns=sorted(wanted)) if rows is None else packs.rows(url, rows, schema, footer.num_rows, wanted)

    def column(column: str | None, type_: Any) -> Any:
        if column not in wanted:
            return None
        try:
            return read.column(column).cast(type_).combine_chunks()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            found = schema.field(column).type
            raise DataError(f"{url}: column {column} as {type_} was expected, got {found}") from error

    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    largest = 0
    if kind != _PACK and groups:  # earmark's own are small, and many
        paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
        audio = paths.index(shard.column)
        largest = max(of_group.column(audio).total_compressed_size for of_group in groups)
    joined = pa.types.is_string(schema.field("labels").type) or pa.types.is_large_string(schema.field("labels").type)
    return _Table(
        shard,
        kind,
        about,
        id_column,
        ids=column(id_column, pa.string()),
        labels=_split(column("labels", pa.string())) if joined else column("labels", pa.list_(pa.string())),
        splits=column("split", pa.string()),
        groups=None if kind == _AUDIOSET else column(group, pa.string()),
        times={time: column(time, pa.float64()) for time in times},
        rows_per_group=[of_group.num_rows for of_group in groups],
        ranges=packs.ranges(url, rows, footer.num_rows),
        largest_group=largest,
    )


def _audio_column(url: str, schema: Any) -> str:
    """Where the bytes of the recordings are."""
    from pyarrow import types

    type_ = schema.field("audio").type
    names = [field.name for field in type_] if types.is_struct(type_) else []
    bytes_ = type_.field("bytes").type if "bytes" in names else type_
    if not (types.is_binary(bytes_) or types.is_large_binary(bytes_)):
        raise DataError(f"{url}: column audio with the bytes of recordings was expected, got {type_}")
    return "audio.bytes" if names else "audio"


def _kind(url: str, columns: Sequence[str], about: Mapping[str, Any]) -> tuple[str, str]:
    """What a file is by its columns, and which of them has the ids."""
    if {"audio", "labels"} <= set(columns):
        if about and "id" in columns:
            return _PACK, "id"
        if "video_id" in columns:
            return _AUDIOSET, "video_id"
        for name in ("id", "path"):
            if name in columns:
                return _OWN, name
    raise DataError(f"{url}: the columns {_ACCEPTED} were expected, got {', '.join(columns) or 'none'}")


def _split(joined: Any) -> Any:
    """Lists of labels from texts joined by `;`."""
    import pyarrow as pa
    from pyarrow import compute

    lists = compute.split_pattern(joined, ";")
    words = compute.utf8_trim_whitespace(lists.values)
    return pa.ListArray.from_arrays(lists.offsets, words, mask=joined.is_null())


def _audioset_labels(tables: Sequence[_Table]) -> tuple[LabelSet, dict[str, str]]:
    labels = LabelSet.audioset()
    return labels, dict(zip(labels.ids, labels.names, strict=True))


def _packed_labels(tables: Sequence[_Table]) -> tuple[LabelSet, dict[str, str]]:
    for table in tables:
        if table.about["labels"] != tables[0].about["labels"]:
            urls = f"{tables[0].shard.url} and {table.shard.url}"
            raise DataError(f"{urls}: one set of labels was expected, they have different ones; name files of one pack")
    labels = packs.label_set(tables[0].shard.url, tables[0].about)
    return labels, {name: name for name in labels.names}


def _own_labels(tables: Sequence[_Table]) -> tuple[LabelSet, dict[str, str]]:
    names = sorted({name for table in tables for name in table.labels.flatten().unique().to_pylist() if name})
    if not names:
        raise DataError(f"{tables[0].shard.url}: none of the {sum(len(t.ids) for t in tables)} rows has a label")
    return LabelSet(tuple(names)), {name: name for name in names}


_LABELS: Final[Mapping[str, Callable[[Sequence[_Table]], tuple[LabelSet, dict[str, str]]]]] = {
    _AUDIOSET: _audioset_labels,
    _PACK: _packed_labels,
    _OWN: _own_labels,
}
"""Of each kind: the labels of all its files, and what stands for their names in the files."""


def _clips(
    table: _Table,
    names_of: Mapping[str, str],
    shared: dict[tuple[str, ...], tuple[str, ...]],
    outside: list[tuple[str, tuple[str, ...]]] | None,
) -> Iterator[Clip]:
    """The clips of a shard; equal labels, splits and groups are one object each, as there may be millions.

    Labels outside of the set are added to `outside`; where that is None they are refused, and rows without labels too.
    """
    for column, what in ((table.ids, table.id_column), (table.labels, "labels")):
        if column.null_count and not (column is table.labels and outside is not None):
            number = column.is_null().index(True).as_py()
            raise DataError(f"{table.row(number)}: {what} must be filled in, it is null")
    ids: list[str] = table.ids.to_pylist()
    onsets, durations = _parts(table)
    if table.id_column == "path" and "onset" in table.times:
        given = table.times["onset"].is_valid().to_pylist()
        ids = [f"{id_}@{onset}" if has else id_ for id_, onset, has in zip(ids, onsets, given, strict=True)]
    split = _audioset_split(table.shard.url) if table.kind == _AUDIOSET else None
    splits = repeat(split) if table.splits is None else map(_interned, table.splits.to_pylist())
    groups = repeat(None) if table.groups is None else table.groups.to_pylist()
    places = ((group, row) for group, n_rows in enumerate(table.rows_per_group) for row in range(n_rows))
    labelled = _labels(table, names_of, shared, outside is not None)
    rows = zip(ids, labelled, splits, groups, places, onsets, durations, strict=False)
    for number, (id_, (labels, lost), split, group, (row_group, row), onset, duration) in enumerate(rows):
        if table.ranges is None:
            audio: AudioReader = ParquetAudio(table.shard, number, id_, row_group, row, onset, duration)
        else:
            audio = PackedAudio(table.shard, number, id_, table.ranges[0][number], table.ranges[1][number])
        if lost and outside is not None:
            outside.append((id_, lost))
        is_own = table.kind == _AUDIOSET or group == id_
        yield Clip(id_, labels, audio, split, id_ if is_own else _interned(group))


def _interned(text: str | None) -> str | None:
    return sys.intern(text) if text else None


def _labels(
    table: _Table, names_of: Mapping[str, str], shared: dict[tuple[str, ...], tuple[str, ...]], lenient: bool
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The names of each row's labels, and what stands beside them that is none."""
    encoded = table.labels.values.dictionary_encode()
    words: list[str | None] = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(len(words)).to_numpy()
    words.append(None)
    ends = table.labels.offsets.to_numpy()
    unknown = np.flatnonzero([word is None or (word != "" and word not in names_of) for word in words])
    strange = [] if lenient else np.flatnonzero(np.isin(codes[ends[0] : ends[-1]], unknown)).tolist()
    if strange:
        place = int(ends[0]) + strange[0]
        row = int(np.searchsorted(ends, place, side="right")) - 1
        n_words = len(set(codes[ends[0] : ends[-1]][strange].tolist()))
        raise DataError(
            f"{table.row(row)}: {words[codes[place]]!r} is none of the {len(names_of)} labels, nor are "
            f"{n_words - 1} others in {len(strange)} places of this file"
        )
    names = ["" if word is None else names_of.get(word, "") for word in words]
    others = {code: str(words[code]) for code in unknown.tolist()}
    of_codes: dict[tuple[int, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
    listed, borders = codes.tolist(), ends.tolist()
    for (start, end), is_there in zip(pairwise(borders), table.labels.is_valid().to_pylist(), strict=True):
        key = tuple(listed[start:end]) if is_there else ()
        if key not in of_codes:
            labels = tuple(dict.fromkeys(name for name in map(names.__getitem__, key) if name))
            lost = tuple(dict.fromkeys(others[code] for code in key if code in others))
            of_codes[key] = shared.setdefault(labels, labels), lost
        yield of_codes[key]


def _parts(table: _Table) -> tuple[Sequence[float], Sequence[float | None]]:
    """Onset and duration of each row, in seconds; 0 and None where it is the whole recording."""
    n_rows = len(table.ids)
    if not table.times:
        return [0.0] * n_rows, [None] * n_rows

    def seconds(time: str) -> _Array:
        column = table.times.get(time)
        return np.full(n_rows, np.nan) if column is None else column.fill_null(np.nan).to_numpy()

    onset, offset, duration = map(seconds, _TIMES)
    begins = np.nan_to_num(onset, nan=0.0)
    length = np.where(np.isnan(offset), duration, offset - begins)
    both = ~np.isnan(offset) & ~np.isnan(duration)
    strange = both | ~(begins >= 0) | np.isinf(begins) | (length <= 0) | np.isinf(length)
    if strange.any():
        number = int(np.argmax(strange))
        told = ", ".join(f"{time} {column[number].as_py()}" for time, column in table.times.items())
        expected = "seconds, an onset of 0 or more and either an offset behind it or a duration were expected"
        raise DataError(f"{table.row(number)}: {expected}, got {told}")
    return begins.tolist(), [None if np.isnan(seconds) else seconds for seconds in length.tolist()]


def _audioset_split(url: str) -> str | None:
    """The split that a file is of by its name, its folder, and the one above `train`; None where they don't say."""
    words = [word.partition(".")[0].partition("-")[0].lower() for word in reversed(url.split("/")[-3:])]
    is_train = False
    for height, word in enumerate(words):
        if word in ("eval", "evaluation", "test") and not is_train:
            return "eval"
        if word in ("bal_train", "balanced_train") or (is_train and word == "balanced"):
            return "balanced_train"
        if word in ("unbal_train", "unbalanced_train") or (is_train and word == "unbalanced"):
            return "unbalanced_train"
        if height and word != "train":
            break  # what lies above a folder of another name is about other things
        is_train = is_train or word == "train"
    return "train" if is_train else None


def _tell_of_large_groups(url: str, tables: Sequence[_Table]) -> None:
    largest = max(table.largest_group for table in tables)
    if largest > _LARGE_GROUP:
        text = (
            f"{url}: its row groups have up to {largest / 1e6:.0f} MB of audio, all of which is read for one clip: in "
            "random order, as training wants them, that is slow; `earmark pack` makes files in which it is not"
        )
        warnings.warn(text, EarmarkWarning, stacklevel=3)
