"""Clips in Parquet files: AudioSet as distributed on the Hugging Face Hub, `earmark pack` files, and your own tables.

Opening reads footers and the columns without audio; a recording is read when its clip is loaded (`parquet_audio`).
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain, pairwise, repeat
from typing import Any, Final

import numpy as np

from earmark.data import packs
from earmark.data.clips import AudioReader, Clip, Dataset
from earmark.data.damage import Damage, DamageError
from earmark.data.dataset_card import DatasetCards
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.data.parquet_table import AUDIOSET, OWN, PACK, TIMES, Table, read_parquet_table
from earmark.errors import DataError, EarmarkWarning, first_few
from earmark.labels import LabelSet, check_label, normal_label
from earmark.storage.remote import RemotePath, join_path

_AT_ONCE: Final = 16
_LARGE_GROUP: Final = 16 << 20

_Array = np.ndarray[Any, np.dtype[Any]]


def read_parquet(url: str, lenient: bool = False) -> Dataset:
    """The clips of a Parquet file, of all files in a folder and its sub-folders, or of those that match wildcards.

    The columns decide the kind of a file. AudioSet from the Hugging Face Hub has `video_id`, `audio` and `labels`
    (MIDs); the video is the clip's id and group. `earmark pack` writes its own kind. Your own table has `audio` (the
    bytes of an audio file, or a struct that holds them in `bytes`), `labels` or `label` (a list, text joined by `;`, or
    numbers that Hugging Face's ClassLabel names, in the file or in README.md beside or above it), `path` or `id`, and
    optionally `onset` with `offset` or `duration` in seconds for a part of the recording, `split` and `group`. Without
    `group`, the parts of one `path` form a group. Hidden files are ignored.

    Args:
        url: A path, or a URL that fsspec or Arrow supports.
        lenient: Allow unknown labels and rows without labels; skip unreadable rows and files.

    Raises:
        DataError: No such file; an unfinished pack; other columns; rows without id or labels; files of different kinds;
            or pyarrow or fsspec is not installed.
    """
    if missing := [name for name in ("pyarrow", "fsspec") if find_spec(name) is None]:
        raise DataError(f"{url}: reading Parquet needs {' and '.join(missing)}: pip install 'earmark[parquet]'")
    place = RemotePath(url).absolute
    root, names = _files(place)
    damage = Damage(lenient)
    tables = _tables(root, names, damage)
    first = tables[0]
    for table in tables:
        if table.kind != first.kind:
            raise DataError(f"{table.shard.url}: {table.kind} beside {first.kind}; give files of one kind")
    if first.kind == PACK:
        _check_whole(place, root, names)
    labels, names_of = _LABELS[first.kind](tables)
    _warn_of_large_groups(url, tables)
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    outside: list[tuple[str, tuple[str, ...]]] = []
    seen: set[str] = set()
    clips = tuple(chain.from_iterable(_clips(table, names_of, shared, outside, damage, seen) for table in tables))
    name = {AUDIOSET: "AudioSet", PACK: first.about.get("name")}.get(first.kind)
    return Dataset(name or place.name, labels, clips, outside=tuple(outside), damaged=tuple(damage.found))


def _files(place: RemotePath) -> tuple[str, list[str]]:
    """A folder and the Parquet files in it."""
    try:
        if not place.has_wildcards and place.is_file():
            return place.folder, [place.name]
        root = place.root
        # the temporary files of a killed writer are hidden, so they are ignored
        names = [name for name in place.files() if root != place or name.endswith(".parquet")]
        folders = sorted({root.url, *(root.child(name).folder for name in names)})
        unfinished = [folder for folder in folders if RemotePath(folder).child(packs.JOURNAL).is_file()]
    except OSError as error:
        raise DataError(f"{place.url}: cannot be opened: {error.strerror or error}") from error
    if unfinished:
        raise DataError(
            f"{unfinished[0]}: the pack is unfinished; run the same `earmark pack` command again to finish it"
        )
    if not names:
        raise DataError(f"{place.url}: no Parquet file found; expected a file, a folder or wildcards")
    return root.url, names


def _tables(root: str, names: Sequence[str], damage: Damage) -> list[Table]:
    """The columns without audio of all files, several files at a time."""

    cards = DatasetCards()

    def read(name: str) -> Table | DamageError:
        try:
            return read_parquet_table(root, name, cards)
        except DamageError as error:
            return error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read_ones = list(pool.map(read, names))
    tables = [table for table in read_ones if isinstance(table, Table)]
    errors = [error for error in read_ones if isinstance(error, DamageError)]
    if errors and not (damage.lenient and tables):
        others = f"; {len(errors) - 1} others cannot be read either" if errors[1:] else ""
        raise DamageError(join_path(root, errors[0].name), errors[0].name, f"{errors[0].reason}{others}") from errors[0]
    for error in errors:
        damage.add(error)
    return tables


def _check_whole(place: RemotePath, root: str, names: Sequence[str]) -> None:
    """Refuses a pack that lacks files; warns if single files of it were named."""
    manifest = RemotePath(root).child(packs.MANIFEST)
    is_all = place.url == root
    gone = packs.missing_files(names, manifest.read() if is_all and manifest.is_file() else None)
    if gone:
        shown = first_few(gone)
        text = f"{len(gone)} of {len(gone) + len(names)} files of the pack are"
        if is_all:
            raise DataError(
                f"{place.url}: {text} missing: {shown}; restore them, or name the files to read, as in "
                "parquet:'PACK/*.parquet'"
            )
        warnings.warn(f"{place.url}: {text} not among those named: {shown}", EarmarkWarning, stacklevel=3)


def _audioset_labels(tables: Sequence[Table]) -> tuple[LabelSet, dict[str, str]]:
    labels = LabelSet.audioset()
    return labels, dict(zip(labels.ids, labels.names, strict=True))


def _packed_labels(tables: Sequence[Table]) -> tuple[LabelSet, dict[str, str]]:
    for table in tables:
        if table.about["labels"] != tables[0].about["labels"]:
            urls = f"{tables[0].shard.url} and {table.shard.url}"
            raise DataError(f"{urls}: expected one label set, these differ; give files of one pack")
    labels = packs.label_set(tables[0].shard.url, tables[0].about)
    return labels, {name: name for name in labels.names}


def _own_labels(tables: Sequence[Table]) -> tuple[LabelSet, dict[str, str]]:
    names = sorted({name for table in tables for name in table.labels.flatten().unique().to_pylist() if name})
    if not names:
        raise DataError(f"{tables[0].shard.url}: none of the {sum(len(t.ids) for t in tables)} rows has a label")
    normal = {name: normal_label(name) for name in names}
    for name in names:
        try:
            check_label(normal[name])
        except DataError as error:
            table, row = next(
                (table, row)
                for table in tables
                for row, own in enumerate(table.labels.to_pylist())
                if own is not None and name in own
            )
            raise table.damaged(row, str(error)) from error
    return LabelSet(tuple(sorted(set(normal.values())))), normal


_LABELS: Final[Mapping[str, Callable[[Sequence[Table]], tuple[LabelSet, dict[str, str]]]]] = {
    AUDIOSET: _audioset_labels,
    PACK: _packed_labels,
    OWN: _own_labels,
}
"""Reads the label set of each kind, and the label names by their text in the files."""


def _clips(
    table: Table,
    names_of: Mapping[str, str],
    shared: dict[tuple[str, ...], tuple[str, ...]],
    outside: list[tuple[str, tuple[str, ...]]],
    damage: Damage,
    seen: set[str],
) -> Iterator[Clip]:
    """The clips of a shard; equal labels, splits and groups share one object, as there may be millions of rows.

    If `damage` is lenient, unknown labels are added to `outside` and rows may lack labels.
    """
    wrong = dict.fromkeys(_nulls(table.ids), f"{table.id_column} is null")
    if not damage.lenient:
        wrong |= dict.fromkeys(_nulls(table.labels), "labels is null")
    onsets, durations, strange = _parts(table)
    for number, reason in sorted((strange | wrong).items()):
        damage.add(table.damaged(number, reason))
    ids: list[str] = table.ids.to_pylist()
    if table.id_column == "path" and "onset" in table.times:
        given = table.times["onset"].is_valid().to_pylist()
        ids = [f"{id_}@{onset}" if has else id_ for id_, onset, has in zip(ids, onsets, given, strict=True)]
    split = _audioset_split(table.shard.url) if table.kind == AUDIOSET else None
    splits = repeat(split) if table.splits is None else map(_interned, table.splits.to_pylist())
    groups = repeat(None) if table.groups is None else table.groups.to_pylist()
    known = repeat(None) if table.known is None else table.known.to_pylist()
    places = ((group, row) for group, n_rows in enumerate(table.rows_per_group) for row in range(n_rows))
    labelled = _labels(table, names_of, shared, damage.lenient)
    rows = zip(ids, labelled, splits, groups, known, places, onsets, durations, strict=False)
    for number, (id_, (labels, lost), split, group, judged, (row_group, row), onset, duration) in enumerate(rows):
        if number in wrong or number in strange:
            continue
        if damage.lenient:  # otherwise Dataset refuses repeated ids
            if id_ in seen:
                damage.add(table.damaged(number, f"{id_} occurs twice"))
                continue
            seen.add(id_)
        if table.ranges is None:
            audio: AudioReader = ParquetAudio(table.shard, number, id_, row_group, row, onset, duration)
        else:
            audio = PackedAudio(table.shard, number, id_, table.ranges[0][number], table.ranges[1][number])
        if lost:
            outside.append((id_, lost))
        is_own = table.kind == AUDIOSET or group == id_
        judged = None if judged is None else shared.setdefault(tuple(judged), tuple(judged))
        yield Clip(id_, labels, audio, split, id_ if is_own else _interned(group), judged)


def _nulls(column: Any) -> list[int]:
    return np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist() if column.null_count else []


def _interned(text: str | None) -> str | None:
    return sys.intern(text) if text else None


def _labels(
    table: Table, names_of: Mapping[str, str], shared: dict[tuple[str, ...], tuple[str, ...]], lenient: bool
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The label names of each row, and its unknown labels."""
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
            f"{table.row(row)}: {words[codes[place]]!r} is not among the {len(names_of)} labels; this file "
            f"has {n_words - 1} other unknown labels, in {len(strange)} places"
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


def _parts(table: Table) -> tuple[Sequence[float], Sequence[float | None], dict[int, str]]:
    """Onset and duration of each row in seconds (0 and None for the whole recording), and the reason of each fault."""
    n_rows = len(table.ids)
    if not table.times:
        return [0.0] * n_rows, [None] * n_rows, {}

    def seconds(time: str) -> _Array:
        column = table.times.get(time)
        return np.full(n_rows, np.nan) if column is None else column.fill_null(np.nan).to_numpy()

    onset, offset, duration = map(seconds, TIMES)
    begins = np.nan_to_num(onset, nan=0.0)
    length = np.where(np.isnan(offset), duration, offset - begins)
    both = ~np.isnan(offset) & ~np.isnan(duration)
    strange = both | ~(begins >= 0) | np.isinf(begins) | (length <= 0) | np.isinf(length)
    expected = "expected seconds: an onset of 0 or more, and either an offset after it or a duration"
    reasons = {
        number: f"{expected}, got " + ", ".join(f"{time} {of[number].as_py()}" for time, of in table.times.items())
        for number in np.flatnonzero(strange).tolist()
    }
    return begins.tolist(), [None if np.isnan(seconds) else seconds for seconds in length.tolist()], reasons


def _audioset_split(url: str) -> str | None:
    """The split by the file's name, its folder, and the folder above `train`; None if they do not state it."""
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
            break  # folders above one of another name do not state the split
        is_train = is_train or word == "train"
    return "train" if is_train else None


def _warn_of_large_groups(url: str, tables: Sequence[Table]) -> None:
    largest = max(table.largest_group for table in tables)
    if largest > _LARGE_GROUP:
        text = (
            f"{url}: its row groups hold up to {largest / 1e6:.0f} MB of audio, and one clip requires reading a whole "
            "group: slow in the random order of training; repack with `earmark pack`"
        )
        warnings.warn(text, EarmarkWarning, stacklevel=3)
