"""Recordings without labels: those of a folder, or those that a CSV file lists."""

from pathlib import Path
from typing import Final

from earmark.audio.recording import scan_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage
from earmark.data.manifest import read_listed_clips
from earmark.data.tables import drop_missing
from earmark.errors import AudioError, DataError
from earmark.labels import LabelSet

NO_LABELS: Final = LabelSet(("unlabelled",))
"""A label set needs a label; no clip has this one."""


def read_recordings(path: Path | str) -> Dataset:
    """Clips without labels: all recordings below a folder, or the rows of a CSV file as `read_csv` takes it.

    Args:
        path: The folder or file. Labels, as names of sub-folders or in the file, do not matter.

    Raises:
        DataError: There is no recording, or the file is not such a table.
    """
    path = Path(path)
    if not path.is_dir():
        listed = [Clip(c.id, (), c.audio, c.split, c.group) for c in read_listed_clips(path, Damage(False))]
        if not listed:
            raise DataError(f"{path}: no row below the column names")
        return Dataset(path.name, NO_LABELS, *drop_missing(str(path), listed, False)[:1])
    try:
        files = scan_audio(path)[0]
    except AudioError as error:
        raise DataError(str(error)) from error
    ids = (file.relative_to(path).as_posix() for file in files)
    return Dataset(path.resolve().name, NO_LABELS, tuple(map(_clip, ids, files)))


def _clip(id_: str, file: Path) -> Clip:
    return Clip(id_, (), FileAudio(file))
