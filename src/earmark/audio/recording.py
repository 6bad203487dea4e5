"""Recordings: decoding, resampling, and the conversion of seconds to samples."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from earmark.audio import containers, decoding, media
from earmark.audio.resampling import StreamResampler, validate_rate
from earmark.audio.tracks import Track
from earmark.errors import AudioError, EarmarkWarning
from earmark.storage.files import atomic_write, walk

if TYPE_CHECKING:
    from jaxtyping import Float32, Int16

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav"}
)
"""Suffixes that a folder scan counts as recordings; `earmark.audio.media` adds more if PyAV is installed."""
_MAX_CHANNELS = 1024


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    """The nearest sample; halves are rounded up.

    >>> seconds_to_samples(2.5, 44100)
    110250
    """
    return math.floor(seconds * sample_rate + 0.5)


def samples_to_seconds(n_samples: int, sample_rate: int) -> float:
    """The duration of the samples in seconds."""
    return n_samples / sample_rate


@dataclass(frozen=True, eq=False)
class Audio:
    """A waveform and its sample rate.

    The samples are copied. Floats keep their values; int16 and int32 are scaled to [-1, 1). An `EarmarkWarning` says
    when floats look like unscaled integers: their peak is far beyond full scale.

    >>> Audio(np.zeros((2, 8000)), 16000).duration
    0.5

    Raises:
        AudioError: The waveform has another dtype or shape, more channels than samples, or none; or holds NaN or
            infinity; or the sample rate is no positive whole number.
    """

    waveform: np.ndarray
    """(sample,) or (channel, sample), float32, full scale at 1."""
    sample_rate: int
    """Hz."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_rate", validate_rate(self.sample_rate))
        object.__setattr__(self, "waveform", _validate_waveform(self.waveform))

    @property
    def duration(self) -> float:
        """Seconds."""
        return samples_to_seconds(self.waveform.shape[-1], self.sample_rate)

    def mono(self, sample_rate: int) -> Audio:
        """The mean of the channels at that rate, band-limited.

        Raises:
            AudioError: The sound is shorter than one sample of the new rate.
        """
        waveform = self.waveform if self.waveform.ndim == 1 else self.waveform.mean(axis=0)
        return _decoded(resample(waveform, self.sample_rate, sample_rate), sample_rate)


def _decoded(waveform: np.ndarray, sample_rate: int) -> Audio:
    """`Audio` of samples from a decoder: not copied, and without the check of their scale."""
    audio = object.__new__(Audio)
    object.__setattr__(audio, "sample_rate", sample_rate)
    object.__setattr__(audio, "waveform", _validate_waveform(waveform, is_own=True))
    return audio


def _validate_waveform(waveform: object, is_own: bool = False) -> np.ndarray:
    if not isinstance(waveform, np.ndarray):
        raise AudioError(f"a waveform is a NumPy array, got {type(waveform).__name__}: give {_conversion(waveform)}")
    if waveform.ndim not in (1, 2):
        raise AudioError(f"a waveform is (sample,) or (channel, sample), got shape {waveform.shape}")
    if waveform.size == 0:
        raise AudioError(f"a waveform needs at least one sample, got shape {waveform.shape}")
    if waveform.ndim == 2 and waveform.shape[0] > min(_MAX_CHANNELS, waveform.shape[1]):
        raise AudioError(
            f"a waveform is (sample,) or (channel, sample), got shape {waveform.shape}, which has {waveform.shape[0]} "
            f"channels of {waveform.shape[1]} samples: transpose it with .T"
        )
    if waveform.dtype.kind == "i" and waveform.dtype.itemsize in (2, 4):
        return (waveform / -float(np.iinfo(waveform.dtype).min)).astype(np.float32, order="C")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise AudioError(
            f"a waveform holds floats (or int16 or int32), got {waveform.dtype}: scale it to [-1, 1), or give "
            "waveform.astype(numpy.int16) if its samples have 16 bits"
        )
    with np.errstate(over="ignore"):  # overflow becomes infinite and is refused below
        copied = np.array(waveform, dtype=np.float32, order="C", copy=None if is_own else True)
    # if one sample is NaN, so are the extremes
    peak = float(max(copied.max(), -copied.min()))
    if not math.isfinite(peak):
        raise AudioError(f"a waveform is finite, got {decoding.describe_invalid(copied)}")
    if peak > decoding.UNSCALED_PEAK and not is_own:
        warnings.warn(f"the waveform {decoding.UNSCALED_TEXT}", EarmarkWarning, stacklevel=4)
    return copied


def _conversion(waveform: object) -> str:
    """Advice on how to make an array of samples of another type."""
    if hasattr(waveform, "detach"):  # a tensor of PyTorch, perhaps with gradients or on another device
        return "waveform.detach().cpu().numpy()"
    if hasattr(waveform, "numpy"):
        return "waveform.numpy()"
    if isinstance(waveform, bytes | bytearray | memoryview):
        return "numpy.frombuffer(waveform, numpy.int16) if it holds samples of 16 bits"
    if hasattr(waveform, "typecode"):  # array.array
        return "numpy.asarray(waveform)"
    first = waveform
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if isinstance(first, Integral):
        return "numpy.array(waveform, numpy.int16) if its samples have 16 bits"
    return "numpy.asarray(waveform, numpy.float32)"


def resample(
    waveform: Float32[np.ndarray, " sample"], from_rate: int, to_rate: int
) -> Float32[np.ndarray, " resampled"]:
    """The waveform at another rate, band-limited to avoid aliasing.

    The result has `seconds_to_samples(n_samples / from_rate, to_rate)` samples.
    """
    if validate_rate(from_rate) == validate_rate(to_rate):
        return waveform
    return np.concatenate(list(_resample_blocks([waveform], from_rate, to_rate)))


def _resample_blocks(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Blocks at the new rate; joined, they are the same for any division of the input."""
    stream = StreamResampler(from_rate, to_rate)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


@dataclass(frozen=True)
class AudioInfo:
    """Rate, channels and length that the header of a file states."""

    sample_rate: int
    """Hz."""
    n_channels: int
    n_samples: int | None
    """Samples per channel; None if the header states no exact number."""

    @property
    def duration(self) -> float | None:
        """Seconds; None if the header states no exact length."""
        return None if self.n_samples is None else samples_to_seconds(self.n_samples, self.sample_rate)


def probe(path: Path | str, track: Track = None) -> AudioInfo:
    """Rate, channels and length of a file, from its header alone.

    Args:
        path: The file.
        track: As for `load_audio`.

    Raises:
        AudioError: The file is missing, empty, no audio, shorter than its header states, or without this track.
    """
    path = Path(path)
    with decoding.open_decoder(path, str(path), track) as decoder:
        return AudioInfo(decoder.sample_rate, decoder.n_channels, decoder.n_samples)


def load_audio(
    path: Path | str, sample_rate: int, onset: float = 0.0, duration: float | None = None, track: Track = None
) -> Audio:
    """A file as mono at the given rate, or the part of `duration` seconds from `onset` on.

    Only the requested part is decoded; it is shorter if the file ends earlier. Channels are averaged. If they cancel
    each other, for example because one is inverted, an `EarmarkWarning` is issued. Where the sound track of a video
    begins late or has a gap, there is silence, and an `EarmarkWarning` says so.

    Args:
        path: The file.
        sample_rate: Hz.
        onset: Start of the part, in seconds.
        duration: Length of the part, in seconds; None means up to the end.
        track: Number of the sound track, from 1 on, or `mix` for the mean of all; by default the first, with an
            `EarmarkWarning` if there are others.

    Raises:
        AudioError: The file is missing, empty, no audio, damaged, shorter than its header states, without this track,
            ends before `onset` or holds NaN or infinity.
    """
    path = Path(path)
    return _join_blocks(_decode_blocks(path, str(path), sample_rate, onset, duration, track), str(path), sample_rate)


def decode_audio(
    data: bytes, sample_rate: int, name: str, onset: float = 0.0, duration: float | None = None, track: Track = None
) -> Audio:
    """`load_audio` for the bytes of a file, for example from a table.

    Args:
        data: All bytes of the file, in any format.
        sample_rate: Hz.
        name: Name of the recording in errors and warnings.
        onset: Start of the part, in seconds.
        duration: Length of the part, in seconds; None means up to the end.
        track: As for `load_audio`.

    Raises:
        AudioError: As for `load_audio`.
    """
    return _join_blocks(_decode_blocks(data, name, sample_rate, onset, duration, track), name, sample_rate)


def _join_blocks(blocks: Iterable[np.ndarray], name: str, sample_rate: int) -> Audio:
    pieces = list(blocks)
    waveform = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    if waveform.size == 0:
        raise AudioError(f"{name}: shorter than one sample at {sample_rate} Hz")
    return _decoded(waveform, sample_rate)


def load_blocks(
    path: Path | str, sample_rate: int, seconds: float, track: Track = None
) -> Iterator[Float32[np.ndarray, " sample"]]:
    """The samples of `load_audio` in blocks of `seconds`, in bounded memory; the last block may be shorter.

    The file is open until the last block is taken or the generator is closed.

    Raises:
        AudioError: As for `load_audio`, raised when the damage is reached; or `seconds` is shorter than a sample.
    """
    n_block = seconds_to_samples(seconds, validate_rate(sample_rate))
    if n_block < 1:
        raise AudioError(f"expected blocks of at least one sample, got {seconds} s at {sample_rate} Hz")
    path = Path(path)
    pending: list[np.ndarray] = []
    n_pending = n_yielded = 0
    for decoded in _decode_blocks(path, str(path), sample_rate, 0.0, None, track):
        pending.append(decoded)
        n_pending += decoded.size
        if n_pending < n_block:
            continue
        joined = np.concatenate(pending)
        n_ready = n_pending // n_block * n_block
        for start in range(0, n_ready, n_block):
            yield joined[start : start + n_block]
        n_yielded += n_ready
        # a view would keep all of `joined` in memory
        pending, n_pending = [joined[n_ready:].copy()], n_pending - n_ready
    if n_pending:
        yield np.concatenate(pending)
    elif not n_yielded:
        raise AudioError(f"{path}: shorter than one sample at {sample_rate} Hz")


def _decode_blocks(
    source: containers.Source, name: str, sample_rate: int, onset: float, duration: float | None, track: Track
) -> Iterator[np.ndarray]:
    validate_rate(sample_rate)
    if not (math.isfinite(onset) and onset >= 0):
        raise AudioError(f"{name}: expected an onset of 0 s or later, got {onset}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"{name}: expected a duration above 0 s, got {duration}")
    with decoding.open_decoder(source, name, track) as decoder:
        start = seconds_to_samples(onset, decoder.sample_rate)
        stop = None if duration is None else start + max(1, seconds_to_samples(duration, decoder.sample_rate))
        decoded = decoding.mono_blocks(decoder, name, start, stop)
        yield from _resample_blocks(decoded, decoder.sample_rate, sample_rate)


def save_audio(path: Path | str, audio: Audio, subtype: str = "PCM_16") -> None:
    """Writes a file atomically, in the format of its suffix.

    `PCM_16` rounds as `pcm16` does; `load_audio` returns exactly the rounded values.

    Raises:
        AudioError: The format does not support the samples, or the file cannot be written.
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
            name = os.fsencode(temporary) if os.name == "posix" else temporary  # names need not be valid text
            soundfile.write(name, samples, audio.sample_rate, format=file_format, subtype=subtype)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def pcm16(waveform: Float32[np.ndarray, ...]) -> Int16[np.ndarray, ...]:
    """Samples rounded to the nearest k / 32768, as k; samples beyond full scale are clipped."""
    # libsndfile rounds down, which adds an offset of half a step
    return np.clip(np.rint(waveform * np.float32(32768)), -32768, 32767).astype(np.int16)


def find_audio(path: Path | str, onerror: Callable[[OSError], object] | None = None) -> list[Path]:
    """The recordings below a folder, sorted, without hidden ones; for a file, the file itself.

    Without the extra `media`, an `EarmarkWarning` counts the skipped files that need it.

    Args:
        path: The folder or file.
        onerror: As for `scan_audio`.

    Raises:
        AudioError: The path does not exist, the folder holds no recording, or a folder cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        decoding.check_is_file(path)
        return [path]
    return scan_audio(path, onerror)[0]


def scan_audio(folder: Path, onerror: Callable[[OSError], object] | None = None) -> tuple[list[Path], list[Path]]:
    """`find_audio` of a folder, and the skipped files that need the extra `media`.

    Args:
        folder: The folder.
        onerror: Called with the error of each sub-folder that cannot be read, which is then skipped.

    Raises:
        AudioError: The folder holds no recording; or it cannot be read, or a sub-folder, without `onerror`.
    """

    def unreadable(error: OSError) -> None:
        if onerror is None or Path(error.filename) == folder:
            raise AudioError(f"{error.filename}: this folder cannot be read: {error.strerror or error}") from error
        onerror(error)

    readable = AUDIO_SUFFIXES | (media.SUFFIXES if media.is_installed() else frozenset())
    found: list[Path] = []
    skipped: list[Path] = []
    for _, files in walk(folder, unreadable):
        for file in map(Path, files):
            suffix = file.suffix.lower()
            kind = found if suffix in readable else skipped if suffix in media.SUFFIXES else None
            if kind is not None:
                kind.append(file)
    if not found:
        hint = f"; found {count_suffixes(skipped)}, which need the extra: {media.INSTALL}" if skipped else ""
        looked_for = " ".join(sorted(readable))
        raise AudioError(f"{folder}: no recording in this folder; looked for {looked_for}{hint}")
    if skipped:
        text = f"{len(skipped)} files skipped, {count_suffixes(skipped)}: they need the extra"
        warnings.warn(f"{folder}: {text}: {media.INSTALL}", EarmarkWarning, stacklevel=2)
    return sorted(found), sorted(skipped)


def count_suffixes(files: Iterable[Path]) -> str:
    """The number of files of each suffix, as text.

    >>> count_suffixes([Path("a.m4a"), Path("b.M4A"), Path("c.mp4")])
    '2 .m4a, 1 .mp4'
    """
    counts = Counter(file.suffix.lower() for file in files)
    return ", ".join(f"{n} {suffix}" for suffix, n in counts.most_common())
