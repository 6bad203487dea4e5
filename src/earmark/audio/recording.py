"""Recordings: decoding, resampling, and the only place where seconds meet samples."""

import math
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from earmark.audio import containers, decoding, media
from earmark.audio.resampling import StreamResampler, checked_rate
from earmark.errors import AudioError, EarmarkWarning
from earmark.storage.files import atomic_write, walk

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav"}
)
"""Suffixes of the recordings that a folder scan finds; `earmark.audio.media` adds more where PyAV is installed."""
_MAX_CHANNELS = 1024
_SPOOLED_BYTES = 1 << 20


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    """The nearest sample, halves upwards: the one place where time is rounded.

    >>> seconds_to_samples(2.5, 44100)
    110250
    """
    return math.floor(seconds * sample_rate + 0.5)


def samples_to_seconds(n_samples: int, sample_rate: int) -> float:
    """The time that so many samples take."""
    return n_samples / sample_rate


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound and its sample rate, which no function of earmark ever guesses.

    Floats are kept as they are, int16 and int32 are scaled to [-1, 1).

    >>> Audio(np.zeros((2, 8000)), 16000).duration
    0.5

    Raises:
        AudioError: Another kind of number or shape, no samples, NaN or infinity, or no positive whole sample rate.
    """

    waveform: np.ndarray
    """(sample,) or (channel, sample), float32, full scale at 1."""
    sample_rate: int
    """Hz."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_rate", checked_rate(self.sample_rate))
        object.__setattr__(self, "waveform", _checked_waveform(self.waveform))

    @property
    def duration(self) -> float:
        """Seconds."""
        return samples_to_seconds(self.waveform.shape[-1], self.sample_rate)

    def mono(self, sample_rate: int) -> "Audio":
        """The mean of the channels at that rate, band-limited.

        Raises:
            AudioError: The sound is shorter than one sample of the new rate.
        """
        waveform = self.waveform if self.waveform.ndim == 1 else self.waveform.mean(axis=0)
        return Audio(resample(waveform, self.sample_rate, sample_rate), sample_rate)


def _checked_waveform(waveform: object) -> np.ndarray:
    if not isinstance(waveform, np.ndarray):
        how = ".numpy() of it" if hasattr(waveform, "numpy") else "numpy.asarray(it, numpy.float32)"
        raise AudioError(f"a waveform is a NumPy array, got {type(waveform).__name__}: give {how}")
    if waveform.ndim not in (1, 2):
        raise AudioError(f"a waveform is (sample,) or (channel, sample), got shape {waveform.shape}")
    if waveform.size == 0:
        raise AudioError(f"a waveform needs at least one sample, got shape {waveform.shape}")
    if waveform.ndim == 2 and waveform.shape[0] > _MAX_CHANNELS:
        raise AudioError(
            f"a waveform is (sample,) or (channel, sample), got shape {waveform.shape}, which has {waveform.shape[0]} "
            "channels: transpose it with .T"
        )
    if waveform.dtype in (np.int16, np.int32):
        waveform = (waveform / -float(np.iinfo(waveform.dtype).min)).astype(np.float32)
    elif not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(f"a waveform holds floats (or int16 or int32), got {waveform.dtype}: scale it to [-1, 1)")
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused
        waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if not np.isfinite(waveform).all():
        raise AudioError(f"a waveform is finite, got {_count_not_finite(waveform)}")
    return waveform


def _count_not_finite(samples: np.ndarray) -> str:
    return f"{np.count_nonzero(~np.isfinite(samples))} NaN or infinite among {samples.size} samples"


def resample(
    waveform: Float32[np.ndarray, " sample"], from_rate: int, to_rate: int
) -> Float32[np.ndarray, " resampled"]:
    """The waveform at another rate, band-limited: what the new rate can't carry vanishes instead of folding back.

    It has `seconds_to_samples(n_samples / from_rate, to_rate)` samples.
    """
    if checked_rate(from_rate) == checked_rate(to_rate):
        return waveform
    return np.concatenate(list(_resampled([waveform], from_rate, to_rate)))


def _resampled(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Blocks at the new rate; joined they are the same to the bit, however the sound was cut into blocks."""
    stream = StreamResampler(from_rate, to_rate)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, before anything is resampled or mixed."""

    sample_rate: int
    """Hz."""
    n_channels: int
    n_samples: int
    """Of each channel."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return samples_to_seconds(self.n_samples, self.sample_rate)


def probe(path: Path | str) -> AudioInfo:
    """Rate, channels and length of a file by its header; only a file that doesn't state its length is decoded.

    Raises:
        AudioError: The file is missing, empty, no audio, or shorter than its header says.
    """
    path = Path(path)
    with decoding.opened(path, str(path)) as decoder:
        n_samples = decoder.n_samples
        if n_samples is None:
            n_samples = sum(block.size for block in decoding.mono_blocks(decoder, str(path), 0, None))
        return AudioInfo(decoder.sample_rate, decoder.n_channels, n_samples)


def stated_duration(path: Path | str) -> float | None:
    """Seconds of a file by its header alone; None where it does not state its length.

    Raises:
        AudioError: The file is missing, empty or no audio.
    """
    path = Path(path)
    with decoding.opened(path, str(path)) as decoder:
        return None if decoder.n_samples is None else samples_to_seconds(decoder.n_samples, decoder.sample_rate)


def load_audio(path: Path | str, sample_rate: int, onset: float = 0.0, duration: float | None = None) -> Audio:
    """A file, or `duration` seconds of it from `onset` on, as mono at that rate.

    Only what is asked for is decoded; where the file ends before the asked-for end, so does the sound. Channels are
    averaged; where they cancel each other, as those of a stereo recording with one channel upside down do, an
    `EarmarkWarning` says so.

    Raises:
        AudioError: The file is missing, empty, no audio, damaged, shorter than its header says, ends before `onset`
            or holds NaN or infinity; the text names the file.
    """
    path = Path(path)
    return _joined(_load_blocks(path, str(path), sample_rate, onset, duration), str(path), sample_rate)


def decode_audio(data: bytes, sample_rate: int, name: str, onset: float = 0.0, duration: float | None = None) -> Audio:
    """All the bytes of a file, such as those in a row of a table, as mono at that rate, without a file on disk.

    Args:
        data: In any format that a file can have.
        sample_rate: Hz.
        name: What errors and warnings call it.
        onset: Where to begin, in seconds.
        duration: Seconds to decode, as far as there are as many; None is to the end.

    Raises:
        AudioError: As `load_audio`.
    """
    return _joined(_load_blocks(data, name, sample_rate, onset, duration), name, sample_rate)


def _joined(blocks: Iterable[np.ndarray], name: str, sample_rate: int) -> Audio:
    pieces = list(blocks)
    waveform = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if waveform.size == 0:
        raise AudioError(f"{name}: shorter than one sample at {sample_rate} Hz")
    return Audio(waveform, sample_rate)


def blocks(path: Path | str, sample_rate: int, seconds: float) -> Iterator[Float32[np.ndarray, " sample"]]:
    """The same samples as `load_audio`, in blocks of `seconds` (the last may be shorter), in bounded memory.

    The file is open until the last block is taken, or the generator closed.

    Raises:
        AudioError: As `load_audio`, when the place is reached, and for blocks shorter than a sample.
    """
    n_block = seconds_to_samples(seconds, checked_rate(sample_rate))
    if n_block < 1:
        raise AudioError(f"expected blocks of at least one sample, got {seconds} s at {sample_rate} Hz")
    path = Path(path)
    waiting: list[np.ndarray] = []
    n_waiting = n_given = 0
    for decoded in _load_blocks(path, str(path), sample_rate, 0.0, None):
        waiting.append(decoded)
        n_waiting += decoded.size
        if n_waiting < n_block:
            continue
        joined = np.concatenate(waiting)
        n_ready = n_waiting // n_block * n_block
        for start in range(0, n_ready, n_block):
            yield joined[start : start + n_block]
        n_given += n_ready
        # a copy, lest the little that is left keep all of it in memory
        waiting, n_waiting = [joined[n_ready:].copy()], n_waiting - n_ready
    if n_waiting:
        yield np.concatenate(waiting)
    elif not n_given:
        raise AudioError(f"{path}: shorter than one sample at {sample_rate} Hz")


def _load_blocks(
    source: containers.Source, name: str, sample_rate: int, onset: float, duration: float | None
) -> Iterator[np.ndarray]:
    checked_rate(sample_rate)
    if not (math.isfinite(onset) and onset >= 0):
        raise AudioError(f"{name}: expected an onset of 0 s or later, got {onset}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"{name}: expected a duration above 0 s, got {duration}")
    with decoding.opened(source, name) as decoder:
        start = seconds_to_samples(onset, decoder.sample_rate)
        stop = None if duration is None else start + max(1, seconds_to_samples(duration, decoder.sample_rate))
        decoded = decoding.mono_blocks(decoder, name, start, stop)
        yield from _resampled(decoded, decoder.sample_rate, sample_rate)


@contextmanager
def spooled(stream: BinaryIO, name: str = "standard input") -> Iterator[Path]:
    """A private temporary file of all that comes from a stream, however long; it is gone when the block ends.

    Args:
        stream: What a pipe brings, such as `sys.stdin.buffer`: the headers of recordings want to be gone back to.
        name: What errors call it that the block raises about the file.

    Raises:
        AudioError: Nothing came, or there is no room for it.
    """
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        path = Path(folder, "recording")
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(stream, file, _SPOOLED_BYTES)
        except OSError as error:
            reason = f"{error.strerror or error}; TMPDIR names another folder for it"
            raise AudioError(f"{name}: cannot be kept in a temporary file: {reason}") from error
        if path.stat().st_size == 0:
            raise AudioError(f"{name}: empty, no bytes came")
        try:
            yield path
        except AudioError as error:
            raise AudioError(str(error).replace(str(path), name)) from error


def save_audio(path: Path | str, audio: Audio, subtype: str = "PCM_16") -> None:
    """Writes a file, in the format of its suffix, whole or not at all.

    With `PCM_16` a sample becomes the nearest of the 65,536 steps k / 32768, from which `load_audio` returns exactly
    that step; what is louder than full scale is clipped.

    Raises:
        AudioError: The format can't hold that, or the folder can't be written.
    """
    path = Path(path)
    file_format = {".oga": "OGG", ".opus": "OGG", ".aif": "AIFF", ".aifc": "AIFF", ".snd": "AU"}.get(
        path.suffix.lower(), path.suffix[1:].upper()
    )
    if not soundfile.check_format(file_format, subtype):
        raise AudioError(
            f"{path}: cannot be written as {file_format or 'a file without suffix'} with {subtype} samples"
        )
    samples = pcm16(audio.waveform.T) if subtype == "PCM_16" else audio.waveform.T
    try:
        with atomic_write(path) as temporary:
            soundfile.write(temporary, samples, audio.sample_rate, format=file_format, subtype=subtype)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def pcm16(waveform: Float32[np.ndarray, "..."]) -> Int16[np.ndarray, "..."]:
    """The nearest of the 65,536 steps k / 32768 of each sample; what is louder than full scale is clipped."""
    # libsndfile rounds down, which shifts every sound by half a step
    return np.clip(np.rint(waveform * np.float32(32768)), -32768, 32767).astype(np.int16)


def find_audio(path: Path | str) -> list[Path]:
    """The recordings in a folder and its sub-folders, sorted, without hidden ones; of a file, the file.

    Files in formats that only the extra `media` reads are counted in an `EarmarkWarning` where it is not installed.

    Raises:
        AudioError: There is nothing of that name, or no recording in it.
    """
    path = Path(path)
    if not path.is_dir():
        decoding.check_is_file(path)
        return [path]
    return scan_audio(path)[0]


def scan_audio(folder: Path) -> tuple[list[Path], list[Path]]:
    """`find_audio` of a folder, and beside it the files that were skipped for want of the extra `media`.

    Raises:
        AudioError: There is no recording.
    """
    is_read = AUDIO_SUFFIXES | (media.SUFFIXES if media.is_installed() else frozenset())
    found: list[Path] = []
    unread: list[Path] = []
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise AudioError(f"{folder}: cannot be opened: {error.strerror or error}") from error
    for _, files in walk(folder):
        for file in map(Path, files):
            suffix = file.suffix.lower()
            kind = found if suffix in is_read else unread if suffix in media.SUFFIXES else None
            if kind is not None:
                kind.append(file)
    if not found:
        there = f", there are {count_suffixes(unread)}, which the extra reads: {media.INSTALL}" if unread else ""
        looked_for = " ".join(sorted(is_read))
        raise AudioError(f"{folder}: no recording in this folder; looked for {looked_for}{there}")
    if unread:
        text = f"{len(unread)} files skipped, {count_suffixes(unread)}: they are read with the extra"
        warnings.warn(f"{folder}: {text}: {media.INSTALL}", EarmarkWarning, stacklevel=2)
    return sorted(found), sorted(unread)


def count_suffixes(files: Iterable[Path]) -> str:
    """How many files there are of each suffix, as people say it.

    >>> count_suffixes([Path("a.m4a"), Path("b.M4A"), Path("c.mp4")])
    '2 .m4a, 1 .mp4'
    """
    counts = Counter(file.suffix.lower() for file in files)
    return ", ".join(f"{n} {suffix}" for suffix, n in counts.most_common())
