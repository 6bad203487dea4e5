"""A recording for the page: sound to play, and a spectrogram in tiles of several resolutions."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from earmark.audio.recording import load_blocks, pcm16, samples_to_seconds
from earmark.model.mel import FrontendConfig
from earmark.plots.spectrogram import mel_powers

SAMPLE_RATE: Final = 32000
"""Hz of the sound and the spectrogram."""
COLUMNS: Final = 512
"""Columns of a tile."""
COLUMNS_PER_SECOND: Final = 50
"""Columns of the finest level; each further level has half as many."""
FLOOR_DB: Final = -80.0
_TOP_DB: Final = 50.0  # a loud tone has more than 0 dB, because powers are not divided by the size of the window
_BLOCK_SECONDS: Final = 10.0
_MEL: Final = FrontendConfig(
    SAMPLE_RATE, n_fft=1024, hop_length=SAMPLE_RATE // COLUMNS_PER_SECOND, n_mels=96, f_min=50.0, f_max=15000.0
)
_WAV_HEAD: Final = 44
_DRAWN: Final = 140
"""Maximum steps between the darkest and the brightest colour, some 70 dB."""


@dataclass(frozen=True)
class Pyramid:
    """Files of a recording for the page."""

    sound: Path
    """A WAV file of 16 bits, one channel."""
    duration: float
    """Seconds."""
    levels: tuple[Path, ...]
    """Files of bytes (column, mel): decibels from `FLOOR_DB` on."""
    range: tuple[int, int]
    """Bytes between which the spectrogram is drawn: a little below the median, and nearly the maximum."""

    @classmethod
    def of(cls, path: Path, folder: Path, progress: Callable[[float], None]) -> "Pyramid":
        """Decodes a recording into files in a folder.

        Args:
            path: The recording.
            folder: Folder of the files.
            progress: Called with the seconds decoded so far; what it raises ends the work.

        Raises:
            AudioError: The recording cannot be read.
        """
        sound, finest = folder / "sound.wav", folder / "level0"
        n_samples = 0

        def blocks() -> Iterator[np.ndarray]:
            nonlocal n_samples
            for block in load_blocks(path, SAMPLE_RATE, _BLOCK_SECONDS):
                n_samples += block.size
                progress(samples_to_seconds(n_samples, SAMPLE_RATE))
                wav.write(pcm16(block).astype("<i2").tobytes())
                yield block

        histogram = np.zeros(256, np.int64)
        with sound.open("xb") as wav, finest.open("xb") as file:
            wav.write(bytes(_WAV_HEAD))
            for powers in mel_powers(blocks(), _MEL):
                columns = _as_bytes(powers)
                histogram += np.bincount(columns.reshape(-1), minlength=256)
                file.write(columns.tobytes())
            wav.seek(0)
            wav.write(_wav_head(n_samples))
        levels = [finest]
        while levels[-1].stat().st_size > COLUMNS * _MEL.n_mels:
            levels.append(_halved(levels[-1], folder / f"level{len(levels)}"))
        return cls(sound, samples_to_seconds(n_samples, SAMPLE_RATE), tuple(levels), _drawn(histogram))

    def tile(self, level: int, index: int) -> bytes | None:
        """The columns of a tile, each `n_mels` bytes from low to high pitch; None where there is no such tile."""
        if not (0 <= level < len(self.levels) and index >= 0):
            return None
        n_bytes, path = COLUMNS * _MEL.n_mels, self.levels[level]
        if index * n_bytes >= path.stat().st_size:
            return None
        with path.open("rb") as file:
            file.seek(index * n_bytes)
            return file.read(n_bytes)

    def description(self) -> dict[str, object]:
        """The numbers that the page needs to draw the spectrogram."""
        return {
            "n_mels": _MEL.n_mels,
            "columns_per_second": COLUMNS_PER_SECOND,
            "columns_per_tile": COLUMNS,
            "n_levels": len(self.levels),
            "range": list(self.range),
            "f_min": _MEL.f_min,
            "f_max": _MEL.f_max,
        }


def _as_bytes(powers: np.ndarray) -> np.ndarray:
    decibels = 10 * np.log10(np.maximum(powers, 1e-12))
    return np.clip(np.rint((decibels - FLOOR_DB) * (255 / (_TOP_DB - FLOOR_DB))), 0, 255).astype(np.uint8)


def _drawn(histogram: np.ndarray) -> tuple[int, int]:
    share = np.cumsum(histogram) / max(1, histogram.sum())
    low, high = int(np.searchsorted(share, 0.3)), int(np.searchsorted(share, 0.9995))
    low = min(max(low, high - _DRAWN), 230)
    return low, max(high, low + 25)


def _halved(path: Path, target: Path) -> Path:
    """The file of the next level: the maximum of every two columns, so that a short sound stays visible."""
    n_bytes = 2 * COLUMNS * _MEL.n_mels
    with path.open("rb") as source, target.open("xb") as file:
        while data := source.read(64 * n_bytes):
            columns = np.frombuffer(data, np.uint8).reshape(-1, _MEL.n_mels)
            if len(columns) % 2:
                columns = np.concatenate([columns, columns[-1:]])
            file.write(np.maximum(columns[::2], columns[1::2]).tobytes())
    return target


def _wav_head(n_samples: int) -> bytes:
    n_bytes = 2 * n_samples
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + n_bytes, b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
        + struct.pack("<4sI", b"data", n_bytes)
    )
