"""ESC-50: 2,000 clips of 5 s, 50 sounds, five folds (Piczak 2015, https://github.com/karolpiczak/ESC-50)."""

from pathlib import Path

from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage
from earmark.data.tables import drop_missing, drop_outside, read_clips, read_csv_table, wav_or_flac
from earmark.errors import DataError
from earmark.labels import LabelSet

_COLUMNS = ("filename", "fold", "target", "category", "src_file")


def read_esc50(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of the folder that holds ESC-50's `audio` and `meta`, as wav or converted to flac.

    The splits are the folds `1` to `5`; the group is the Freesound source. The label set is always all fifty labels,
    even if the folder holds only some of the clips.

    Args:
        path: The folder.
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
    rows = read_csv_table(table, _COLUMNS, damage=damage)
    clips = list(read_clips(table, rows, lambda row: _clip(path, row, labels, lenient), damage))
    found, missing, splits = drop_missing(str(path), clips, lenient)
    within, outside = drop_outside(found, labels)
    return Dataset("ESC-50", labels, within, missing, splits, outside, tuple(damage.found))


def _clip(folder: Path, row: dict[str, str], labels: LabelSet, lenient: bool) -> Clip:
    filename, fold, target, category, source = (row[name] for name in _COLUMNS)
    if not (filename and fold and target and category and source):
        raise DataError(f"{', '.join(_COLUMNS)} must be filled in")
    is_outside = category not in labels
    is_wrong = is_outside or target not in labels or labels.index(category) != labels.index(target)
    if is_wrong and not (lenient and is_outside):
        raise DataError(f"{category!r} is not the category of target {target!r} in ESC-50")
    file = wav_or_flac(folder / "audio" / filename)
    return Clip(id=Path(filename).stem, labels=(category,), audio=FileAudio(file), split=fold, group=source)
