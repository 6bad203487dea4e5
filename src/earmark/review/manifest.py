"""`manifest.csv`: where each clip of a folder was cut, and how it was chosen."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from earmark.data.tables import parse_seconds, read_csv_table
from earmark.errors import DataError
from earmark.storage.files import atomic_write
from earmark.storage.text_files import row_writer

MANIFEST: Final = "manifest.csv"


@dataclass(frozen=True)
class CutClip:
    """A row of the manifest."""

    clip: str
    """Path of the clip below the folder, as it was cut."""
    file: str
    """The recording as the table of events names it."""
    onset: float
    """Onset of the event (s)."""
    offset: float
    """Offset of the event (s)."""
    label: str
    score: float | None
    time: str
    """Time of day of the onset as the table of events states it; empty without one."""
    start: float
    """First second of the recording in the clip."""
    end: float
    """Where the clip ends in the recording (s)."""
    band: int
    """Score band of the event."""
    n_in_band: int
    """Events of the label in the band, of which some were chosen."""
    recording: str
    """Path of the recording from the folder."""
    sha256: str
    """SHA-256 of the clip's file."""

    @property
    def name(self) -> str:
        """Name of the clip's file, unique in the folder."""
        return self.clip.rpartition("/")[2]


_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    **{entry.name: str for entry in fields(CutClip)},
    **dict.fromkeys(("onset", "offset", "start", "end"), parse_seconds),
    "score": lambda text: float(text) if text else None,
    "band": int,
    "n_in_band": int,
}


def relative_path(file: Path, folder: Path) -> str:
    """The path of a file from a folder, links resolved; the absolute path where they lie on different drives."""
    file_path, folder_path = os.path.realpath(file), os.path.realpath(folder)
    try:
        return os.path.relpath(file_path, folder_path)
    except ValueError:
        return file_path


def write_manifest(folder: Path, rows: Iterable[CutClip]) -> None:
    """Writes the manifest of a folder.

    Raises:
        OSError: It cannot be written.
    """
    with (
        atomic_write(folder / MANIFEST) as path,
        path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        write = row_writer(stream)
        write(_READ)
        for row in rows:
            write("" if (value := getattr(row, name)) is None else value for name in _READ)


def read_manifest(folder: Path) -> list[CutClip]:
    """The rows of the manifest of a folder.

    Raises:
        DataError: There is none, or it is damaged; the text names the row.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError(f"{folder}: expected a folder of `earmark clips`, with a {MANIFEST} in it")
    rows = []
    for number, cells in read_csv_table(path, tuple(_READ), errors="surrogateescape"):
        try:
            rows.append(CutClip(**{name: read(cells[name]) for name, read in _READ.items()}))
        except (ValueError, DataError) as error:
            raise DataError(f"{path}, row {number}: {error}; cut the clips again") from error
    _check_names(path, rows)
    return rows


def _check_names(path: Path, rows: Sequence[CutClip]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.name in seen:
            raise DataError(f"{path}: the clip {row.name} occurs twice; cut the clips again")
        seen.add(row.name)
