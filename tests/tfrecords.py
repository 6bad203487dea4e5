"""AudioSet's released features as the tests write them, byte by byte."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def crc32c(data: bytes) -> int:
    """The slow textbook CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(record: bytes) -> bytes:
    """A record with its length and checksums."""
    length = struct.pack("<Q", len(record))
    return length + masked(length) + record + masked(record)


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def feature(kind: int, content: bytes) -> bytes:
    """A feature with a list of texts (1), floats (2) or whole numbers (3) that has one field."""
    return field(kind, field(1, content))


def example(video_id: str, labels: Sequence[int], segments: np.ndarray, packed: bool = True, odd: bytes = b"") -> bytes:
    """A SequenceExample as the released ones; `odd` is one more field in the feature of each segment."""
    if packed:
        numbers = feature(3, b"".join(map(varint, labels)))
    else:
        numbers = field(3, b"".join(b"\x08" + varint(label) for label in labels))
    context = {
        "video_id": feature(1, video_id.encode()),
        "start_time_seconds": feature(2, struct.pack("<f", 10.0)),
        "labels": numbers,
    }
    entries = b"".join(field(1, field(1, key.encode()) + field(2, value)) for key, value in context.items())
    frames = b"".join(field(1, field(1, field(1, row.tobytes())) + odd) for row in segments.astype(np.uint8))
    lists = field(1, field(1, b"audio_embedding") + field(2, frames))
    return field(1, entries) + field(2, lists)


def released_clips(n_clips: int, seed: int = 0, n_labels: int = 4) -> list[tuple[str, list[int], np.ndarray]]:
    """Clips of 1 to 10 segments; a clip's first label is the channel that its segments have most of."""
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(n_clips):
        label = number % n_labels
        segments = rng.integers(0, 200, (1 + number % 10, 128))
        segments[:, 20 * label : 20 * label + 20] += 55
        clips.append((f"{seed:02d}video{number:04d}", [label, *([300] if number % 3 == 0 else [])], segments))
    return clips


def write_features(folder: Path, clips: Sequence[tuple[str, list[int], np.ndarray]], per_file: int = 5) -> Path:
    """Writes clips as a folder of `.tfrecord` files."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(clips), per_file):
        content = b"".join(framed(example(*clip)) for clip in clips[first : first + per_file])
        (folder / f"{first // per_file:02d}.tfrecord").write_bytes(content)
    return folder
