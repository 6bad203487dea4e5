"""What audio files state about their own length, and reading them whole whatever they state.

Of a file that was cut off, libsndfile quietly reads what there is.
"""

import os
import shutil
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import soundfile

from earmark.errors import AudioError

_SLOPPY_BYTES = 64
"""Some writers state a few bytes too many, such as those of the header; that is no loss."""
_LARGEST_OGG_PAGE = 27 + 255 + 255 * 255


def cut_off(path: Path, stated: str, held: str) -> AudioError:
    """The error for a file that holds less than it says."""
    return AudioError(
        f"{path}: cut off, its header states {stated} but the file holds {held}; copy or download it again"
    )


def check_whole(path: Path, file_format: str) -> None:
    """Refuses a file, in a format by libsndfile's name, that ends before the end that it states.

    FLAC and mp3 show it only while they are decoded.

    Raises:
        AudioError: The file was cut off.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        if file_format == "OGG":
            if not _last_page_is_whole(stream, size):
                raise AudioError(f"{path}: cut off in the middle of an Ogg page; copy or download it again")
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
        raise cut_off(path, f"{stated} bytes of sound", f"{held}")


def mp3_states_length(path: Path) -> bool:
    """Whether there is a Xing header with a count; without it the length is guessed from the first frame's bit rate."""
    with path.open("rb") as stream:
        head = stream.read(10)
        # an ID3 tag's size is in four bytes of seven bits; a picture makes it large
        is_tagged = head[:3] == b"ID3"
        n_tag = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=False))
        stream.seek(10 + n_tag if is_tagged else 0)
        frame = stream.read(2048)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    return 0 <= at < len(frame) - 7 and bool(frame[at + 7] & 1)


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file read forwards; `seek` works where the format allows."""

    def seekable(self) -> bool:
        # After every read of a seekable file soundfile seeks to where it already is. That fails at the end of a FLAC
        # without stated length, losing the last block, and costs an mp3 its speed.
        return False

    def skip(self, n_samples: int) -> None:
        """Goes on after so many samples of each channel."""
        if super().seekable():
            self.seek(n_samples)
            return
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, 65536), always_2d=True)) or n_samples


def piped(path: Path) -> SequentialFile:
    """A file whose header doesn't state its length, opened so that it is read to its end."""
    # From the first frame's bit rate libsndfile guesses the length of an mp3 that doesn't state it, and stops there,
    # be it at a sixth of the sound. What comes out of a pipe it reads to the end.
    source, sink = os.pipe()

    def feed() -> None:
        # the reader may have enough before the end
        with suppress(BrokenPipeError), path.open("rb") as stream, os.fdopen(sink, "wb") as pipe:
            shutil.copyfileobj(stream, pipe)

    threading.Thread(target=feed, daemon=True).start()
    return SequentialFile(source, closefd=True)


def _chunk_bytes(stream: BinaryIO, size: int) -> tuple[int, int]:
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


def _au_bytes(stream: BinaryIO, size: int) -> tuple[int, int]:
    head = stream.read(12)
    if len(head) < 12:
        return 0, 0
    order = "<" if head[:4] == b"dns." else ">"
    offset, stated = struct.unpack(f"{order}II", head[4:])
    return stated, size - offset


def _last_page_is_whole(stream: BinaryIO, size: int) -> bool:
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
