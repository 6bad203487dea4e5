"""FSD50K: 51,197 clips of 0.3 to 30 s, 200 sounds of AudioSet's ontology (Fonseca et al. 2022, Zenodo 4060432)."""

import json
from functools import partial
from pathlib import Path
from typing import Final

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage
from earmark.data.tables import drop_missing, read_clips, read_csv_rows, read_csv_table, read_labels, wav_or_flac
from earmark.errors import DataError
from earmark.labels import LabelSet

_TRUTH: Final = "FSD50K.ground_truth"
_METADATA: Final = "FSD50K.metadata"
_PARTS: Final = {"dev": ("fname", "labels", "mids", "split"), "eval": ("fname", "labels", "mids")}
"""Parts of the data set, each with a table and an audio folder of its name, and the table's columns."""


def read_fsd50k(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of the folder that holds `FSD50K.ground_truth` and the audio folders, as wav or converted to flac.

    The splits are `train`, `val` and `test`; `test` is FSD50K's evaluation set. The group is the clip's uploader,
    which the official splits respect; without the folder `FSD50K.metadata` a clip has no group.

    Args:
        path: The folder.
        lenient: Skip missing files and faulty rows; allow labels outside the vocabulary and rows without labels.

    Raises:
        DataError: The folder is not laid out like FSD50K, a table is damaged, or files are missing.
    """
    path = Path(path)
    if not (path / _TRUTH).is_dir():
        below = sorted(path.glob(f"*/{_TRUTH}"))
        hint = f"; is it {below[0].parent}?" if below else ""
        raise DataError(f"{path}: not an FSD50K folder: it has no {_TRUTH}{hint}")
    vocabulary = path / _TRUTH / "vocabulary.csv"
    labels = read_labels(vocabulary, read_csv_rows(vocabulary))
    damage = Damage(lenient)
    clips: list[Clip] = []
    places: dict[str, str] = {}
    lost_by: dict[str, tuple[str, ...]] = {}
    for part, columns in _PARTS.items():
        to_clip = partial(
            _clip,
            folder=path / f"FSD50K.{part}_audio",
            uploaders=_uploaders(path / _METADATA / f"{part}_clips_info_FSD50K.json"),
            labels=labels,
            lost_by=lost_by if lenient else None,
        )
        table = path / _TRUTH / f"{part}.csv"
        rows = read_csv_table(table, columns, damage=damage)
        clips += read_clips(table, rows, to_clip, damage, places)
    found, missing, splits = drop_missing(str(path), clips, lenient)
    outside = tuple((clip.id, lost_by[clip.id]) for clip in found if lost_by.get(clip.id))
    return Dataset("FSD50K", labels, found, missing, splits, outside, tuple(damage.found))


def _clip(
    row: dict[str, str],
    folder: Path,
    uploaders: dict[str, str],
    labels: LabelSet,
    lost_by: dict[str, tuple[str, ...]] | None,
) -> Clip:
    """The clip of a row; `lost_by` receives its unknown labels and MIDs, which are a fault without it."""
    name, split = row["fname"], row.get("split")
    listed, ids = (row[column].split(",") if row[column] else [] for column in ("labels", "mids"))
    if not name or (lost_by is None and not (listed and ids)):
        raise DataError("fname, labels and mids must be filled in")
    if split not in ("train", "val", None):
        raise DataError(f"expected split train or val, got {split!r}")
    if lost_by is None and (unknown := [label for label in (*listed, *ids) if label not in labels]):
        raise DataError(f"{unknown[0]!r} is not among the {len(labels)} labels of vocabulary.csv")
    pairs = list(zip(listed, ids, strict=False))
    known = [(label, id_) for label, id_ in pairs if label in labels and id_ in labels]
    if len(listed) != len(ids) or any(labels.index(label) != labels.index(id_) for label, id_ in known):
        raise DataError(f"the labels {row['labels']} do not match the MIDs {row['mids']}")
    if lost_by is not None:
        lost = (word for pair in pairs if pair not in known for word in pair if word not in labels)
        lost_by.setdefault(name, tuple(dict.fromkeys(lost)))
    names = tuple(dict.fromkeys(labels.names[labels.index(label)] for label, _ in known))
    return Clip(name, names, FileAudio(wav_or_flac(folder / f"{name}.wav")), split or "test", uploaders.get(name))


def _uploaders(path: Path) -> dict[str, str]:
    """The uploader of each clip, by clip name; empty without the file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: str(about["uploader"]) for name, about in content.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: the uploaders of the clips cannot be read: {error!r}") from error
