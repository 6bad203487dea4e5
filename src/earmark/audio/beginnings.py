"""Where a file of any format begins within a file."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from earmark.audio import mp3
from earmark.audio.containers import ASF_HEADER, Source, id3_bytes, media_format, open_stream, part_of, size_in_bytes

MAX_SEARCHED: Final = 1 << 28
"""Bytes of a file that are searched; a search of larger ones takes long."""
_BLOCK_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 512
_MIN_BYTES: Final = 40
"""Bytes of the shortest beginning that is recognized."""
_MAX_TAG: Final = 1 << 24
"""Bytes of a tag with pictures before the sound."""
_MAX_TAGS: Final = 100
"""Tags that are skipped one after the other; a damaged file may hold endless ones."""
_BOXES: Final = frozenset(
    {b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"styp", b"sidx", b"meta", b"pdin"}
)
W64_RIFF: Final = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
"""First bytes of a W64 file."""
_WTV: Final = bytes.fromhex("b7d800203749da11a64e0007e95ead8d")
_OGG_CODECS: Final = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ", b"fishead\0", b"\x80theora", b"PCM     ")


@dataclass(frozen=True)
class _Mark:
    """Bytes near the beginning of a file."""

    wanted: bytes
    at: int
    """Their offset from the beginning."""
    family: str
    """Name of the format, or of the formats that one reader reads."""
    is_valid: Callable[[bytes], bool]
    """Whether the first bytes of a file are those of the format: any bytes may stand in sound."""


def _is_wave(head: bytes) -> bool:
    return head[8:12] == b"WAVE" and head[12:16].isascii() and head[12:16].decode().isprintable()


def _is_aiff(head: bytes) -> bool:
    return head[8:12] in (b"AIFF", b"AIFC") and head[12:16].isalnum()


def _is_au(head: bytes) -> bool:
    order = "little" if head[:4] == b"dns." else "big"
    offset, _, encoding, rate, n_channels = (int.from_bytes(head[i : i + 4], order) for i in range(4, 24, 4))  # type: ignore[arg-type]
    return 24 <= offset < 1 << 16 and 0 < encoding < 64 and 100 <= rate < 1 << 22 and 0 < n_channels < 256


def _is_mov(head: bytes) -> bool:
    n_bytes = int.from_bytes(head[:4])
    is_type = 16 <= n_bytes <= 256 and n_bytes % 4 == 0 and head[8:12].isascii() and head[8:12].decode().isprintable()
    return is_type and head[n_bytes + 4 : n_bytes + 8] in _BOXES


def _is_ogg(head: bytes) -> bool:
    return len(head) > 27 and head[27 + head[26] :].startswith(_OGG_CODECS)


def _is_matroska(head: bytes) -> bool:
    return b"webm" in head[4:64] or b"matroska" in head[4:64]


def _is_wavpack(head: bytes) -> bool:
    # the first block of a file: index 0, and the first of its channels
    is_first = not any(head[16:20]) and head[25] & 8
    return len(head) >= 32 and bool(is_first) and 0x402 <= int.from_bytes(head[8:10], "little") <= 0x410


def _is_tta(head: bytes) -> bool:
    return head[4:6] in (b"\1\0", b"\2\0") and 0 < head[6] < 64 and head[7] == 0 and head[9] == 0


def _is_ape(head: bytes) -> bool:
    return 3900 <= int.from_bytes(head[4:6], "little") <= 4100


def _is_stating_mp3(head: bytes) -> bool:
    return mp3.stating_bytes(head[:256]) > 0


def _is_any(head: bytes) -> bool:
    return True


_MARKS: Final = (
    *(_Mark(name, 0, "chunks", _is_wave) for name in (b"RIFF", b"RIFX", b"RF64", b"BW64")),
    _Mark(b"FORM", 0, "chunks", _is_aiff),
    _Mark(b"caff\0\1", 0, "chunks", lambda head: head[8:12] == b"desc"),
    _Mark(W64_RIFF, 0, "chunks", _is_any),
    *(_Mark(name, 0, "chunks", _is_au) for name in (b".snd", b"dns.")),
    _Mark(b"RIFF", 0, "avi", lambda head: head[8:16] == b"AVI LIST"),
    _Mark(b"fLaC\0\0\0\x22", 0, "flac", _is_any),
    _Mark(b"fLaC\x80\0\0\x22", 0, "flac", _is_any),
    _Mark(b"OggS\0\2", 0, "ogg", _is_ogg),
    _Mark(b"ftyp", 4, "mov", _is_mov),
    _Mark(b"\x1a\x45\xdf\xa3", 0, "matroska", _is_matroska),
    _Mark(ASF_HEADER, 0, "asf", _is_any),
    _Mark(_WTV, 0, "wtv", _is_any),
    _Mark(b"FLV\x01", 0, "flv", lambda head: head[5:13] == b"\0\0\0\x09\0\0\0\0"),
    _Mark(b"#!AMR", 0, "amr", lambda head: head[5:6] == b"\n" or head[5:9] == b"-WB\n"),
    _Mark(b"wvpk", 0, "wv", _is_wavpack),
    _Mark(b"TTA1", 0, "tta", _is_tta),
    _Mark(b"MAC ", 0, "ape", _is_ape),
    _Mark(b"Creative Voice File\x1a", 0, "voc", _is_any),
    _Mark(b"nut/multimedia container\0", 0, "nut", _is_any),
    _Mark(b".RMF\0\0\0", 0, "rm", _is_any),
    _Mark(b"DSD \x1c\0\0\0", 0, "dsf", _is_any),
    *(_Mark(name, 0, "sox", lambda head: b"\0\0" in head[4:8]) for name in (b".SoX", b"XoS.")),
    # the header that states the length of an mp3 stands behind 4 bytes, a checksum and the empty side information
    *(_Mark(name, at, "mp3", _is_stating_mp3) for name in (b"Xing", b"Info") for at in (13, 15, 21, 23, 36, 38)),
)
FAMILIES: Final = frozenset(mark.family for mark in _MARKS)
_TAG: Final = b"ID3"
_BY_WANTED: Final = {mark.wanted: [each for each in _MARKS if each.wanted == mark.wanted] for mark in _MARKS}


def at(source: Source, position: int) -> str | None:
    """The family of the file that begins at an offset where another one ends; None if none does."""
    with open_stream(source) as stream:
        stream.seek(position)
        head = stream.read(_HEAD_BYTES)
        for _ in range(_MAX_TAGS):
            if _family(head) is not None or not (n_tag := id3_bytes(head)):
                break
            position += n_tag
            stream.seek(position)
            head = stream.read(_HEAD_BYTES)
    family = _family(head)
    if family is None and head:
        rest = part_of(source, position, size_in_bytes(source))
        family = media_format(rest)
        if family is None and mp3.frame_bytes(head[:4]) and mp3.start_of(rest) == 0:
            family = "mp3"
    return family


def behind_tags(source: Source, position: int) -> int:
    """Offset behind the tags and zeros that end a file."""
    with open_stream(source) as stream:
        while True:
            stream.seek(position)
            block = stream.read(_BLOCK_BYTES)
            n_zeros = len(block) - len(block.lstrip(b"\0"))
            if block[:8] == b"APETAGEX":
                position += 32 + int.from_bytes(block[12:16], "little")
            elif block[:3] == b"TAG":
                position += 128
            elif n_zeros < _MIN_BYTES:
                return position
            else:
                # a file may begin with zeros
                position += n_zeros
                begins = (position - n for n in (3, 2) if at(source, position - n) is not None)
                position = next(begins, position)


def find(source: Source, start: int, stop: int, but: Collection[str | None] = ()) -> int | None:
    """Offset of the first beginning from `start` to before `stop`, wherever it lies; None without one.

    Only formats with long marks are found.

    Args:
        source: The file.
        start: First offset.
        stop: Last offset.
        but: Families that do not count.
    """
    stop = min(stop, start + MAX_SEARCHED)
    with open_stream(source) as stream:
        for position in range(start, stop, _BLOCK_BYTES):
            stream.seek(position)
            data = stream.read(min(_BLOCK_BYTES, stop - position) + _HEAD_BYTES)
            for i, family in _candidates(data, min(_BLOCK_BYTES, stop - position)):
                found = at(source, position + i) if family is None else family
                if found is not None and found not in but:
                    return position + i
    return None


def _family(head: bytes) -> str | None:
    fits = (mark.family for mark in _MARKS if head.startswith(mark.wanted, mark.at) and mark.is_valid(head))
    return next(fits, None) if len(head) >= _MIN_BYTES else None


def _candidates(data: bytes, n_bytes: int) -> list[tuple[int, str | None]]:
    """Offsets below `n_bytes` and families of beginnings, in order; None as the family of what is behind a tag."""
    found: list[tuple[int, str | None]] = []
    for wanted, marks in _BY_WANTED.items():
        for place in _offsets(data, wanted):
            for mark in marks:
                start = place - mark.at
                head = data[start : start + _HEAD_BYTES]
                if 0 <= start < n_bytes and len(head) >= _MIN_BYTES and mark.is_valid(head):
                    found.append((start, mark.family))
    for start in _offsets(data, _TAG):
        head = data[start : start + 10]
        is_tag = len(head) == 10 and 2 <= head[3] <= 4 and not head[5] & 15 and max(head[6:]) < 128
        if start < n_bytes and is_tag and id3_bytes(head) < 10 + _MAX_TAG:
            found.append((start, None))
    return sorted(found, key=lambda each: each[0])


def _offsets(data: bytes, wanted: bytes) -> Iterator[int]:
    place = data.find(wanted)
    while place >= 0:
        yield place
        place = data.find(wanted, place + 1)
