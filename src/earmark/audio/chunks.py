"""wav, aiff, au, caf and w64 files chunk by chunk: joined files, and stated sizes that are too small."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Final, Literal

from earmark.audio import beginnings
from earmark.audio.containers import TOLERATED_BYTES, Source, id3_size, open_stream, part_of, size_in_bytes

_BLOCK_BYTES: Final = 1 << 20
_UNKNOWN: Final = 0x7FFF0000
_ENDLESS: Final = 1 << 62
"""A size of 64 bits from which on libsndfile refuses a file."""
_MAX_CHUNKS: Final = 1000
"""Damaged files may hold endless chunks of size 0."""
_W64_DATA: Final = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
_TAGS: Final = (b"TAG", b"ID3", b"APETAG")
_AU_MAGICS: Final = (b".snd", b"dns.")
_CODECS: Final = {
    0x02: "Microsoft ADPCM",
    0x08: "DTS",
    0x10: "OKI ADPCM",
    0x14: "G.723 ADPCM",
    0x22: "TrueSpeech",
    0x28: "LPC-10",
    0x31: "GSM 6.10",
    0x40: "G.721 ADPCM",
    0x42: "G.723.1",
    0x45: "G.726 ADPCM",
    0x50: "MPEG layer 1 or 2",
    0x55: "mp3",
    0x57: "AMR-NB",
    0x58: "AMR-WB",
    0x64: "G.726 ADPCM",
    0x83: "G.729",
    0x92: "AC-3 over S/PDIF",
    0xFF: "AAC",
    0x130: "ACELP.net",
    0x160: "Windows Media Audio 1",
    0x161: "Windows Media Audio 2",
    0x162: "Windows Media Audio Pro",
    0x163: "Windows Media Audio Lossless",
    0x270: "ATRAC3",
    0x28F: "G.722",
    0x566F: "Vorbis",
    0x674F: "Vorbis",
    0x704F: "Opus",
    0x706D: "AAC",
    0x1600: "AAC",
    0x1602: "AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0xA106: "AAC",
    0xA109: "Speex",
    0xF1AC: "FLAC",
}
"""Codecs by their number in the header of a wav file (RFC 2361 and its successors)."""
_LINEAR: Final = frozenset({0x01, 0x03, 0x06, 0x07, 0xFFFE})
"""Numbers of samples without a codec, and of the form that names its codec elsewhere."""
_DISGUISED: Final = (b"\x72\xf8\x1f\x4e", b"\xfe\x7f\x01\x80", b"\xff\x1f\x00\xe8")
"""Beginnings of the blocks of AC-3 and DTS that are stored as 16-bit samples: S/PDIF, DTS of 16 and of 14 bits."""
_DISGUISED_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class _Layout:
    """The layout of the chunks of a format."""

    order: Literal["little", "big"]
    first: int
    """Offset of the first chunk."""
    sound: bytes
    """Name of the chunk with the sound."""
    n_name: int = 4
    n_size: int = 4
    align: int = 2
    counts_head: bool = False
    """Whether the size of a chunk includes its name and size."""

    @property
    def n_head(self) -> int:
        return self.n_name + self.n_size


_WAV: Final = _Layout("little", 12, b"data")
_RIFX: Final = _Layout("big", 12, b"data")
_AIFF: Final = _Layout("big", 12, b"SSND")
_CAF: Final = _Layout("big", 8, b"data", n_size=8, align=1)
_W64: Final = _Layout("little", 40, _W64_DATA, n_name=16, n_size=8, align=8, counts_head=True)


@dataclass
class SoundPart:
    """A file within a file, and what must be corrected in it."""

    start: int
    """Byte offset."""
    stop: int = 0
    replaced: dict[int, bytes] = field(default_factory=dict)
    """New bytes by their offset from `start`."""
    stated: int | None = None
    """Bytes of sound that the header states, if more follow."""
    n_missing: int = 0
    """Bytes of sound that the header states and the file lacks."""
    n_further: int = 0
    """Bytes of sound in chunks behind the first one with sound."""


def parts(source: Source) -> list[SoundPart]:
    """The files that are joined in one, behind any tag; empty for other formats, and for files without sound.

    The last one ends where a file of another format begins.
    """
    size = size_in_bytes(source)
    found: list[SoundPart] = []
    start: int | None = id3_size(source)
    with open_stream(source) as stream:
        while start is not None and len(found) < _MAX_CHUNKS:
            part = SoundPart(start)
            layout = _layout(stream, start)
            if layout is None and not _is_au(stream, start):
                break
            start = _end_au(stream, part, size, source) if layout is None else _end(stream, part, size, layout, source)
            part.stop = size if start is None else start
            found.append(part)
    return found


def _layout(stream: BufferedIOBase, start: int) -> _Layout | None:
    stream.seek(start)
    head = stream.read(40)
    magic, form = head[:4], head[8:12]
    if form == b"WAVE" and magic in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return _RIFX if magic == b"RIFX" else _WAV
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _AIFF
    if magic == b"caff":
        return _CAF
    return _W64 if head[:16] == beginnings.W64_RIFF else None


def _is_au(stream: BufferedIOBase, start: int) -> bool:
    stream.seek(start)
    return stream.read(4) in _AU_MAGICS


def _end(stream: BufferedIOBase, part: SoundPart, size: int, layout: _Layout, source: Source) -> int | None:
    """The offset of the next file; notes in `part` if the header states too little."""
    stream.seek(part.start)
    if stream.read(4) == b"BW64":  # the same as RF64
        part.replaced[0] = b"RF64"
    position, has_sound = part.start + layout.first, False
    in_ds64: int | None = None
    chunks: dict[bytes, int] = {}
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(layout.n_head)
        if len(head) < layout.n_head:
            return None
        if has_sound and beginnings.at(source, position) is not None:
            return position
        name = head[: layout.n_name]
        stated = int.from_bytes(head[layout.n_name :], layout.order)
        chunks.setdefault(name, position)
        if name == b"ds64":
            stream.seek(position + 16)
            in_ds64 = int.from_bytes(stream.read(8), "little")
        if name == layout.sound and not has_sound:
            has_sound = True
            stated = in_ds64 if in_ds64 is not None and stated == 0xFFFFFFFF else stated
            end = position + stated + (0 if layout.counts_head else layout.n_head)
            padded = end + -(end - part.start) % layout.align
            if size - end <= TOLERATED_BYTES:
                # writers to a pipe state the largest number
                following = _search(source, part.start, size) if stated >= _UNKNOWN else None
                if following is not None:
                    _correct(stream, part, following, layout, chunks, None)
                elif stated < _UNKNOWN:
                    part.n_missing = max(0, end - size - TOLERATED_BYTES)
                elif stated >= _ENDLESS:
                    _correct(stream, part, size, layout, chunks, None)
                return following
            behind = (beginnings.behind_tags(source, at) for at in (padded, end))
            following = next((at for at in behind if beginnings.at(source, at) is not None), None)
            if following is not None:
                return following
            if not (_is_chunk(stream, padded, size, layout) or _is_chunk(stream, end, size, layout)):
                following = _search(source, part.start, size)
                _correct(stream, part, following or size, layout, chunks, stated)
                return following
            position = padded if _is_chunk(stream, padded, size, layout) else end
            continue
        if has_sound and not _is_chunk(stream, position, size, layout):
            return None
        if name == layout.sound:
            part.n_further += stated
        position += stated + (0 if layout.counts_head else layout.n_head)
        position += -(position - part.start) % layout.align
        if position > size or (layout.counts_head and stated < layout.n_head):
            return None
    return None


def _correct(
    stream: BufferedIOBase, part: SoundPart, stop: int, layout: _Layout, chunks: Mapping[bytes, int], stated: int | None
) -> None:
    """Corrects the size of the sound, which extends to `stop`."""
    at = chunks[layout.sound]
    held = stop - at - layout.n_head
    part.stated = stated
    size_at = at + layout.n_name
    if b"ds64" in chunks:
        part.replaced[chunks[b"ds64"] + 16 - part.start] = held.to_bytes(8, "little")
    total = held + layout.n_head if layout.counts_head else held
    largest = (1 << 8 * layout.n_size) - 1
    part.replaced[size_at - part.start] = (largest if b"ds64" in chunks else min(total, largest)).to_bytes(
        layout.n_size, layout.order
    )
    if layout is _AIFF and b"COMM" in chunks:
        stream.seek(chunks[b"COMM"] + 8)
        n_channels, _, n_bits = (int.from_bytes(stream.read(n)) for n in (2, 4, 2))
        n_samples = (held - 8) // max(1, n_channels * (n_bits + 7) // 8)
        part.replaced[chunks[b"COMM"] + 10 - part.start] = min(n_samples, 0xFFFFFFFF).to_bytes(4)


def _search(source: Source, start: int, size: int) -> int | None:
    """Offset of the file behind the one at `start`, wherever it begins; None without one, and in large files."""
    # the sound of a wav file may be an mp3
    but = {"mp3"} if wav_codec(part_of(source, start, size)) else ()
    return beginnings.find(source, start + 1, size, but) if size <= beginnings.MAX_SEARCHED else None


def _is_chunk(stream: BufferedIOBase, position: int, size: int, layout: _Layout) -> bool:
    """Whether a chunk, a tag, padding or another file begins there."""
    stream.seek(position)
    head = stream.read(layout.n_head)
    if head.startswith(_TAGS):
        return True
    if not head.strip(b"\0"):
        # silence may be sound, padding may stand before a chunk
        following = _after_zeros(stream, position)
        return following >= size or (bool(head) and _is_chunk(stream, following, size, layout))
    if len(head) < layout.n_head or _layout(stream, position) is not None:
        return True
    name = head[:4]
    stated = int.from_bytes(head[layout.n_name :], layout.order)
    end = position + stated + (0 if layout.counts_head else layout.n_head)
    return name.isascii() and name.decode().isprintable() and end <= size + TOLERATED_BYTES


def _after_zeros(stream: BufferedIOBase, position: int) -> int:
    """Offset of the first byte other than 0 from a position on, or of the end."""
    stream.seek(position)
    while block := stream.read(_BLOCK_BYTES):
        rest = block.lstrip(b"\0")
        if rest:
            return position + len(block) - len(rest)
        position += len(block)
    return position


def _end_au(stream: BufferedIOBase, part: SoundPart, size: int, source: Source) -> int | None:
    """The offset of the next au file; notes in `part` if the header states too little."""
    stream.seek(part.start)
    head = stream.read(12)
    order: Literal["little", "big"] = "little" if head[:4] == b"dns." else "big"
    offset, stated = int.from_bytes(head[4:8], order), int.from_bytes(head[8:], order)
    end = part.start + offset + stated
    if stated >= _UNKNOWN:
        following = _search(source, part.start, size)
        held = 0xFFFFFFFF if following is None else following - part.start - offset
        if stated != held:
            part.replaced[8] = held.to_bytes(4, order)
        return following
    if size - end <= TOLERATED_BYTES:
        return None
    following = beginnings.behind_tags(source, end)
    if beginnings.at(source, following) is not None:
        return following
    stream.seek(end)
    behind = stream.read(TOLERATED_BYTES)
    if not behind.startswith(_TAGS) and _after_zeros(stream, end) < size:
        part.stated = stated
        part.replaced[8] = b"\xff" * 4
    return None


def is_disguised(source: Source) -> bool:
    """Whether the first samples of a wav file are blocks of AC-3 or DTS, as for the digital output of a player."""
    with open_stream(source) as stream:
        head = stream.read(_DISGUISED_BYTES)
    return head.startswith(b"RIFF") and any(head.count(mark) > 1 for mark in _DISGUISED)


def wav_codec(source: Source) -> str | None:
    """The codec that the header of a wav file names; None for plain samples and other files."""
    with open_stream(source) as stream:
        if _layout(stream, 0) is not _WAV:
            return None
        position = _WAV.first
        for _ in range(_MAX_CHUNKS):
            stream.seek(position)
            head = stream.read(8)
            if len(head) < 8:
                break
            n_bytes = int.from_bytes(head[4:], "little")
            if head[:4] == b"fmt ":
                number = int.from_bytes(stream.read(2), "little")
                if number == 0xFFFE:  # the first bytes of an identifier at the end
                    stream.seek(position + 32)
                    number = int.from_bytes(stream.read(2), "little")
                return None if number in _LINEAR else _CODECS.get(number, f"a codec with the number {number:#x}")
            position += 8 + n_bytes + n_bytes % 2
    return None
