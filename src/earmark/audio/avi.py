"""The clock of AVI files: an empty chunk stands for sound that is missing."""

from collections.abc import Iterator
from io import BufferedIOBase
from typing import Final

from earmark.audio.containers import Source, open_stream

_MAX_CHUNKS: Final = 10_000_000
"""Damaged files may hold endless chunks of size 0."""
_ENTERED: Final = (b"hdrl", b"strl", b"movi", b"rec ")
"""Lists whose chunks are read."""


def empty_chunks(source: Source, number: int) -> list[int]:
    """Offsets of the empty chunks of a stream in which each chunk lasts one tick; empty for other streams.

    FFmpeg writes such chunks into gaps, but does not count them when it reads.

    Args:
        source: The file.
        number: Number of the stream, from 0 on.
    """
    found: list[int] = []
    name = f"{number:02d}wb".encode()
    n_streams = 0
    with open_stream(source) as stream:
        for position, chunk, n_bytes in _chunks(stream):
            if chunk == b"strh":
                stream.seek(position + 8 + 44)
                if n_streams == number and any(stream.read(4)):  # bytes of a sample, where chunks differ in duration
                    return []
                n_streams += 1
            elif chunk == name and n_bytes == 0:
                found.append(position)
    return found


def _chunks(stream: BufferedIOBase) -> Iterator[tuple[int, bytes, int]]:
    """Offset, name and size of the chunks, also of those in lists."""
    position = 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(12)
        if len(head) < 8:
            return
        n_bytes = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF" or (head[:4] == b"LIST" and head[8:] in _ENTERED):
            position += 12
            continue
        yield position, head[:4], n_bytes
        position += 8 + n_bytes + n_bytes % 2
