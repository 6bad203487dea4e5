"""Lengths stated in file headers, to detect truncated files: decoders read those without an error."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Final

from earmark.errors import AudioError


@dataclass(frozen=True)
class Span:
    """A file within a file."""

    path: Path
    start: int
    """Offset of its first byte."""
    stop: int
    """Offset behind its last byte."""


Source = Path | bytes | Span
"""A recording: the path of a file, all its bytes, or a part of a file."""
ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
"""First bytes of a Windows Media file."""
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_SIGNATURES: Final = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, ASF_HEADER, "asf"),
    (0, b"FLV\x01", "flv"),
    (0, b"#!AMR", "amr"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"\0\0\x01\xba", "mpeg"),
)
"""Formats that libsndfile does not read: offset and bytes of the signature, and FFmpeg's name."""
TOLERATED_BYTES: Final = 64
"""Tolerated excess of the stated size: some writers include the header's bytes."""
_SEARCHED_BYTES: Final = 1 << 20
_MAX_BOXES: Final = 1_000_000
_MAX_OGG_PAGE: Final = 27 + 255 + 255 * 255


class DecodingError(Exception):
    """A decoder's description of damage; callers add the file and the position."""


class LenientFile:
    """A file for C libraries, whose seek returns -1 on failure: exceptions would be printed and ignored."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.read = file.read
        self.tell = file.tell
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def part_of(source: Source, start: int, stop: int) -> Source:
    """The bytes between two offsets, as a file."""
    if isinstance(source, bytes):
        return source[start:stop]
    if isinstance(source, Span):
        return Span(source.path, source.start + start, source.start + stop)
    return Span(source, start, stop)


def open_stream(source: Source) -> BufferedIOBase:
    """A binary stream at the first byte; the caller closes it."""
    if isinstance(source, Span):
        return Section(source.path.open("rb"), source.start, source.stop)
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def size_in_bytes(source: Source) -> int:
    if isinstance(source, Span):
        return source.stop - source.start
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def truncation_error(name: str, stated: str, held: str) -> AudioError:
    """The error for a file that holds less than its header states."""
    return AudioError(
        f"{name}: cut off, its header states {stated} but the file holds {held}; copy or download it again"
    )


def check_complete(source: Source, name: str, file_format: str) -> None:
    """Checks that a file does not end before its stated end.

    A truncated FLAC or mp3 file is only detected during decoding; MPEG-TS and some others state no length.

    Args:
        source: The recording.
        name: Name of the recording in errors.
        file_format: The format's name in libsndfile or FFmpeg.

    Raises:
        AudioError: The file is cut off.
    """
    size = size_in_bytes(source)
    with open_stream(source) as stream:
        if file_format in ("OGG", "ogg"):
            if not _last_page_is_complete(stream, size):
                raise AudioError(f"{name}: cut off in the middle of an Ogg page; copy or download it again")
            return
        if file_format in ("WAV", "WAVEX", "RF64", "AIFF", "CAF", "wav", "aiff", "caf"):
            stated, held = _chunk_sizes(stream, size)
        elif file_format in ("AU", "au"):
            stated, held = _au_sizes(stream, size)
        elif file_format in ("W64", "w64"):
            stated, held = int.from_bytes(stream.read(24)[16:], "little"), size
        elif file_format == "mov":
            stated, held = _box_sizes(stream, size)
        elif file_format == "matroska":
            stated, held = _segment_sizes(stream, size)
        elif file_format == "avi":
            stated, held = int.from_bytes(stream.read(8)[4:], "little"), size - 8
        elif file_format == "asf":
            stated, held = _asf_stated_size(stream), size
        else:
            return
    # writers to a pipe do not know the length and state the largest number
    unknown = 0x7FFF0000 <= stated <= 0x80000000 or 0xFFFF0000 <= stated <= 0xFFFFFFFF or stated >= 1 << 62
    if not unknown and stated - held > TOLERATED_BYTES:
        unit = "bytes" if file_format.islower() else "bytes of sound"
        raise truncation_error(name, f"{stated} {unit}", f"{held}")


class Section(BufferedIOBase):
    """Part of a file as a file of its own, in which some bytes are replaced.

    Args:
        stream: The file; it is closed with this one.
        start: Offset of the first byte.
        stop: Offset behind the last byte.
        replaced: New bytes by their offset from `start`.
    """

    def __init__(
        self, stream: BufferedIOBase, start: int, stop: int, replaced: Mapping[int, bytes] = MappingProxyType({})
    ) -> None:
        self._stream, self._start, self._size, self._replaced = stream, start, stop - start, replaced
        self._stream.seek(start)

    def read(self, n_bytes: int | None = -1, /) -> bytes:
        at = self.tell()
        n_left = max(0, self._size - at)
        data = self._stream.read(n_left if n_bytes is None or n_bytes < 0 else min(n_bytes, n_left))
        for offset, new in self._replaced.items():
            first, last = max(at, offset), min(at + len(data), offset + len(new))
            if first < last:
                data = data[: first - at] + new[first - offset : last - offset] + data[last - at :]
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        origin = (0, self._stream.tell() - self._start, self._size)[whence]
        return self._stream.seek(self._start + max(0, origin + offset)) - self._start

    def close(self) -> None:
        self._stream.close()
        super().close()


def find_all(source: Source, wanted: bytes) -> Iterator[int]:
    """The offsets at which the bytes occur, in order."""
    position, kept = 0, b""
    with open_stream(source) as stream:
        while block := stream.read(_SEARCHED_BYTES):
            data = kept + block
            at = data.find(wanted)
            while at >= 0:
                yield position - len(kept) + at
                at = data.find(wanted, at + 1)
            position += len(block)
            kept = data[1 - len(wanted) :]


def joined_files(source: Source, file_format: str) -> Sequence[Source]:
    """The files that are joined in one, for formats that FFmpeg reads up to the end of the first; else the file itself.

    Args:
        source: The recording.
        file_format: The format's name in FFmpeg.
    """
    starts = list(_file_starts(source, file_format))
    if len(starts) < 2:
        return [source]
    stops = [*starts[1:], size_in_bytes(source)]
    return [part_of(source, start, stop) for start, stop in zip(starts, stops, strict=True)]


def _file_starts(source: Source, file_format: str) -> Iterator[int]:
    """Offsets of the files that are joined in one flv, mp4 or mov file."""
    with open_stream(source) as stream:
        if file_format == "flv":
            for at in find_all(source, b"FLV\x01"):
                stream.seek(at + 5)
                if stream.read(8) == b"\0\0\0\x09\0\0\0\0":  # size of the header, and of the tag before the first
                    yield at
        elif file_format == "mov":
            seen = {b"moov", b"mdat"}
            for at, name, _, _ in _boxes(stream):
                if name == b"ftyp" and b"moov" in seen and not seen.isdisjoint((b"mdat", b"moof")):
                    yield at
                    seen = set()
                seen.add(name)


def id3_bytes(head: bytes) -> int:
    """Size in bytes of the ID3 tag that begins with these bytes; 0 without one."""
    # the size is stored in four bytes of seven bits each
    n_bytes = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    return 10 + n_bytes if head[:3] == b"ID3" else 0


def id3_size(source: Source) -> int:
    """Size in bytes of the ID3 tag at the beginning; 0 without one."""
    with open_stream(source) as stream:
        _skip_id3(stream)
        return stream.tell()


def media_format(source: Source) -> str | None:
    """FFmpeg's name of the format, from the first bytes; None for formats that libsndfile reads."""
    with open_stream(source) as stream:
        head = stream.read(600)
        for at, magic, name in _SIGNATURES:
            if head.startswith(magic, at):
                return name
        # packets of 188 bytes; cameras put a 4-byte timestamp before each
        if b"GGG" in (head[::188][:3], head[4::192][:3]):
            return "mpegts"
        stream.seek(0)
        _skip_id3(stream)
        frame = stream.read(7)
        if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
            return None
        # ADTS: the next frame must begin at the stated end of this one
        n_frame = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
        stream.seek(max(0, n_frame - 7), 1)
        following = stream.read(2)
        return "aac" if not following or following[:1] == b"\xff" else None


def _skip_id3(stream: BufferedIOBase) -> None:
    """Seeks past the ID3 tag at the beginning, if there is one."""
    stream.seek(id3_bytes(stream.read(10)))


def _boxes(stream: BufferedIOBase) -> Iterator[tuple[int, bytes, int, int]]:
    """Offset, name, stated size and size of the head of the mp4 boxes at the top level."""
    position = 0
    for _ in range(_MAX_BOXES):
        stream.seek(position)
        head = stream.read(16)
        stated, n_head = int.from_bytes(head[:4]), 8
        if stated == 1:
            stated, n_head = int.from_bytes(head[8:]), 16
        # the last box may state 0 bytes, which means up to the end
        if len(head) < n_head or stated < n_head:
            return
        yield position, head[4:8], stated, n_head
        position += stated


def _box_sizes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Stated and actual size of the first mp4 box that extends beyond the end of the file."""
    for position, name, stated, n_head in _boxes(stream):
        # other boxes hold no sound
        if position + stated > size and name in (b"ftyp", b"moov", b"mdat", b"moof"):
            return stated - n_head, size - position - n_head
    return 0, 0


def end_of(source: Source, file_format: str) -> int:
    """Offset at which a mov, Matroska, Windows Media or AVI file ends by its own sizes; 0 if it does not state it.

    Args:
        source: The file.
        file_format: The format's name in FFmpeg.
    """
    size = size_in_bytes(source)
    with open_stream(source) as stream:
        if file_format == "mov":
            ends = [position + stated for position, name, stated, _ in _boxes(stream) if name.isalnum()]
            return max((end for end in ends if end <= size), default=0)
        if file_format == "matroska":
            stated, held = _segment_sizes(stream, size)
            return size - held + stated if 0 < stated <= held else 0
        if file_format == "asf":
            return min(size, _asf_stated_size(stream))
        end = 0
        while end < size:
            stream.seek(end)
            head = stream.read(12)
            if head[:4] != b"RIFF" or head[8:] != (b"AVIX" if end else b"AVI "):
                break
            end += 8 + int.from_bytes(head[4:8], "little")
        return end if end <= size else 0


def _segment_sizes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Stated and actual size of the segment of a Matroska file."""
    head = stream.read(4096)
    position = 4
    n_header, position = _ebml_size(head, position)
    position += n_header
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return 0, 0
    stated, position = _ebml_size(head, position + 4)
    return stated, size - position


def _ebml_size(head: bytes, position: int) -> tuple[int, int]:
    """An EBML size (0 if unknown) and the position after it; the leading zeros give the number of its bytes."""
    n_bytes = 9 - (head[position] if position < len(head) else 0).bit_length()
    value = int.from_bytes(head[position : position + n_bytes]) & (1 << 7 * n_bytes) - 1
    return (0 if value == (1 << 7 * n_bytes) - 1 else value), position + n_bytes


def _asf_stated_size(stream: BufferedIOBase) -> int:
    """Stated size of a Windows Media file."""
    head = stream.read(1 << 16)
    at = head.find(_ASF_PROPERTIES)
    # broadcast files do not know their size
    is_known = 0 <= at < len(head) - 88 and not head[at + 88] & 1
    return int.from_bytes(head[at + 40 : at + 48], "little") if is_known else 0


def _chunk_sizes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Stated and actual bytes of sound in a RIFF, AIFF or CAF file."""
    magic = stream.read(12)[:4]
    is_caf = magic == b"caff"
    header = struct.Struct(">4sq" if is_caf else ">4sI" if magic in (b"FORM", b"RIFX") else "<4sI")
    position, in_ds64 = 8 if is_caf else 12, 0
    for _ in range(1000):  # damaged files may hold endless chunks of size 0
        stream.seek(position)
        head = stream.read(header.size)
        if len(head) < header.size:
            break
        name, stated = header.unpack(head)
        position += header.size
        if name == b"ds64":  # an RF64 file is too large for the 32 bits of the data chunk
            in_ds64 = int.from_bytes(stream.read(16)[8:], "little")
        if name in (b"data", b"SSND"):
            return in_ds64 if in_ds64 and stated == 0xFFFFFFFF else stated, size - position
        position += max(0, stated) + (0 if is_caf else stated % 2)
        if position > size:
            break
    return 0, 0


def _au_sizes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    head = stream.read(12)
    if len(head) < 12:
        return 0, 0
    order = "<" if head[:4] == b"dns." else ">"
    offset, stated = struct.unpack(f"{order}II", head[4:])
    return stated, size - offset


def _last_page_is_complete(stream: BufferedIOBase, size: int) -> bool:
    stream.seek(max(0, size - 2 * _MAX_OGG_PAGE))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0:  # other data was appended after the last page
        return True
    page = tail[at:]
    if len(page) < 27:
        return False
    n_lacing = page[26]
    return 27 + n_lacing + sum(page[27 : 27 + n_lacing]) <= len(page)
