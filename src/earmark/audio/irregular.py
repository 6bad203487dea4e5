"""Files that decoders do not read to the end: joined, with wrong lengths, or with gaps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import soundfile

from earmark.audio import beginnings, chunks, flac, media, mixed, mp3, ogg
from earmark.audio.containers import Source, Span, id3_size, open_stream, part_of, size_in_bytes
from earmark.audio.joined import Part
from earmark.audio.sound_files import SoundFileDecoder, open_pipe, open_section
from earmark.storage.recent_values import RecentValues

if TYPE_CHECKING:
    from earmark.audio.decoding import Decoder

_COPIED_BYTES = 1 << 18
_READ_WITH_TAG = frozenset({"aac", "chunks", "flac", "mp3", "ogg"})
"""Families whose reader skips an ID3 tag at the beginning."""


@dataclass
class Plan:
    """How an irregular file is read."""

    parts: list[Part]
    """Its parts in order; empty if it is read as it is."""
    notes: list[str] = field(default_factory=list)
    """Texts of warnings."""
    files: Sequence[Source] = ()
    """The files of different formats in it; if there are any, each of them has its own plan."""


_ORDINARY = Plan([])
_PLANS: RecentValues[tuple[str, int, int, str, str], Plan] = RecentValues(n_values=4096)
"""Plans by path, size, time and format."""


def without_tag(source: Source) -> Source:
    """The file behind the ID3 tag at its beginning, where its reader expects none."""
    n_tag = id3_size(source)
    rest = part_of(source, n_tag, size_in_bytes(source)) if n_tag else source
    keeps_tag = n_tag and (beginnings.at(rest, 0) in _READ_WITH_TAG or mp3.start_of(source) is not None)
    return source if keeps_tag else rest


def plan(source: Source, name: str) -> Plan | None:
    """The way to read an irregular Ogg, FLAC, wav, aiff, au, caf or w64 file, or files of different formats in one.

    None for all other files. `name` is that of the recording in errors and warnings.
    """
    return _remembered(source, _plan, name)


def plan_mp3(source: Source, name: str) -> Plan | None:
    """The way to read an irregular mp3 file; None for an ordinary one, and for a file without frames of mp3."""
    return _remembered(source, _plan_mp3, name)


def _remembered(source: Source, make: Callable[[Source, str], Plan | None], name: str) -> Plan | None:
    """The plan for a file, made once: many parts of one long recording may be read."""
    if isinstance(source, bytes):
        return make(source, name)
    facts = (source.path if isinstance(source, Span) else source).stat()
    key = str(source), facts.st_size, facts.st_mtime_ns, make.__name__, name
    known = _PLANS.get(key) or _PLANS.add(key, make(source, name) or _ORDINARY)
    return None if known is _ORDINARY else known


def _plan(source: Source, name: str) -> Plan | None:
    with open_stream(source) as stream:
        head = stream.read(16)
        if head[:3] == b"ID3":
            stream.seek(id3_size(source))
            head = stream.read(16)
    is_ogg, is_flac = head.startswith(b"OggS"), head.startswith(b"fLaC")
    if (is_ogg and ogg.is_ordinary(source)) or (is_flac and flac.is_ordinary(source)):
        return None
    files = mixed.files(source)
    if len(files) > 1:
        return Plan([], [f"{len(files)} files are joined in it; all are read"], files)
    return _plan_ogg(source, name) if is_ogg else _plan_flac(source) if is_flac else _plan_chunks(source)


def _plan_mp3(source: Source, name: str) -> Plan | None:
    if mp3.is_ordinary(source):
        return None
    found = mp3.parts(source)
    if not found:
        return None
    notes = []
    if len(found) > 1:
        notes.append(f"{len(found)} mp3 files are joined in it; all are read")
    n_junk = sum(part.n_junk for part in found)
    if n_junk:
        notes.append(f"{n_junk} bytes between its frames are no mp3 and are skipped")
    position = 0.0
    parts = []
    for part in found:
        seconds = part.n_frames * part.samples_per_frame / part.sample_rate
        if part.is_cut:
            notes.append(f"cut off in the middle of a frame at {position + seconds:.1f} s")
        is_wrong = part.stated is not None and part.stated < part.n_frames
        if is_wrong:
            notes.append(f"its header states {part.stated} frames, but {part.n_frames} follow; all are read")
        elif part.trims_sound:
            is_wrong = True
            notes.append("its header states more padding than encoders add; the padding is read as sound")
        parts.append(Part(partial(_open_mp3, source, part, not is_wrong), seconds))
        position += seconds
    return Plan(parts, notes)


def _open_mp3(source: Source, part: mp3.Mp3Part, with_length: bool) -> SoundFileDecoder:
    return SoundFileDecoder(open_pipe(_mp3_pieces(source, part, with_length)))


def _open_ogg(source: Source, name: str, link: ogg.Link, stop: int) -> "Decoder":
    try:
        return SoundFileDecoder(open_pipe(ogg.rewritten(source, link)))
    except soundfile.SoundFileError:
        if not media.is_installed():
            raise
        # libsndfile does not read all FLAC in Ogg
        return media.open_media(part_of(source, link.start, stop), name, "ogg")


def _open_section(source: Source, start: int, stop: int, replaced: Mapping[int, bytes]) -> SoundFileDecoder:
    return SoundFileDecoder(open_section(source, start, stop, replaced))


def _mp3_pieces(source: Source, part: mp3.Mp3Part, with_length: bool) -> Iterator[bytes]:
    """The bytes of the frames, by choice with the one that states the length."""
    with open_stream(source) as stream:
        stating = [(part.start, part.start + part.n_stating_bytes)] if with_length else []
        for start, stop in (*stating, *part.spans):
            stream.seek(start)
            while start < stop and (piece := stream.read(min(_COPIED_BYTES, stop - start))):
                yield piece
                start += len(piece)


def _plan_ogg(source: Source, name: str) -> Plan:
    found = [link for link in ogg.links(source) if link.n_headers]
    notes: list[str] = []
    start = 0.0
    for link in found:
        notes += _ogg_notes(link, start)
        start += link.seconds
    if not found:
        return Plan([])
    if not found[-1].has_end:
        notes.append(f"ends at {start:.1f} s without a mark of its end; it may be cut off")
    only = found[0]
    is_whole = len(found) == 1 and not (only.start or only.gaps or only.notes or only.n_bytes_skipped or only.n_lost)
    stops = [*(link.start for link in found[1:]), size_in_bytes(source)]
    parts = [
        Part(
            partial(_open_ogg, source, name, link, stop),
            max(0, link.n_ticks) / link.clock_rate,
            [(at / link.clock_rate, n / link.clock_rate) for at, n in link.gaps],
        )
        for link, stop in zip(found, stops, strict=True)
    ]
    return Plan([] if is_whole else parts, notes)


def _ogg_notes(link: ogg.Link, start: float) -> Iterator[str]:
    if link.gaps:
        n_gaps = "a gap" if len(link.gaps) == 1 else f"{len(link.gaps)} gaps"
        first = start + link.gaps[0][0] / link.clock_rate
        seconds = sum(n for _, n in link.gaps) / link.clock_rate
        yield f"its clock has {n_gaps} from {first:.1f} s on, {seconds:.1f} s in all, filled with silence"
    for text, (n, at) in link.notes.items():
        yield f"has {text} at {start + at:.1f} s" + (f", and {n - 1} more" if n > 1 else "")
    if link.n_bytes_skipped:
        yield f"{link.n_bytes_skipped} bytes between its pages are no Ogg and are skipped"


def _plan_flac(source: Source) -> Plan | None:
    found = flac.parts(source)
    notes = [f"{len(found)} FLAC files are joined in it; all are read"] if len(found) > 1 else []
    parts = []
    for part in found:
        replaced: dict[int, bytes] = {}
        if part.stated and part.held > part.stated:
            notes.append(f"its header states {part.stated} samples, but {part.held} follow; all are read")
            replaced = flac.without_length(source, part)
        if part.sample_rate != part.stated_rate:
            notes.append(
                f"its header states {part.stated_rate} Hz, its sound {part.sample_rate} Hz, at which it is read"
            )
            replaced |= flac.with_rate(source, part)
        opening = partial(_open_section, source, part.start, part.stop, replaced)
        parts.append(Part(opening, part.seconds))
    return Plan(parts, notes)


def _plan_chunks(source: Source) -> Plan | None:
    found = chunks.parts(source)
    notes = [f"{len(found)} files are joined in it; all are read"] if len(found) > 1 else []
    notes += [
        f"its header states {part.stated} bytes of sound; the rest of the file is read too"
        for part in found
        if part.stated is not None
    ]
    if n_further := sum(part.n_further for part in found):
        notes.append(f"{n_further} bytes of sound in a further chunk are not read; one such chunk was expected")
    if not notes and not any(part.replaced or part.start for part in found):
        return None
    if len(found) > 1 and found[-1].n_missing:
        notes.append(f"cut off: the last {found[-1].n_missing} bytes that its header states are missing")
    opened = [Part(partial(_open_section, source, part.start, part.stop, part.replaced), None) for part in found]
    return Plan(opened, notes)
