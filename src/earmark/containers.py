"""What audio files state about their own length: of one that was cut off, decoders quietly read what there is."""

import struct
from io import BufferedIOBase, BytesIO
from pathlib import Path

from earmark.errors import AudioError

Source = Path | bytes
"""Where a recording is: a file, or all the bytes of one."""

_SLOPPY_BYTES = 64
"""Some writers state a few bytes too many, such as those of the header; that is no loss."""
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255


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
    """Refuses a file, in a format by libsndfile's name, that ends before the end that it states.

    FLAC and mp3 show it only while they are decoded.

    Raises:
        AudioError: The file was cut off; the text begins with its name.
    """
    size = size_of(source)
    with stream_of(source) as stream:
        if file_format == "OGG":
            if not _last_page_is_whole(stream, size):
                raise AudioError(f"{name}: cut off in the middle of an Ogg page; copy or download it again")
            return
        if file_format in ("WAV", "WAVEX", "RF64", "AIFF", "CAF"):
            stated, held = _chunk_bytes(stream, size)
        elif file_format == "AU":
            stated, held = _au_bytes(stream, size)
        elif file_format == "W64":
            stated, held = int.from_bytes(stream.read(24)[16:], "little"), size
        else:
            return
    # who writes to a pipe can't know the length and states the largest there is
    unknown = 0x7FFF0000 <= stated <= 0x80000000 or 0xFFFF0000 <= stated <= 0xFFFFFFFF or stated >= 1 << 62
    if not unknown and stated - held > _SLOPPY_BYTES:
        raise cut_off(name, f"{stated} bytes of sound", f"{held}")


def mp3_states_length(source: Source) -> bool:
    """Whether there is a Xing header with a count; without it the length is guessed from the first frame's bit rate."""
    with stream_of(source) as stream:
        head = stream.read(10)
        # an ID3 tag's size is in four bytes of seven bits; a picture makes it large
        is_tagged = head[:3] == b"ID3"
        n_tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
        stream.seek(10 + n_tag if is_tagged else 0)
        frame = stream.read(2048)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    return 0 <= at < len(frame) - 7 and bool(frame[at + 7] & 1)


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
