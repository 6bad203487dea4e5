"""Matches the files of a folder with AudioSet's listed segments, by the file naming schemes in use."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from earmark.audio import media
from earmark.audio.recording import AUDIO_SUFFIXES
from earmark.errors import DataError
from earmark.storage.files import walk

SCHEMES: Final = ("Y<id>", "<id>", "<id>_<start>", "<id>_<start>_<end>")
"""Naming schemes, without the suffix; start and end in seconds or milliseconds."""
_NUMBER: Final = re.compile(r"\d+(?:\.\d*)?")
_ROUNDED: Final = 1.0
"""Tolerance, as file names round or truncate their times."""
_Span = tuple[float, float]
"""Start and end of a segment in its video, in seconds."""


class SegmentFiles(NamedTuple):
    """The files of segments."""

    paths: dict[str, str]
    """Paths by video id; segments without a file are left out."""
    n_doubled: int
    """Number of segments with several files; the first by name is used."""
    n_recordings: int
    """Number of recordings found, whatever their names."""
    n_unread: int
    """Number of files that only the extra `media` can read, which is not installed."""


def list_files(folder: str) -> dict[str, list[str]]:
    """The names of the files in a folder and its sub-folders, by folder.

    Hidden files and broken links are ignored.

    Raises:
        DataError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror or error}") from error

    return {
        place: [file.name for file in files if not file.is_symlink() or os.path.exists(file.path)]  # noqa: PTH110
        for place, files in walk(folder, refuse)
    }


def match_files(spans: Mapping[str, _Span], files: Mapping[str, Sequence[str]]) -> SegmentFiles:
    """The files of the listed segments, matched by name.

    An id may end in what looks like a time. So a name is matched against the listed segments instead of being parsed;
    a name that fits several segments goes to the longest id that has no other file.

    Args:
        spans: Start and end of each segment in its video, in seconds, by video id.
        files: The result of `list_files`.
    """
    readable = AUDIO_SUFFIXES | (media.SUFFIXES if media.is_installed() else frozenset())
    paths: dict[str, str] = {}
    doubled: set[str] = set()
    ambiguous: list[tuple[str, list[str]]] = []
    n_recordings = n_unread = 0

    def take(video_id: str, path: str) -> None:
        known = paths.get(video_id)
        if known is not None:
            doubled.add(video_id)
        paths[video_id] = path if known is None else min(known, path)

    for folder, names in files.items():
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            suffix = f"{dot}{suffix.lower()}"
            if suffix not in readable:
                n_unread += suffix in media.SUFFIXES
                continue
            n_recordings += 1
            readings = list(_readings(stem, spans))
            if len(readings) == 1:
                take(readings[0], f"{folder}{os.sep}{name}")
            elif readings:
                ambiguous.append((f"{folder}{os.sep}{name}", readings))
    for path, readings in sorted(ambiguous):
        take(next((video_id for video_id in readings if video_id not in paths), readings[0]), path)
    return SegmentFiles(paths, len(doubled), n_recordings, n_unread)


def _readings(stem: str, spans: Mapping[str, _Span]) -> Iterator[str]:
    """The ids of all segments that a file name fits, the longest first."""
    texts = (stem, stem[1:]) if stem.startswith("Y") else (stem,)
    if len(texts) == 1 and stem in spans and "_" not in stem:  # nearly all names, and only one reading
        yield stem
        return
    found = {video_id for text in texts for video_id in _without_times(text, spans)}
    yield from sorted(found, key=lambda video_id: (-len(video_id), video_id))


def _without_times(text: str, spans: Mapping[str, _Span]) -> Iterable[str]:
    if text in spans:
        yield text
    before, _, last = text.rpartition("_")
    if before in spans and _is_at(spans[before], last):
        yield before
    first, _, start = before.rpartition("_")
    if first in spans and _is_at(spans[first], start, last):
        yield first


def _is_at(span: _Span, *texts: str) -> bool:
    """Whether the texts are the onset (and offset) of the segment, all in seconds or all in milliseconds."""
    if not all(_NUMBER.fullmatch(text) for text in texts):
        return False
    values = [float(text) for text in texts]
    return any(
        all(abs(value - time * unit) < _ROUNDED for value, time in zip(values, span, strict=False))
        for unit in (1, 1000)
    )
