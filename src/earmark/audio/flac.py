"""FLAC files frame by frame: files joined behind each other, and a wrong total number of samples."""

from dataclasses import dataclass
from io import BufferedIOBase
from typing import Final

from earmark.audio import beginnings
from earmark.audio.containers import Source, find_all, id3_bytes, open_stream, size_in_bytes

_MARKERS: Final = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
"""The beginning of a file, with the head of its first block of metadata."""
_STREAM_INFO: Final = 42
"""Bytes of the marker and the first block of metadata."""
_TAIL_BYTES: Final = 1 << 20
"""Bytes at the end of a file that are searched for another beginning; all of a small file."""
_N_PROBES: Final = 64
"""Places in a large file at which the numbers of frames are compared."""
_PROBE_BYTES: Final = 1 << 15


def _remainders(n_bits: int, polynomial: int) -> tuple[int, ...]:
    """The checksum of each byte."""
    top, found = 1 << n_bits - 1, []
    for byte in range(256):
        value = byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & (top << 1) - 1
        found.append(value)
    return tuple(found)


_CHECKSUMS: Final = _remainders(8, 0x07)
"""CRC-8 of each byte, with the polynomial x^8 + x^2 + x + 1."""
_CHECKSUMS_16: Final = _remainders(16, 0x8005)
"""CRC-16 of each byte, with the polynomial x^16 + x^15 + x^2 + 1."""
_TAGS: Final = (b"TAG", b"ID3", b"APETAGEX")
_FINAL_TAGS: Final = ((b"TAG", 128), (b"APETAGEX", 32))
"""Tags at the end of a file, and the bytes from their mark to the end."""
_BITS: Final = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
"""Bits of a sample by their code in the header of a frame; other codes refer to the first block of metadata."""
_RATES: Final = dict(enumerate((88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000), start=1))
"""Hz by their code in the header of a frame."""


@dataclass(frozen=True)
class FlacPart:
    """A FLAC file within a file."""

    start: int
    """Byte offset."""
    stop: int
    stated: int
    """Samples that its header states; 0 if unknown."""
    held: int
    """Samples up to the end of its last frame; 0 if no frame was found."""
    last_frame: int
    """Byte offset of its last frame; `stop` if no frame was found."""
    sample_rate: int
    """Hz of its frames."""
    stated_rate: int
    """Hz that its header states."""

    @property
    def seconds(self) -> float | None:
        """Duration; None if unknown."""
        return self.held / self.sample_rate if self.held and self.sample_rate else None


class StreamInfo:
    """The first block of metadata.

    Args:
        head: The file from its marker on, at least 42 bytes.
    """

    def __init__(self, head: bytes) -> None:
        fields = int.from_bytes(head[18:26].ljust(8, b"\0"))
        self.largest_block = int.from_bytes(head[10:12])
        self.largest_frame = int.from_bytes(head[15:18])
        """Bytes; 0 if unknown."""
        self.sample_rate = fields >> 44
        self._n_channels = (fields >> 41 & 7) + 1
        self._n_bits = (fields >> 36 & 31) + 1
        self.n_samples = fields & 0xFFFFFFFFF
        """Samples of each channel; 0 if unknown."""

    def frame(self, data: bytes, at: int) -> "_Frame | None":
        """The frame with a header at this offset; None without a valid header of this stream."""
        frame = _parse_frame(data, at)
        if frame is None or frame.n_samples > self.largest_block:
            return None
        channels, bits = data[at + 3] >> 4, data[at + 3] >> 1 & 7
        is_like = (channels + 1 if channels < 8 else 2) == self._n_channels and _BITS.get(
            bits, self._n_bits
        ) == self._n_bits
        return frame if is_like else None

    def end(self, frame: "_Frame") -> int:
        """Samples up to the end of a frame."""
        return (frame.number if frame.is_sample else frame.number * self.largest_block) + frame.n_samples


@dataclass(frozen=True)
class _Frame:
    number: int
    is_sample: bool
    """Whether the number counts samples, not frames."""
    n_samples: int
    rate: int | None
    """Hz; None if the header of the file states it alone."""


def block_size(head: bytes) -> int | None:
    """Samples of the frame with this header; None for an invalid header."""
    frame = _parse_frame(head, 0)
    return None if frame is None else frame.n_samples


def _parse_frame(data: bytes, at: int) -> _Frame | None:
    """The frame with a header at this offset; the header ends with its checksum (RFC 9639, section 9.1)."""
    head = data[at : at + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    n_more = 0 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length() - 1
    if size_code == 0 or rate_code == 15 or n_more > 6 or (n_more == 0 and head[4] >= 0x80):
        return None
    # a number in the form of UTF-8
    number = head[4] & (0x7F if not n_more else 0x3F >> n_more)
    for byte in head[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    end = 5 + n_more
    n_extra = {6: 1, 7: 2}.get(size_code, 0)
    if n_extra:
        n_samples = int.from_bytes(head[end : end + n_extra]) + 1
    elif size_code == 1:
        n_samples = 192
    else:
        n_samples = 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    end += n_extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if end >= len(head):
        return None
    checksum = 0
    for byte in head[:end]:
        checksum = _CHECKSUMS[checksum ^ byte]
    return _Frame(number, bool(head[1] & 1), n_samples, _RATES.get(rate_code)) if checksum == head[end] else None


def is_ordinary(source: Source) -> bool:
    """Whether a FLAC file holds what it states, and nothing is joined to it, as far as a few probes show."""
    size = size_in_bytes(source)
    with open_stream(source) as stream:
        start = _first_marker(stream)
        if start is None:
            return True
        stream.seek(start)
        info = StreamInfo(stream.read(_STREAM_INFO))
        stream.seek(max(start + 1, size - _TAIL_BYTES))
        tail = stream.read()
        if any(marker in tail for marker in _MARKERS):
            return False
        if tail.endswith(bytes(16)) or any(
            tail.startswith(tag, len(tail) - n) for tag, n in _FINAL_TAGS if n <= len(tail)
        ):
            return False
        at, last = _last_frame(tail, info)
        if last is None or (info.largest_frame and len(tail) - at > info.largest_frame):
            return False
        if last.rate not in (None, info.sample_rate) or beginnings.find(tail, at, len(tail)) is not None:
            return False
        if info.n_samples and info.end(last) > info.n_samples:
            return False
        if size <= _TAIL_BYTES:
            return True
        before = -1
        for position in range(1, _N_PROBES):
            stream.seek(start + (size - start) * position // _N_PROBES)
            frame = _first_frame(stream.read(_PROBE_BYTES), info)
            if frame is not None:
                if frame.number < before:
                    return False
                before = frame.number
    return True


def parts(source: Source) -> list[FlacPart]:
    """The FLAC files that are joined in one."""
    starts = sorted(at for marker in _MARKERS for at in find_all(source, marker))
    found = []
    with open_stream(source) as stream:
        for start, stop in zip(starts, [*starts[1:], size_in_bytes(source)], strict=True):
            stream.seek(start)
            info = StreamInfo(stream.read(_STREAM_INFO))
            at, last = _last_frame_between(stream, start + _STREAM_INFO, stop, info)
            # the decoder fails at whatever stands behind the last frame
            end = stop if last is None else _frame_end(source, at, stop)
            rate = info.sample_rate if last is None else last.rate or info.sample_rate
            held = 0 if last is None else info.end(last)
            found.append(FlacPart(start, end, info.n_samples, held, at, rate, info.sample_rate))
    return found


def without_length(source: Source, part: FlacPart) -> dict[int, bytes]:
    """New bytes by their offset in a part, with which its header states no number of samples."""
    with open_stream(source) as stream:
        stream.seek(part.start + 21)
        return {21: bytes([stream.read(1)[0] & 0xF0]) + bytes(4)}


def with_rate(source: Source, part: FlacPart) -> dict[int, bytes]:
    """New bytes by their offset in a part, with which its header states the rate of its frames."""
    with open_stream(source) as stream:
        stream.seek(part.start + 20)
        return {18: (part.sample_rate << 4 | stream.read(1)[0] & 15).to_bytes(3)}


def _first_marker(stream: BufferedIOBase) -> int | None:
    start = id3_bytes(stream.read(10))
    stream.seek(start)
    return start if stream.read(8) in _MARKERS else None


def _first_frame(data: bytes, info: StreamInfo) -> _Frame | None:
    at = data.find(b"\xff")
    while at >= 0:
        frame = info.frame(data, at)
        if frame is not None:
            return frame
        at = data.find(b"\xff", at + 1)
    return None


def _last_frame(data: bytes, info: StreamInfo) -> tuple[int, _Frame | None]:
    """Offset of the last frame, and the frame."""
    at = len(data)
    while (at := data.rfind(b"\xff", 0, at)) >= 0:
        frame = info.frame(data, at)
        if frame is not None:
            return at, frame
    return 0, None


def _last_frame_between(stream: BufferedIOBase, start: int, stop: int, info: StreamInfo) -> tuple[int, "_Frame | None"]:
    """Offset of the last frame between two offsets, and the frame."""
    upper = stop
    while upper > start:
        lower = max(start, upper - _TAIL_BYTES)
        stream.seek(lower)
        at, last = _last_frame(stream.read(min(upper + 16, stop) - lower), info)
        if last is not None:
            return lower + at, last
        upper = lower
    return stop, None


def _frame_end(source: Source, start: int, stop: int) -> int:
    """The end of the last frame, behind which only tags, padding or another file follow; `stop` if it is unknown.

    The checksum of a frame with its own two last bytes is 0.
    """
    with open_stream(source) as stream:
        stream.seek(start)
        data = stream.read(min(stop - start, _TAIL_BYTES))
    checksum = 0
    for i, byte in enumerate(data):
        checksum = (checksum << 8 & 0xFFFF) ^ _CHECKSUMS_16[checksum >> 8 ^ byte]
        if checksum == 0 and i > 8:
            rest = data[i + 1 : i + 17]
            if not rest.strip(b"\0") or rest.startswith(_TAGS) or beginnings.at(source, start + i + 1) is not None:
                return start + i + 1
    return stop
