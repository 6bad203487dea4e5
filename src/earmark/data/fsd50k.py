"""FSD50K: 51,197 clips of 0.3 to 30 s, 200 sounds of AudioSet's ontology (Fonseca et al. 2022, Zenodo 4060432)."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage, RowError
from earmark.data.manifest import Missing, drop_missing
from earmark.errors import DataError
from earmark.labels import LabelSet

_TRUTH: Final = "FSD50K.ground_truth"
_METADATA: Final = "FSD50K.metadata"
_PARTS: Final = {"dev": ("fname", "labels", "mids", "split"), "eval": ("fname", "labels", "mids")}
"""Parts of the data set, each with a table and an audio folder of its name, and the table's columns."""
_LABELS: Final = frozenset({"labels", "mids"})
_SPLITS: Final = frozenset({"train", "val"})


def read_fsd50k(path: Path | str, missing: Missing = "error", lenient: bool = False) -> Dataset:
    """The clips of the folder that holds `FSD50K.ground_truth` and its sisters, as wav or converted to flac.

    The splits are `train`, `val` and `test`; `test` is FSD50K's evaluation set. The group is the clip's uploader,
    which the official splits respect; without the folder `FSD50K.metadata` a clip has no group.

    Args:
        path: The folder.
        missing: Whether a clip without its file is skipped or an error.
        lenient: Skip missing files and faulty rows; allow labels outside the vocabulary and rows without labels.

    Raises:
        DataError: The folder is not laid out like FSD50K, a table is damaged, or files are missing.
    """
    path = Path(path)
    if not (path / _TRUTH).is_dir():
        below = sorted(path.glob(f"*/{_TRUTH}"))
        hint = f"; is it {below[0].parent}?" if below else ""
        raise DataError(f"{path}: not an FSD50K folder: it has no {_TRUTH}{hint}")
    labels = _vocabulary(path / _TRUTH / "vocabulary.csv")
    damage = Damage(lenient)
    clips: list[Clip] = []
    lost_by: dict[str, tuple[str, ...]] = {}
    for part, columns in _PARTS.items():
        audio = path / f"FSD50K.{part}_audio"
        there = {entry.name for entry in os.scandir(audio)} if audio.is_dir() else set()
        uploaders = _uploaders(path / _METADATA / f"{part}_clips_info_FSD50K.json")
        table = path / _TRUTH / f"{part}.csv"
        for number, row in _rows(table):
            if number == 1:
                if tuple(row) != columns:
                    raise DataError(f"{table}: expected the columns {', '.join(columns)}, got {', '.join(row)}")
                continue
            try:
                _check(table, number, row, columns, labels, lenient)
                names, lost = _names(table, number, row, labels)
                if row[0] in lost_by:
                    raise RowError(table, number, f"{row[0]} occurs twice")
            except RowError as error:
                damage.add(error)
                continue
            lost_by[row[0]] = lost
            suffix = ".flac" if f"{row[0]}.wav" not in there and f"{row[0]}.flac" in there else ".wav"
            split = row[3] if "split" in columns else "test"
            clips.append(Clip(row[0], names, FileAudio(audio / f"{row[0]}{suffix}"), split, uploaders.get(row[0])))
    found, not_there = drop_missing(str(path), clips, "skip" if lenient else missing)
    outside = tuple((clip.id, lost_by[clip.id]) for clip in found if lost_by[clip.id])
    return Dataset("FSD50K", labels, found, *not_there, outside, tuple(damage.found))


def _vocabulary(path: Path) -> LabelSet:
    ids: list[str] = []
    names: list[str] = []
    for number, row in _rows(path):
        if len(row) != 3 or row[0] != str(len(ids)):
            raise DataError(f"{path}, row {number}: expected {len(ids)}, a label and its MID, got {','.join(row)!r}")
        names.append(row[1])
        ids.append(row[2])
    try:
        return LabelSet(tuple(names), tuple(ids))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _check(table: Path, number: int, row: list[str], columns: tuple[str, ...], labels: LabelSet, lenient: bool) -> None:
    is_filled = all(cell for cell, column in zip(row, columns, strict=False) if not (lenient and column in _LABELS))
    if len(row) != len(columns) or not is_filled:
        raise RowError(table, number, f"{', '.join(columns)} must be filled in, got {','.join(row)[:60]!r}")
    if "split" in columns and row[3] not in _SPLITS:
        raise RowError(table, number, f"expected split train or val, got {row[3]!r}")
    unknown = [label for label in (*_words(row[1]), *_words(row[2])) if label not in labels]
    if unknown and not lenient:
        raise RowError(table, number, f"{unknown[0]!r} is not among the {len(labels)} labels of vocabulary.csv")


def _names(table: Path, number: int, row: list[str], labels: LabelSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a row's labels, and its labels and MIDs that are not in the vocabulary."""
    listed, ids = _words(row[1]), _words(row[2])
    pairs = list(zip(listed, ids, strict=False))
    known = [(label, id_) for label, id_ in pairs if label in labels and id_ in labels]
    if len(listed) != len(ids) or any(labels.index(label) != labels.index(id_) for label, id_ in known):
        raise RowError(table, number, f"the labels {row[1]} do not match the MIDs {row[2]}")
    lost = (word for pair in pairs if pair not in known for word in pair if word not in labels)
    return tuple(dict.fromkeys(labels.names[labels.index(label)] for label, _ in known)), tuple(dict.fromkeys(lost))


def _words(joined: str) -> list[str]:
    return joined.split(",") if joined else []


def _uploaders(path: Path) -> dict[str, str]:
    """The uploader of each clip, by clip name; empty without the file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(about["uploader"]) for name, about in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: the uploaders of the clips cannot be read: {error!r}") from error
