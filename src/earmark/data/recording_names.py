"""The recordings that annotations name: by paths of other machines, bare names, or names without their suffix."""

import os
import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Final
from unicodedata import normalize

from earmark.annotations.rows import decoded
from earmark.audio import media
from earmark.audio.recording import AUDIO_SUFFIXES
from earmark.errors import DataError, first_few
from earmark.storage.files import as_text, in_either_form, walk

_UPLOAD: Final = re.compile(r"[0-9a-f]{8}-(?=.)")
"""Beginning that Label Studio gives the names of uploaded files."""


class RecordingNames:
    """Finds recordings in a folder by the names in annotations.

    Args:
        folder: The folder; its sub-folders are searched too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, written: str, beside: Path) -> Path:
        """The recording.

        A path that exists, from the folder of the annotations or from that of the recordings, is taken as it is. Else
        the recording is searched by its file name; among several, the one is taken whose folders fit best, then the one
        with exactly this name. Names match in any case and Unicode form, and with another suffix (`a.wav`, converted to
        `a.flac`).

        Args:
            written: The name in the annotations.
            beside: Folder of the annotations.

        Raises:
            DataError: There is no such recording, or several fit equally well.
        """
        texts = dict.fromkeys((written, decoded(written)))
        for name in texts:
            for place in (beside, self.folder):
                path = in_either_form(place / name)
                if os.path.isfile(path):  # noqa: PTH113 (never raises)
                    return path
        for parts in map(_parts, texts):
            for name in _spellings(parts[-1]):
                if name in self._by_name:
                    return self._best(written, parts, self._by_name[name])
        raise DataError(f"no recording {written!r} in {self.folder}")

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        try:
            files = [Path(entry.path) for _, entries in walk(self.folder) for entry in entries]
        except OSError as error:
            raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror or error}") from error
        by_name: dict[str, list[Path]] = {}
        for path in sorted(file for file in files if file.suffix.lower() in AUDIO_SUFFIXES | media.SUFFIXES):
            for name in dict.fromkeys((_parts(path.name)[-1], _parts(path.stem)[-1])):
                by_name.setdefault(name, []).append(path)
        return by_name

    def _best(self, written: str, parts: list[str], found: list[Path]) -> Path:
        def n_fitting(path: Path) -> int:
            pairs = zip(reversed(_parts(str(path.parent))), reversed(parts[:-1]), strict=False)
            return next((n for n, (own, other) in enumerate(pairs) if own != other), min(len(path.parts), len(parts)))

        most = max(map(n_fitting, found))
        best = sorted(path for path in found if n_fitting(path) == most)
        if len(best) > 1:
            own = re.split(r"[/\\]", written)[-1]
            exact = [path for path in best if own in (path.name, path.stem)]
            if len(exact) == 1:
                return exact[0]
            names = first_few([as_text(str(path)) for path in best])
            raise DataError(f"{written!r} names {len(best)} recordings: {names}; write their folders and suffixes too")
        return best[0]


def _parts(name: str) -> list[str]:
    """Folders and name in the form in which they are compared."""
    return re.split(r"[/\\]", normalize("NFC", name).casefold())


def _spellings(name: str) -> list[str]:
    """Names to look for, the best first."""
    short = _UPLOAD.sub("", name, count=1)
    bare = [PurePosixPath(each).stem for each in (name, short) if Path(each).suffix in AUDIO_SUFFIXES | media.SUFFIXES]
    return [name, short, *bare]
