"""FSD50K: 51,197 clips of 0.3 to 30 s, 200 sounds of AudioSet's ontology (Fonseca et al. 2022, Zenodo 4060432)."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.manifest import Missing, drop_missing
from earmark.errors import DataError
from earmark.labels import LabelSet

_TRUTH: Final = "FSD50K.ground_truth"
_METADATA: Final = "FSD50K.metadata"
_PARTS: Final = {"dev": ("fname", "labels", "mids", "split"), "eval": ("fname", "labels", "mids")}
"""The tables, which name the folders of audio too, and their columns."""
_SPLITS: Final = frozenset({"train", "val"})


def read_fsd50k(path: Path | str, missing: Missing = "error") -> Dataset:
    """The clips of the folder that holds `FSD50K.ground_truth` and the others, as wav or converted to flac.

    The splits are `train`, `val` and `test`, which is FSD50K's evaluation set. The group is the clip's uploader where
    `FSD50K.metadata` is there, as the official splits keep to it; without it a clip has none.

    Raises:
        DataError: The folder is not laid out like FSD50K, a table is damaged, or files are missing.
    """
    path = Path(path)
    if not (path / _TRUTH).is_dir():
        below = sorted(path.glob(f"*/{_TRUTH}"))
        hint = f"; is it {below[0].parent}?" if below else ""
        raise DataError(f"{path}: not a folder of FSD50K, it has no {_TRUTH}{hint}")
    labels = _vocabulary(path / _TRUTH / "vocabulary.csv")
    clips: list[Clip] = []
    for part, columns in _PARTS.items():
        audio = path / f"FSD50K.{part}_audio"
        there = {entry.name for entry in os.scandir(audio)} if audio.is_dir() else set()
        uploaders = _uploaders(path / _METADATA / f"{part}_clips_info_FSD50K.json")
        table = path / _TRUTH / f"{part}.csv"
        for number, row in _rows(table):
            if number == 1:
                if tuple(row) != columns:
                    raise DataError(f"{table}: the columns {', '.join(columns)} were expected, got {', '.join(row)}")
                continue
            clips.append(_clip(f"{table}, row {number}", row, columns, labels, audio, there, uploaders))
    found, not_there = drop_missing(str(path), clips, missing)
    return Dataset("FSD50K", labels, found, not_there)


def _vocabulary(path: Path) -> LabelSet:
    ids: list[str] = []
    names: list[str] = []
    for number, row in _rows(path):
        if len(row) != 3 or row[0] != str(len(ids)):
            raise DataError(
                f"{path}, row {number}: {len(ids)}, a label and its MID were expected, got {','.join(row)!r}"
            )
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


def _clip(
    place: str,
    row: list[str],
    columns: tuple[str, ...],
    labels: LabelSet,
    audio: Path,
    there: set[str],
    uploaders: dict[str, str],
) -> Clip:
    if len(row) != len(columns) or not all(row):
        raise DataError(f"{place}: {', '.join(columns)} must be filled in, got {','.join(row)[:60]!r}")
    name, listed, ids = row[0], row[1].split(","), row[2].split(",")
    split = row[3] if "split" in columns else "test"
    if "split" in columns and split not in _SPLITS:
        raise DataError(f"{place}: the split train or val was expected, got {split!r}")
    unknown = [label for label in (*listed, *ids) if label not in labels]
    if unknown:
        raise DataError(f"{place}: {unknown[0]!r} is none of the {len(labels)} labels of vocabulary.csv")
    if [labels.index(label) for label in listed] != [labels.index(id_) for id_ in ids]:
        raise DataError(f"{place}: the labels {row[1]} are not those of the MIDs {row[2]}")
    suffix = ".flac" if f"{name}.wav" not in there and f"{name}.flac" in there else ".wav"
    names = tuple(labels.names[position] for position in dict.fromkeys(map(labels.index, listed)))
    return Clip(name, names, FileAudio(audio / f"{name}{suffix}"), split, uploaders.get(name))


def _uploaders(path: Path) -> dict[str, str]:
    """Who uploaded each clip, by the clip's name; nothing where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(about["uploader"]) for name, about in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: the uploader of each clip was expected, it cannot be read: {error!r}") from error
