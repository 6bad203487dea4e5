"""ESC-50: 2,000 clips of 5 s, 50 sounds, five folds (Piczak 2015, https://github.com/karolpiczak/ESC-50)."""

import csv
from pathlib import Path

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage, RowError
from earmark.data.manifest import Missing, drop_missing, drop_outside
from earmark.errors import DataError
from earmark.labels import LabelSet

_COLUMNS = ("filename", "fold", "target", "category", "src_file")


def read_esc50(path: Path | str, missing: Missing = "error", lenient: bool = False) -> Dataset:
    """The clips of the folder that holds ESC-50's `audio` and `meta`, as wav or converted to flac.

    The splits are the folds `1` to `5`, the group is the Freesound source. The label set is all of ESC-50's also
    where the folder holds a part of the clips.

    Args:
        path: Of the folder.
        missing: What becomes of clips whose files are not there.
        lenient: Skips those and rows that are wrong, and passes over labels that ESC-50 does not have.

    Raises:
        DataError: The folder is not laid out like ESC-50, its table is damaged, or files are missing.
    """
    path = Path(path)
    table = path / "meta" / "esc50.csv"
    if not table.is_file():
        below = sorted(path.glob("*/meta/esc50.csv"))
        hint = f"; is it {below[0].parent.parent}?" if below else ""
        raise DataError(f"{path}: not an ESC-50 folder, it has no meta/esc50.csv{hint}")
    labels = LabelSet.esc50()
    damage = Damage(lenient)
    clips: list[Clip] = []
    row_of: dict[str, int] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if absent := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
                raise DataError(f"{table}: the columns {', '.join(absent)} are missing")
            for number, row in enumerate(reader, 2):
                try:
                    clip = _clip(path, table, number, row, labels, lenient)
                    if clip.id in row_of:
                        raise RowError(table, number, f"{clip.id} is in row {row_of[clip.id]} already")
                except RowError as error:
                    damage.meet(error)
                    continue
                row_of[clip.id] = number
                clips.append(clip)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    found, not_there = drop_missing(str(path), clips, "skip" if lenient else missing)
    within, outside = drop_outside(found, labels)
    return Dataset("ESC-50", labels, within, *not_there, outside, tuple(damage.found))


def _clip(folder: Path, table: Path, number: int, row: dict[str, str | None], labels: LabelSet, lenient: bool) -> Clip:
    filename, fold, target, category, src_file = (row[name] for name in _COLUMNS)
    if not (filename and fold and target and category and src_file):
        raise RowError(table, number, f"{', '.join(_COLUMNS)} must be filled in")
    is_outside = category not in labels
    is_wrong = is_outside or target not in labels or labels.index(category) != labels.index(target)
    if is_wrong and not (lenient and is_outside):
        raise RowError(table, number, f"{category!r} is not the category of target {target!r} in ESC-50")
    file = folder / "audio" / filename
    if not file.is_file() and file.with_suffix(".flac").is_file():
        file = file.with_suffix(".flac")  # converted to save space, with the table as it was
    return Clip(id=Path(filename).stem, labels=(category,), audio=FileAudio(file), split=fold, group=src_file)
