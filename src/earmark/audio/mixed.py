"""Files of different formats that are joined in one."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from earmark.audio import beginnings, chunks, containers, flac, mp3, ogg, units
from earmark.audio.containers import TOLERATED_BYTES, Source, part_of, size_in_bytes

_MAX_FILES: Final = 1000
_SELF_JOINING: Final = frozenset({"aac", "ac3", "flac", "flv", "mov", "mp3", "mpeg", "mpegts", "ogg"})
"""Families whose reader also reads further files of the same family."""
_HOLD_MP3: Final = frozenset({"asf", "avi", "flv", "matroska", "mov", "mpeg", "mpegts"})
"""Families in which an mp3 may be the sound track."""


def files(source: Source) -> Sequence[Source]:
    """The files that are joined in one; files of the same format in a row stay together as one."""
    found: list[Source] = []
    rest = source
    while len(found) < _MAX_FILES and (end := _end(rest)) is not None:
        found.append(part_of(rest, 0, end))
        rest = part_of(rest, end, size_in_bytes(rest))
    return [*found, rest]


def _end(source: Source) -> int | None:
    """Offset at which a file of another format begins; None if the first one is all."""
    family = beginnings.at(source, 0)
    if family is None and mp3.start_of(source) is not None:
        family = "mp3"
    size = size_in_bytes(source)
    between: Iterable[tuple[int, int]]
    match family:
        case "chunks":
            found = chunks.parts(source)
            return found[-1].stop if found and found[-1].stop < size else None
        case "flac":
            between = _behind_flac(source)
        case "ogg":
            between = ogg.gaps(source)
        case "mp3":
            between = [] if mp3.stated_end(source) == size else _behind_mp3(source)
        case "mov" | "matroska" | "avi" | "asf":
            end = containers.end_of(source, family)
            if family == "matroska" and not end:  # a live recording, which states no size
                return beginnings.find(source, TOLERATED_BYTES, size, beginnings.FAMILIES - {family})
            between = [(end, size)] if end else []
        case _:
            between = [(_end_of_units(source, family), size)]
    return _first_beginning(source, between, family)


def _end_of_units(source: Source, family: str | None) -> int:
    end = None if family is None else units.end_of(source, family)
    # an end beyond that of the file is damage
    return TOLERATED_BYTES if end is None or end > size_in_bytes(source) else max(end, TOLERATED_BYTES)


def _first_beginning(source: Source, between: Iterable[tuple[int, int]], family: str | None) -> int | None:
    """The first offset in those ranges at which a file begins that the reader of a family does not read."""
    own = frozenset({family}) & _SELF_JOINING
    for end, stop in between:
        start = beginnings.behind_tags(source, end)
        found = None if beginnings.at(source, start) in (None, *own) else start
        if found is None and stop - start > TOLERATED_BYTES:
            found = beginnings.find(source, start, stop, own | {"mp3"} if family in _HOLD_MP3 else own)
        if found is not None and found < stop:
            return found
    return None


def _behind_flac(source: Source) -> Iterator[tuple[int, int]]:
    """Ranges of bytes behind the last frame of each FLAC file; from within that frame on, if its end is unknown."""
    found = flac.parts(source)
    for part, following in zip(found, [*found[1:], None], strict=bool(found)):
        stop = size_in_bytes(source) if following is None else following.start
        yield part.stop if part.stop < stop else min(part.last_frame + 2, stop), stop


def _behind_mp3(source: Source) -> Iterator[tuple[int, int]]:
    """Ranges of bytes between and behind the frames, and within each last frame, which may be cut."""
    spans = [span for part in mp3.parts(source) for span in part.spans]
    starts = [start for start, _ in spans]
    for (start, end), stop in zip(spans, [*starts[1:], size_in_bytes(source)], strict=bool(spans)):
        if end < stop:
            yield max(start + 1, end - mp3.MAX_FRAME_BYTES), end
            yield end, stop
