"""mp3 files frame by frame: files joined behind each other, wrong and missing lengths, junk between frames."""

from dataclasses import dataclass, field
from functools import cache
from io import BufferedIOBase
from typing import Final

from earmark.audio.containers import Source, id3_bytes, id3_size, open_stream, size_in_bytes

_KILOBITS: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Bit rates in kbit/s by (is MPEG 1, layer); in MPEG 2 and 2.5, layers 2 and 3 share one table."""
MAX_FRAME_BYTES: Final = 1 << 11
"""More than the size of any frame in common use."""
_BLOCK_BYTES: Final = 1 << 20
_SEARCH_BYTES: Final = 1 << 16
"""Bytes searched for the first frame."""
_MARGIN_BYTES: Final = 1 << 13
"""Bytes read ahead: more than three frames, and less than the length of a search step."""
_MAX_TAIL: Final = 1 << 20
"""Longest tag behind the sound."""
_MAX_DELAY: Final = 2304
"""Samples that encoders add, at most, before they fill the last frame."""
_TAGS: Final = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI", b"RIFF", b"LIST")
"""Beginnings of tags, and of the chunks of wav files, which may hold mp3."""
_STATING: Final = (b"Xing", b"Info")
"""Names of the header that states the number of frames."""


def frame_bytes(header: bytes) -> int:
    """Size in bytes of the MPEG audio frame with this 4-byte header; 0 if the header is invalid."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 2 & 3
    kilobits = _KILOBITS[1 if version == 3 else 0, 1 if layer == 1 else 2 if layer == 2 and version == 3 else 3]
    if version == 1 or layer == 4 or rate == 3 or not 0 < header[2] >> 4 < 15:
        return 0
    n_bits = kilobits[(header[2] >> 4) - 1] * 1000
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * n_bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * n_bits // hertz + padding


@dataclass
class Mp3Part:
    """Frames of one kind in a row: an mp3 file within a file."""

    start: int
    """Byte offset of its first frame."""
    samples_per_frame: int
    sample_rate: int
    stated: int | None
    """Number of frames that its first frame states."""
    n_stating_bytes: int
    """Size of that first frame, which holds no sound; 0 without one."""
    trims_sound: bool
    """Whether that first frame states an impossible padding, which would cut off sound."""
    n_frames: int = 0
    """Number of frames of sound."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Offsets of frames without other bytes between them: where they begin, and where they end."""
    n_junk: int = 0
    """Bytes after or between the frames that are neither a frame nor a tag."""
    is_cut: bool = False
    """Whether the last frame lacks bytes."""


def start_of(source: Source) -> int | None:
    """Offset of the first mp3 frame that is followed by another frame; None if there is none.

    Raises:
        OSError: The file cannot be read.
    """
    start = id3_size(source)
    with open_stream(source) as stream:
        stream.seek(start)
        at = _find_frame(stream.read(_SEARCH_BYTES), 1, False)
    return None if at is None else start + at


def is_ordinary(source: Source) -> bool:
    """Whether an mp3 file begins with its first frame, states its length, and holds what it states."""
    start, size = id3_size(source), size_in_bytes(source)
    with open_stream(source) as stream:
        stream.seek(start)
        head = stream.read(4096)
        stated = _stated(head)
        if stated is None or _trims_sound(head):
            return False
        n_frames, n_bytes = stated
        n_first = frame_bytes(head[:4])
        end = start + n_bytes
        if size - end > _MAX_TAIL:
            return False
        stream.seek(min(end, size))
        tail = stream.read()
    # some writers do not count the stating frame
    behind = tail if _is_tag(tail) else tail[n_first:]
    # another file may follow a tag
    if not _is_tag(behind) or _find_frame(behind, 2, True) is not None:
        return False
    # the number of frames can be compared with the size only if all frames have the same size
    n_sound = frame_bytes(head[n_first : n_first + 4])
    if b"Info" in head[:64] and n_sound and abs(n_frames - n_bytes / n_sound) < 2 + n_frames / 500:
        return True
    found = parts(source)
    return len(found) == 1 and found[0].start == start and not found[0].n_junk and found[0].n_frames <= n_frames


def stated_end(source: Source) -> int | None:
    """Offset at which an mp3 file ends by its header; None if it states none."""
    start = id3_size(source)
    with open_stream(source) as stream:
        stream.seek(start)
        stated = _stated(stream.read(256))
    return None if stated is None else start + stated[1]


def stated_and_held(source: Source) -> tuple[int, int]:
    """Numbers of frames that an mp3 file states and holds; 0 and 0 if it is long enough, or states nothing."""
    start = id3_size(source)
    with open_stream(source) as stream:
        stream.seek(start)
        stated = _stated(stream.read(256))
    if stated is None or start + stated[1] <= size_in_bytes(source):
        return 0, 0
    return stated[0], sum(part.n_frames for part in parts(source))


def parts(source: Source) -> list[Mp3Part]:
    """The mp3 files that are joined in one; empty if no frame is found."""
    found: list[Mp3Part] = []
    kind = b""
    with open_stream(source) as stream:
        frames = _Frames(stream, size_in_bytes(source))
        position = id3_size(source)
        while (start := frames.find(position)) is not None:
            head = frames.at(start, 256)
            n_junk = 0 if frames.is_tag(position, start) else start - position
            if not found or _kind(head) != kind or stating_bytes(head):
                kind = _kind(head)
                found.append(_begin(head, start))
                start += found[-1].n_stating_bytes
            end, n_frames, last = frames.run(start, kind)
            part = found[-1]
            part.n_junk += n_junk
            part.n_frames += n_frames
            part.is_cut = end > frames.size
            if n_frames and end <= frames.size and not frames.is_frame_or_tag(end):
                # the last frame may be cut, and the next file begin within it
                following = frames.find(last + 1)
                if following is not None and following < end:
                    end, part.n_frames = last, part.n_frames - 1
            if end > start:
                part.spans.append((start, min(end, frames.size)))
            position = max(end, start + 1)
        if found and position < frames.size and not frames.is_tag(position, frames.size):
            found[-1].n_junk += frames.size - position
    return found


class _Frames:
    """Frames of a stream; memory stays flat.

    Args:
        stream: The file.
        size: Its size in bytes.
    """

    def __init__(self, stream: BufferedIOBase, size: int) -> None:
        self._stream, self.size = stream, size

    def at(self, position: int, n_bytes: int = _BLOCK_BYTES) -> bytes:
        """The bytes from a position on."""
        self._stream.seek(position)
        return self._stream.read(n_bytes)

    def find(self, position: int) -> int | None:
        """Position of the next frame that is followed by others, or by the end; tags are skipped."""
        while position < self.size:
            head = self.at(position, 10)
            if head[:3] == b"ID3" and len(head) == 10:
                position += id3_bytes(head)
                continue
            data = self.at(position)
            is_end = position + len(data) >= self.size
            found = _find_frame(data, 2, is_end)
            if found is not None:
                return position + found
            if is_end:
                break
            position += len(data) - _MARGIN_BYTES
        return None

    def run(self, position: int, kind: bytes) -> tuple[int, int, int]:
        """The end of the frames of this kind from a position on, their number, and the position of the last one."""
        n_frames, last = 0, position
        sizes, is_mono = _sizes(kind), bool(kind[2])
        while True:
            data = self.at(position)
            is_end = position + len(data) >= self.size
            i, limit = 0, len(data) - (4 if is_end else _MARGIN_BYTES)
            begins = _stating_frames(data, kind)
            while i <= limit:
                n_bytes = sizes.get(data[i : i + 3])
                if n_bytes is None or (data[i + 3] >= 0xC0) != is_mono or i in begins:
                    return position + i, n_frames, last
                last = position + i
                i += n_bytes
                n_frames += 1
            position += i
            if is_end:
                return position, n_frames, last

    def is_frame_or_tag(self, position: int) -> bool:
        """Whether a frame or a tag begins there, or the file ends."""
        head = self.at(position, 128)
        return frame_bytes(head[:4]) > 0 or _is_tag(head)

    def is_tag(self, start: int, stop: int) -> bool:
        """Whether the bytes are a tag or padding."""
        return _is_tag(self.at(start, min(stop - start, _BLOCK_BYTES)))


def _find_frame(data: bytes, n_following: int, is_end: bool) -> int | None:
    """Offset of the first frame followed by others of its kind; at the end of the file, fewer may follow."""
    at = data.find(b"\xff")
    while at >= 0:
        n_left, i = n_following, at
        kind = _kind(data[at : at + 4])
        while kind and (n_bytes := frame_bytes(data[i : i + 4])) and _kind(data[i : i + 4]) == kind:
            i += n_bytes
            n_left -= 1
            if n_left < 0 or (is_end and (i == len(data) or data.startswith(_TAGS, i))):
                return at
        at = data.find(b"\xff", at + 1)
    return None


def _begin(head: bytes, start: int) -> Mp3Part:
    """The part whose first frame begins with these bytes."""
    hertz = (44100, 48000, 32000)[head[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[head[1] >> 3 & 3]
    n_samples = _samples_per_frame(head)
    stated = _stated(head)
    return Mp3Part(start, n_samples, hertz, stated[0] if stated else None, stating_bytes(head), _trims_sound(head))


def _samples_per_frame(header: bytes) -> int:
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    return 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152


def _kind(header: bytes) -> bytes:
    """Version, layer, rate and whether there is one channel, which all frames of a file share; empty if incomplete."""
    if len(header) < 4:
        return b""
    return bytes((header[1] & 0xFE, header[2] & 12, header[3] >= 0xC0))


@cache
def _sizes(kind: bytes) -> dict[bytes, int]:
    """Sizes of frames of one kind by the first three bytes of their header."""
    heads = (
        bytes((0xFF, kind[0] | flag, second)) for flag in (0, 1) for second in range(256) if second & 12 == kind[1]
    )
    return {head: n for head in heads if (n := frame_bytes(head + b"\0"))}


def _stating_frames(data: bytes, kind: bytes) -> frozenset[int]:
    """Offsets at which a frame would begin that states the length."""
    found = set()
    for name in _STATING:
        at = data.find(name)
        while at >= 0:
            start = at - _stating_offset(kind)
            if start >= 0 and stating_bytes(data[start : start + 64]):
                found.add(start)
            at = data.find(name, at + 1)
    return frozenset(found)


def _stating_offset(kind: bytes) -> int:
    """Offset of the header that states the length: it stands behind the (empty) side information of the frame."""
    is_version_1, is_mono = kind[0] >> 3 & 3 == 3, bool(kind[2])
    return 4 + ((17 if is_mono else 32) if is_version_1 else (9 if is_mono else 17))


def stating_bytes(frame: bytes) -> int:
    """Size of a frame that states the length; 0 for a frame of sound."""
    kind = _kind(frame[:4])
    at = _stating_offset(kind) if kind else 0
    # a checksum may stand before the side information
    is_stating = bool(kind) and (frame.startswith(_STATING, at) or frame.startswith(_STATING, at + 2))
    # libmpg123 takes it for sound if the side information is not empty
    return frame_bytes(frame[:4]) if is_stating and not frame[6:at].strip(b"\0") else 0


def _stated(frame: bytes) -> tuple[int, int] | None:
    """Numbers of frames and bytes that a frame states; None unless it states both."""
    if not stating_bytes(frame):
        return None
    at = max(frame.find(name, 0, 64) for name in _STATING)
    if len(frame) < at + 16 or frame[at + 7] & 3 != 3:
        return None
    return int.from_bytes(frame[at + 8 : at + 12]), int.from_bytes(frame[at + 12 : at + 16])


def _trims_sound(frame: bytes) -> bool:
    """Whether the padding that LAME states (12 bits for each end) is longer than encoders make it."""
    if not stating_bytes(frame):
        return False
    at = max(frame.find(name, 0, 64) for name in _STATING)
    flags = frame[at + 7]
    lame = at + 8 + sum(n for bit, n in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    trimmed = int.from_bytes(frame[lame + 21 : lame + 24])
    return (trimmed >> 12) + (trimmed & 0xFFF) > _MAX_DELAY + _samples_per_frame(frame)


def _is_tag(data: bytes) -> bool:
    """Whether the bytes are nothing, padding, or begin with a tag."""
    is_file = data[:4] == b"RIFF" and data[8:12] in (b"WAVE", b"AVI ")
    return (data.startswith(_TAGS) and not is_file) or not data.strip(b"\0")
