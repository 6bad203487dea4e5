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

    The splits are the folds `1` to `5`; the group is the Freesound source. The label set is always all fifty labels,
    even if the folder holds only some of the clips.

    Args:
        path: The folder.
        missing: Whether a clip without its file is skipped or an error.
        lenient: Skip missing files and faulty rows; allow labels that are not ESC-50's.

    Raises:
        DataError: The folder is not laid out like ESC-50, its table is damaged, or files are missing.
    """
    path = Path(path)
    table = path / "meta" / "esc50.csv"
    if not table.is_file():
        below = sorted(path.glob("*/meta/esc50.csv"))
        hint = f"; is it {below[0].parent.parent}?" if below else ""
        raise DataError(f"{path}: not an ESC-50 folder: it has no meta/esc50.csv{hint}")
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
                        raise RowError(table, number, f"{clip.id} is already in row {row_of[clip.id]}")
                except RowError as error:
                    damage.add(error)
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
        file = file.with_suffix(".flac")  # audio converted to save space, the table unchanged
    return Clip(id=Path(filename).stem, labels=(category,), audio=FileAudio(file), split=fold, group=src_file)
