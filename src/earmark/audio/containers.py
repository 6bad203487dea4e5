"""What audio files state about their own length: of one that was cut off, decoders quietly read what there is."""

import struct
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Final

from earmark.errors import AudioError

Source = Path | bytes
"""Where a recording is: a file, or all the bytes of one."""

_ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES: Final = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_MEDIA: Final = (
    (4, b"ftyp", "mov"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, _ASF_HEADER, "asf"),
    (0, b"FLV\x01", "flv"),
    (0, b"#!AMR", "amr"),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"\0\0\x01\xba", "mpeg"),
)
"""Where which bytes mark a format that libsndfile does not read, and FFmpeg's name for it."""
_MP3_KILOBITS: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Per second, of MPEG 1 or the later ones for low rates, and of layer (2 and 3 are alike in the latter)."""
_SEARCHED_BYTES: Final = 1 << 16
_SLOPPY_BYTES: Final = 64
"""Some writers state a few bytes too many, such as those of the header; that is no loss."""
_MOST_BOXES: Final = 1_000_000
_LARGEST_OGG_PAGE: Final = 27 + 255 + 255 * 255


class DecodingError(Exception):
    """What a decoder says of damage, to be told with the file and the place."""


class LenientFile:
    """A file as C libraries want it: they print an exception that comes out of it, and read on."""

    def __init__(self, file: BufferedIOBase) -> None:
        self.read = file.read
        self.tell = file.tell
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new place; -1 where there is none, such as before the beginning, to which damaged files lead."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def stream_of(source: Source) -> BufferedIOBase:
    """The bytes from the first one on, to be closed after use."""
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def size_of(source: Source) -> int:
    """Bytes."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def cut_off(name: str, stated: str, held: str) -> AudioError:
    """The error for a file that holds less than it says."""
    return AudioError(
        f"{name}: cut off, its header states {stated} but the file holds {held}; copy or download it again"
    )


def check_whole(source: Source, name: str, file_format: str) -> None:
    """Refuses a file, in a format by libsndfile's or FFmpeg's name, that ends before the end that it states.

    FLAC and mp3 show it only while they are decoded; some, such as MPEG-TS, never.

    Raises:
        AudioError: The file was cut off; the text begins with its name.
    """
    size = size_of(source)
    with stream_of(source) as stream:
        if file_format in ("OGG", "ogg"):
            if not _last_page_is_whole(stream, size):
                raise AudioError(f"{name}: cut off in the middle of an Ogg page; copy or download it again")
            return
        if file_format in ("WAV", "WAVEX", "RF64", "AIFF", "CAF", "caf"):
            stated, held = _chunk_bytes(stream, size)
        elif file_format == "AU":
            stated, held = _au_bytes(stream, size)
        elif file_format == "W64":
            stated, held = int.from_bytes(stream.read(24)[16:], "little"), size
        elif file_format == "mov":
            stated, held = _box_bytes(stream, size)
        elif file_format == "matroska":
            stated, held = _segment_bytes(stream, size)
        elif file_format == "avi":
            stated, held = int.from_bytes(stream.read(8)[4:], "little"), size - 8
        elif file_format == "asf":
            stated, held = _asf_bytes(stream), size
        else:
            return
    # who writes to a pipe can't know the length and states the largest there is
    unknown = 0x7FFF0000 <= stated <= 0x80000000 or 0xFFFF0000 <= stated <= 0xFFFFFFFF or stated >= 1 << 62
    if not unknown and stated - held > _SLOPPY_BYTES:
        what = "bytes" if file_format.islower() else "bytes of sound"
        raise cut_off(name, f"{stated} {what}", f"{held}")


def mp3_states_length(source: Source) -> bool:
    """Whether there is a Xing header with a count; without it the length is guessed from the first frame's bit rate."""
    with stream_of(source) as stream:
        _skip_tag(stream)
        frame = stream.read(2048)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    return 0 <= at < len(frame) - 7 and bool(frame[at + 7] & 1)


def tag_bytes(source: Source) -> int:
    """The length of the ID3 tag at the beginning; 0 without one."""
    with stream_of(source) as stream:
        _skip_tag(stream)
        return stream.tell()


def mp3_start(source: Source) -> int | None:
    """Where the first mp3 frame begins that another follows, behind a tag and what else is not sound; None if nowhere.

    Raises:
        OSError: The file cannot be read.
    """
    with stream_of(source) as stream:
        _skip_tag(stream)
        start = stream.tell()
        head = stream.read(_SEARCHED_BYTES)
    at = head.find(b"\xff")
    while at >= 0:
        n_frame = _mp3_frame_bytes(head[at : at + 4])
        following = head[at + n_frame : at + n_frame + 4]
        # version, layer and rate stay what they are
        if (
            n_frame
            and _mp3_frame_bytes(following)
            and following[1] == head[at + 1]
            and not (following[2] ^ head[at + 2]) & 12
        ):
            return start + at
        at = head.find(b"\xff", at + 1)
    return None


def _mp3_frame_bytes(header: bytes) -> int:
    """The length that four bytes state as those of a frame of MPEG audio; 0 if they are none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    kilobits = _MP3_KILOBITS[1 if version == 3 else 0, 1 if layer == 1 else 2 if layer == 2 and version == 3 else 3]
    if version == 1 or layer == 4 or rate == 3 or not 0 < header[2] >> 4 < 15:
        return 0
    n_bits = kilobits[(header[2] >> 4) - 1] * 1000
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * n_bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * n_bits // hertz + padding


def media_format(source: Source) -> str | None:
    """FFmpeg's name for what a file is by its first bytes; None for what libsndfile is to read."""
    with stream_of(source) as stream:
        head = stream.read(600)
        for at, magic, name in _MEDIA:
            if head.startswith(magic, at):
                return name
        # a packet begins every 188 bytes; cameras put four bytes of time before each
        if b"GGG" in (head[::188][:3], head[4::192][:3]):
            return "mpegts"
        stream.seek(0)
        _skip_tag(stream)
        frame = stream.read(7)
        if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
            return None
        # ADTS: the next frame must begin where this one says that it ends
        n_frame = (frame[3] & 3) << 11 | frame[4] << 3 | frame[5] >> 5
        stream.seek(max(0, n_frame - 7), 1)
        following = stream.read(2)
        return "aac" if not following or following[:1] == b"\xff" else None


def _skip_tag(stream: BufferedIOBase) -> None:
    """Goes behind the ID3 tag at the beginning, if there is one."""
    head = stream.read(10)
    # its size is in four bytes of seven bits; a picture makes it large
    n_tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
    stream.seek(10 + n_tag if head[:3] == b"ID3" else 0)


def _box_bytes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Bytes of the first box of an mp4 file that reaches beyond the end, and those that it has."""
    position = 0
    for _ in range(_MOST_BOXES):
        stream.seek(position)
        head = stream.read(16)
        stated, n_head = int.from_bytes(head[:4]), 8
        if stated == 1:
            stated, n_head = int.from_bytes(head[8:]), 16
        # the last one may state 0 bytes and reach to the end
        if len(head) < n_head or stated < n_head:
            break
        # what follows the sound may be anything
        if position + stated > size and head[4:8] in (b"ftyp", b"moov", b"mdat", b"moof"):
            return stated - n_head, size - position - n_head
        position += stated
        if position > size:
            break
    return 0, 0


def _segment_bytes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Bytes that the segment of a Matroska file states, and that there are."""
    head = stream.read(4096)
    position = 4
    n_header, position = _ebml_size(head, position)
    position += n_header
    if head[position : position + 4] != b"\x18\x53\x80\x67":
        return 0, 0
    stated, position = _ebml_size(head, position + 4)
    return stated, size - position


def _ebml_size(head: bytes, position: int) -> tuple[int, int]:
    """A number whose leading zeros say in how many bytes it is, 0 where it is unknown, and the place behind it."""
    n_bytes = 9 - (head[position] if position < len(head) else 0).bit_length()
    value = int.from_bytes(head[position : position + n_bytes]) & (1 << 7 * n_bytes) - 1
    return (0 if value == (1 << 7 * n_bytes) - 1 else value), position + n_bytes


def _asf_bytes(stream: BufferedIOBase) -> int:
    """Bytes that a Windows Media file states for all of itself."""
    head = stream.read(1 << 16)
    at = head.find(_ASF_PROPERTIES)
    # what is broadcast doesn't know
    is_known = 0 <= at < len(head) - 88 and not head[at + 88] & 1
    return int.from_bytes(head[at + 40 : at + 48], "little") if is_known else 0


def _chunk_bytes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    """Bytes of sound that the chunks of a RIFF, AIFF or CAF file state, and that there are."""
    magic = stream.read(12)[:4]
    is_caf = magic == b"caff"
    header = struct.Struct(">4sq" if is_caf else ">4sI" if magic in (b"FORM", b"RIFX") else "<4sI")
    position, in_ds64 = 8 if is_caf else 12, 0
    for _ in range(1000):  # a damaged file may state chunks of no size for ever
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


def _au_bytes(stream: BufferedIOBase, size: int) -> tuple[int, int]:
    head = stream.read(12)
    if len(head) < 12:
        return 0, 0
    order = "<" if head[:4] == b"dns." else ">"
    offset, stated = struct.unpack(f"{order}II", head[4:])
    return stated, size - offset


def _last_page_is_whole(stream: BufferedIOBase, size: int) -> bool:
    stream.seek(max(0, size - 2 * _LARGEST_OGG_PAGE))
    tail = stream.read()
    at = tail.rfind(b"OggS")
    if at < 0:  # something else was appended to whole pages
        return True
    page = tail[at:]
    if len(page) < 27:
        return False
    n_lacing = page[26]
    return 27 + n_lacing + sum(page[27 : 27 + n_lacing]) <= len(page)
