"""Ogg files page by page: chained links, gaps in the clock, lost and damaged pages."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from earmark.audio.containers import Source, open_stream, size_in_bytes
from earmark.audio.ogg_codecs import find_codec

_HEAD: Final = 27
"""Bytes of a page before its table of segments."""
_CONTINUED, _FIRST, _LAST = 1, 2, 4
"""Flags of a page: it begins in the middle of a packet, it is the first or the last of its stream."""
_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in reverse order: Ogg's checksum is that of zlib, mirrored."""
_MAX_JITTER: Final = 0.01
"""Seconds by which the clock of a page may differ: some writers round it to milliseconds."""
MAX_GAP: Final = 3600.0
"""Longest gap in seconds that is filled; a larger jump counts as a wrong clock."""
_MAX_BACK: Final = 1.0
"""Seconds by which the clock may fall behind the sound before it counts as set back."""
_SEARCHED_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Page:
    """A page of an Ogg file."""

    start: int
    """Byte offset."""
    flags: int
    granule: int
    """Time at its end in samples; -1 if no packet ends in it, or unknown."""
    serial: int
    sequence: int
    lacing: bytes
    """Sizes of the segments; a packet ends with the first segment below 255 bytes."""
    body: bytes
    is_intact: bool
    """Whether the checksum is right."""

    @property
    def stop(self) -> int:
        """Byte offset of the end."""
        return self.start + _HEAD + len(self.lacing) + len(self.body)


def _checksum(page: bytes) -> bytes:
    """The checksum of a page in which its own 4 bytes are 0."""
    return (zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4).translate(_MIRRORED)


def pages(source: Source, start: int = 0) -> Iterator[Page]:
    """The pages from a byte offset on; bytes that are no page are skipped.

    A page whose checksum is wrong is yielded if another one follows where it ends; its granule counts as unknown.
    """
    with open_stream(source) as stream:
        stream.seek(start)
        while True:
            head = stream.read(_HEAD)
            if len(head) < _HEAD:
                return
            if head.startswith(b"OggS\0"):
                lacing = stream.read(head[26])
                body = stream.read(sum(lacing))
                is_whole = len(lacing) == head[26] and len(body) == sum(lacing)
                is_intact = is_whole and _checksum(head[:22] + bytes(4) + head[26:] + lacing + body) == head[22:26]
                if is_whole and not is_intact:
                    end = stream.tell()
                    is_whole = stream.read(4) in (b"OggS", b"")
                    stream.seek(end)
                if is_whole:
                    granule = int.from_bytes(head[6:14], "little", signed=True) if is_intact else -1
                    serial, sequence = (int.from_bytes(head[at : at + 4], "little") for at in (14, 18))
                    page = Page(start, head[5], granule, serial, sequence, lacing, body, is_intact)
                    yield page
                    start = page.stop
                    continue
            found = -1
            while found < 0:
                stream.seek(start + 1)
                block = stream.read(_SEARCHED_BYTES)
                found = block.find(b"OggS")
                if found < 0 and len(block) < _SEARCHED_BYTES:
                    return
                start += 1 + found if found >= 0 else _SEARCHED_BYTES - 4
            stream.seek(start)


def is_ordinary(source: Source) -> bool:
    """Whether an Ogg file is one link without gap, loss and damage, or of streams that libsndfile does not read."""
    first = next(iter(pages(source)), None)
    codec = None if first is None else find_codec(first.body)
    if codec is None or first is None:
        return True
    if first.start:  # behind a tag libsndfile leaves out as many bytes at the end
        return False
    clock, n_headers, end, last = -1, 0, 0, first
    for page in pages(source):
        if page.start != end or not page.is_intact:
            return False
        if page.serial != first.serial or (page.flags & _FIRST and page.start):
            # several streams at the same time, such as video, begin together
            return not n_headers and bool(page.flags & _FIRST)
        if page.start and page.sequence != last.sequence + 1 & 0xFFFFFFFF:
            return False
        n_packets = len(page.lacing) - page.lacing.count(255)
        if n_headers < codec.n_headers:
            n_headers += n_packets if page.start else 1
        elif page.granule >= 0:
            step = n_packets * codec.max_duration(page.body if not page.flags & _CONTINUED else b"")
            # packets on a page may differ in duration
            if (step and page.granule > max(clock, 0) + step + _MAX_JITTER * codec.rate) or page.granule < clock:
                return False
            clock = page.granule
        end, last = page.stop, page
    return bool(last.flags & _LAST) and next(gaps(source, end), None) is None


def gaps(source: Source, start: int = 0) -> Iterator[tuple[int, int]]:
    """Offsets of bytes behind a page that are no page: where they begin, and where they end."""
    end = start
    for page in pages(source, start):
        if page.start > end:
            yield end, page.start
        end = page.stop
    if end < size_in_bytes(source):
        yield end, size_in_bytes(source)


@dataclass(frozen=True)
class Packet:
    """A packet of sound."""

    data: bytes
    duration: int
    """Ticks of the clock."""
    at: int
    """Number of ticks of sound up to its end."""


@dataclass
class Link:
    """A stream of a chained Ogg file: it has its own headers, codec and rate."""

    start: int
    """Byte offset."""
    serial: int
    clock_rate: int = 1
    """Ticks a second."""
    delay: int = 0
    """Ticks of sound at the beginning that decoders leave out."""
    n_ticks: int = 0
    """Duration of the sound, without gaps and delay."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Number of ticks of sound before each gap, and the ticks of the gap."""
    notes: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Irregularities: how often each occurs, and the seconds of sound before the first."""
    n_bytes_skipped: int = 0
    """Bytes that are no page."""
    n_headers: int = 0
    """Packets before the sound; 0 for codecs that libsndfile does not read."""
    n_lost: int = 0
    """Pages before which others are missing."""
    has_end: bool = False
    """Whether the last page is marked as such."""

    @property
    def seconds(self) -> float:
        """Duration with gaps."""
        return (max(0, self.n_ticks) + sum(n for _, n in self.gaps)) / self.clock_rate

    def note(self, text: str, at: int) -> None:
        """Counts an irregularity after `at` ticks of sound."""
        n, first = self.notes.get(text, (0, at / self.clock_rate))
        self.notes[text] = n + 1, first


def links(source: Source) -> list[Link]:
    """The links of an Ogg file of Vorbis, Opus or FLAC; links of other codecs have no clock and no sound."""
    found: list[Link] = []
    serials: set[int] = set()
    has_begun = True
    for page in pages(source):
        if page.flags & _FIRST:
            if has_begun:
                serials, has_begun = set(), False
                found.append(Link(page.start, page.serial))
            # of streams at the same time, the first that is sound
            elif find_codec(page.body) is not None and found[-1].serial not in serials:
                found[-1].serial = page.serial
            if find_codec(page.body) is not None:
                serials.add(page.serial)
        else:
            has_begun = True
    for link in found:
        for _ in _Reader(source, link).packets():
            pass
    return found


class _Reader:
    """Reads one link: headers, packets of sound, gaps and irregularities.

    Args:
        source: The file.
        link: Its offset and serial number; the reader fills in the rest.
    """

    def __init__(self, source: Source, link: Link) -> None:
        self._source, self._link = source, link
        self.headers: list[bytes] = []

    def _pages(self) -> Iterator[Page]:
        end, has_begun = self._link.start, False
        for page in pages(self._source, self._link.start):
            if page.flags & _FIRST and has_begun:
                return
            has_begun = has_begun or not page.flags & _FIRST
            if page.start != end:
                self._link.n_bytes_skipped += page.start - end
            end = page.stop
            if page.serial == self._link.serial:
                yield page

    def packets(self) -> Iterator[Packet]:
        """The packets of sound in order; `headers` is filled before the first one."""
        link, codec, sequence, partial = self._link, None, -1, b""
        at, base, is_first = 0, 0, True
        for page in self._pages():
            is_lost = sequence >= 0 and page.sequence != sequence + 1 & 0xFFFFFFFF
            sequence = page.sequence
            link.n_lost += is_lost
            # what is left of a packet whose other part is lost is left out
            complete, partial = _split(page, b"" if is_lost else partial)
            if codec is None:
                codec = find_codec(complete[0] if complete else b"")
                if codec is None:
                    return
                link.clock_rate, link.delay = codec.rate or 1, codec.delay
            while complete and len(self.headers) < codec.n_headers:
                self.headers.append(complete.pop(0))
                link.n_headers += 1
                codec.add_header(self.headers[-1])
            link.has_end = bool(page.flags & _LAST)
            if not page.is_intact:
                link.note("a damaged page", at)
            durations = [codec.duration(packet) for packet in complete]
            n_page = sum(durations)
            # the end of the last page may cut its sound
            limit = at + n_page
            if page.granule >= 0 and complete:
                ahead = page.granule - base - (at + n_page)
                if is_first:
                    base, is_first = base + max(0, ahead), False
                    limit = at + n_page + min(0, ahead) if link.has_end else limit
                elif link.has_end and -n_page <= ahead < 0:
                    limit += ahead
                else:
                    base += self._gap(ahead, at)
            for packet, duration in zip(complete, durations, strict=True):
                at += duration
                yield Packet(packet, duration, min(at, limit))
            at = limit
        link.n_ticks = at - link.delay

    def _gap(self, ahead: int, at: int) -> int:
        """Ticks that the clock is set forward after `at` ticks of sound; notes a gap or a wrong clock."""
        link = self._link
        seconds = ahead / link.clock_rate
        if -_MAX_BACK <= seconds <= _MAX_JITTER:
            return 0
        if seconds < 0:
            link.note("a clock that is set back", at)
        elif seconds > MAX_GAP:
            link.note(f"a clock that jumps by more than {MAX_GAP:g} s", at)
        else:
            link.gaps.append((at - link.delay, ahead))
        return ahead


def _split(page: Page, partial: bytes) -> tuple[list[bytes], bytes]:
    """The packets that end on a page, and the beginning of the one that does not."""
    complete, start, stop = [], 0, 0
    is_rest = bool(page.flags & _CONTINUED)
    for n_bytes in page.lacing:
        stop += n_bytes
        if n_bytes < 255:
            packet = page.body[start:stop]
            if not is_rest:
                complete.append(packet)
            elif partial:
                complete.append(partial + packet)
            is_rest, start = False, stop
    rest = page.body[start:]
    return complete, (partial + rest if partial else b"") if is_rest else rest


def rewritten(source: Source, link: Link) -> Iterator[bytes]:
    """One link as an Ogg file without gap, loss and damage, in pieces."""
    reader = _Reader(source, Link(link.start, link.serial))
    packets = reader.packets()
    first = next(packets, None)
    sequence = 0
    for position, header in enumerate(reader.headers):
        for page in _written(header, 0, sequence, _FIRST if position == 0 else 0):
            yield page
            sequence += 1
    waiting = first
    while waiting is not None:
        following = next(packets, None)
        for page in _written(waiting.data, waiting.at, sequence, _LAST if following is None else 0):
            yield page
            sequence += 1
        waiting = following


def _written(packet: bytes, granule: int, sequence: int, flags: int) -> Iterator[bytes]:
    """The pages of one packet."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    for start in range(0, len(lacing), 255):
        part = lacing[start : start + 255]
        is_end = start + 255 >= len(lacing)
        flag = flags & _FIRST if not start else _CONTINUED
        flag |= flags & _LAST if is_end else 0
        head = b"OggS\0" + bytes([flag]) + (granule if is_end else -1).to_bytes(8, "little", signed=True)
        head += (1).to_bytes(4, "little") + (sequence + start // 255).to_bytes(4, "little")
        rest = bytes([len(part)]) + part + packet[start * 255 : start * 255 + sum(part)]
        yield head + _checksum(head + bytes(4) + rest) + rest
