"""Ends of files that consist of frames, packets or blocks and state no size of the whole."""

from collections.abc import Callable
from functools import partial
from io import BufferedIOBase
from typing import Final

import numpy as np

from earmark.audio.containers import Source, open_stream

_HEAD_BYTES: Final = 14
_BLOCK_PACKETS: Final = 1 << 13
_AC3_KILOBITS: Final = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AMR_BYTES: Final = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1),
}
"""Bytes of the frames of each kind, by the first bytes of the file; 0 for kinds that do not exist."""


def end_of(source: Source, family: str) -> int | None:
    """Offset behind the last unit in a row from the beginning on; None for formats without such units."""
    with open_stream(source) as stream:
        head = stream.read(32)
        if family == "mpegts":
            return _end_of_packets(stream, head)
        if family == "tta":
            return _end_of_tta(stream, head)
        if family == "voc":
            end = _walk(stream, int.from_bytes(head[20:22], "little"), _voc_bytes)
            stream.seek(end)
            return end + (stream.read(1) == b"\0")  # the mark of the end
        if family == "amr":
            magic = next(magic for magic in reversed(_AMR_BYTES) if head.startswith(magic) or len(magic) == 6)
            return _walk(stream, len(magic), partial(_amr_bytes, magic))
        if family in _UNITS:
            return _walk(stream, 0, _UNITS[family])
    return None


def _walk(stream: BufferedIOBase, position: int, unit_bytes: Callable[[bytes], int]) -> int:
    while True:
        stream.seek(position)
        n_bytes = unit_bytes(stream.read(_HEAD_BYTES))
        if not n_bytes:
            return position
        position += n_bytes


def _end_of_packets(stream: BufferedIOBase, head: bytes) -> int:
    # cameras put a timestamp of 4 bytes before each packet
    n_packet, mark = (188, 0) if head[0] == 0x47 else (192, 4)
    position = 0
    while True:
        stream.seek(position)
        data = np.frombuffer(stream.read(n_packet * _BLOCK_PACKETS), np.uint8)
        is_packet = data[mark::n_packet] == 0x47
        n_packets = len(is_packet) if is_packet.all() else int(is_packet.argmin())
        position += n_packets * n_packet
        if n_packets < _BLOCK_PACKETS:
            return position


def _end_of_tta(stream: BufferedIOBase, head: bytes) -> int:
    """The end of a TTA file, by the sizes of frames in its header."""
    rate, n_samples = int.from_bytes(head[10:14], "little"), int.from_bytes(head[14:18], "little")
    n_frames = -(-n_samples // max(1, 256 * rate // 245))
    stream.seek(22)
    sizes = stream.read(4 * min(n_frames, 1 << 24))
    return 22 + len(sizes) + 4 + int(np.frombuffer(sizes[: len(sizes) // 4 * 4], "<u4").sum(dtype=np.int64))


def _adts_bytes(head: bytes) -> int:
    is_frame = len(head) > 6 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if is_frame else 0


def _ac3_bytes(head: bytes) -> int:
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return 0
    if head[5] >> 3 > 10:  # Enhanced AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >= 2 * len(_AC3_KILOBITS):
        return 0
    kilobits = _AC3_KILOBITS[code >> 1]
    return 2 * (2 * kilobits, kilobits * 96000 // 44100 + (code & 1), 3 * kilobits)[rate]


def _mpeg_bytes(head: bytes) -> int:
    """Size of a pack header or a packet of an MPEG program stream."""
    if head[:3] != b"\0\0\1" or len(head) < 4 or head[3] < 0xB9:
        return 0
    if head[3] == 0xB9:
        return 4
    if head[3] == 0xBA:
        return 12 if len(head) < 14 or head[4] & 0xC0 != 0x40 else 14 + (head[13] & 7)
    return 6 + int.from_bytes(head[4:6])


def _wavpack_bytes(head: bytes) -> int:
    return 8 + int.from_bytes(head[4:8], "little") if head[:4] == b"wvpk" and len(head) > 8 else 0


def _voc_bytes(head: bytes) -> int:
    return 4 + int.from_bytes(head[1:4], "little") if len(head) >= 4 and 0 < head[0] < 10 else 0


def _amr_bytes(magic: bytes, head: bytes) -> int:
    return _AMR_BYTES[magic][head[0] >> 3] if head and head[0] & 0x87 == 4 else 0


_UNITS: Final = {"aac": _adts_bytes, "ac3": _ac3_bytes, "mpeg": _mpeg_bytes, "wv": _wavpack_bytes}
