"""Recordings: decoding, resampling, and the only place where seconds meet samples."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from earmark import containers
from earmark.errors import AudioError, EarmarkWarning
from earmark.files import atomic_write
from earmark.resampling import StreamResampler, checked_rate

AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".snd", ".w64", ".wav"}
)
"""Suffixes that a scan of a folder takes for recordings; a file named outright may have any."""
_UNREAD_SUFFIXES = frozenset(
    {".3gp", ".aac", ".amr", ".ape", ".avi", ".m4a", ".m4b", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wma", ".wv"}
)

_BLOCK_VALUES = 1 << 20
"""Values decoded at once: a header may state any length, memory is only taken for what the file holds."""
_MAX_CHANNELS = 1024
_MP3_SLACK = 1152
"""Samples, one frame; encoders count the padding at the ends in different ways."""
_CANCELLED = 0.02
"""Of the power that the mean of unrelated channels has, no more is left where channels cancel each other (-17 dB)."""
_UNKNOWN_LENGTH = 1 << 62
"""libsndfile gives such lengths to files that don't state one, such as FLAC written to a pipe."""


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
    with _open(path) as file:
        n_samples = _stated_samples(file)
        if n_samples is None:
            n_samples = sum(block.size for block in _mono_blocks(path, file, 0, None))
        return AudioInfo(file.samplerate, file.channels, n_samples)


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
    blocks = list(_load_blocks(path, sample_rate, onset, duration))
    waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    if waveform.size == 0:
        raise AudioError(f"{path}: shorter than one sample at {sample_rate} Hz")
    return Audio(waveform, sample_rate)


def blocks(path: Path | str, sample_rate: int, seconds: float) -> Iterator[Float32[np.ndarray, " sample"]]:
    """The same samples as `load_audio`, in blocks of `seconds` (the last may be shorter), in bounded memory.

    Raises:
        AudioError: As `load_audio`, when the place is reached, and for blocks shorter than a sample.
    """
    n_block = seconds_to_samples(seconds, checked_rate(sample_rate))
    if n_block < 1:
        raise AudioError(f"expected blocks of at least one sample, got {seconds} s at {sample_rate} Hz")
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for decoded in _load_blocks(Path(path), sample_rate, 0.0, None):
        waiting.append(decoded)
        n_waiting += decoded.size
        if n_waiting < n_block:
            continue
        joined = np.concatenate(waiting)
        n_ready = n_waiting // n_block * n_block
        for start in range(0, n_ready, n_block):
            yield joined[start : start + n_block]
        waiting, n_waiting = [joined[n_ready:]], n_waiting - n_ready
    if n_waiting:
        yield np.concatenate(waiting)


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
    samples = audio.waveform.T
    if subtype == "PCM_16":
        # libsndfile rounds down, which shifts every sound by half a step
        samples = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    try:
        with atomic_write(path) as temporary:
            soundfile.write(temporary, samples, audio.sample_rate, format=file_format, subtype=subtype)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def find_audio(path: Path | str) -> list[Path]:
    """The recordings in a folder and its sub-folders, sorted, without hidden ones; of a file, the file.

    Files in formats of sound or video that are not read here are counted in an `EarmarkWarning`.

    Raises:
        AudioError: There is nothing of that name, or no recording in it.
    """
    path = Path(path)
    if not path.is_dir():
        _check_is_file(path)
        return [path]
    return scan_audio(path)[0]


def scan_audio(folder: Path) -> tuple[list[Path], list[Path]]:
    """`find_audio` of a folder, and beside it the files that were skipped for their format.

    Raises:
        AudioError: There is no recording.
    """
    found: list[Path] = []
    unread: list[Path] = []
    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back up
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            suffix = Path(name).suffix.lower()
            kind = found if suffix in AUDIO_SUFFIXES else unread if suffix in _UNREAD_SUFFIXES else None
            if kind is not None and not name.startswith("."):
                kind.append(Path(place, name))
    if not found:
        there = f", there are {count_suffixes(unread)}: convert them, for example to wav" if unread else ""
        looked_for = " ".join(sorted(AUDIO_SUFFIXES))
        raise AudioError(f"{folder}: no recording in this folder; looked for {looked_for}{there}")
    if unread:
        text = f"{len(unread)} files skipped, no audio that is read here: {count_suffixes(unread)}"
        warnings.warn(f"{folder}: {text}; convert them, for example to wav", EarmarkWarning, stacklevel=2)
    return sorted(found), sorted(unread)


def count_suffixes(files: Iterable[Path]) -> str:
    """How many files there are of each suffix, as people say it.

    >>> count_suffixes([Path("a.m4a"), Path("b.M4A"), Path("c.mp4")])
    '2 .m4a, 1 .mp4'
    """
    counts = Counter(file.suffix.lower() for file in files)
    return ", ".join(f"{n} {suffix}" for suffix, n in counts.most_common())


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise AudioError(f"{path}: expected an audio file, got a folder")
    if not path.exists():
        raise AudioError(f"{path}: no such file")


@contextmanager
def _open(path: Path) -> Iterator[containers.SequentialFile]:
    _check_is_file(path)
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: empty, 0 bytes; copy or download it again")
        if path.suffix.lower() == ".raw":  # soundfile would ask for a rate
            raise AudioError(f"{path}: cannot be read as audio; it has no header")
        with path.open("rb"):  # libsndfile says no more than "System error"
            # bytes, since a name need not be text in any encoding
            file = containers.SequentialFile(os.fsencode(path) if os.name == "posix" else path)
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened: {error.strerror or error}") from error
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path}: cannot be read as audio; it is damaged, or in a format other than wav, flac, ogg, opus, mp3, "
            "aiff, au, caf and w64: convert it, for example to wav"
        ) from error
    with file:
        # by the suffix alone libsndfile takes any bytes for samples
        if file.format == "RAW":
            raise AudioError(f"{path}: cannot be read as audio; it has no header")
        containers.check_whole(path, file.format)
        if file.format != "MP3" or containers.mp3_states_length(path):
            yield file
            return
    with containers.piped(path) as file:
        yield file


def _load_blocks(path: Path, sample_rate: int, onset: float, duration: float | None) -> Iterator[np.ndarray]:
    checked_rate(sample_rate)
    if not (math.isfinite(onset) and onset >= 0):
        raise AudioError(f"{path}: expected an onset of 0 s or later, got {onset}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"{path}: expected a duration above 0 s, got {duration}")
    with _open(path) as file:
        start = seconds_to_samples(onset, file.samplerate)
        stop = None if duration is None else start + max(1, seconds_to_samples(duration, file.samplerate))
        yield from _resampled(_mono_blocks(path, file, start, stop), file.samplerate, sample_rate)


def _mono_blocks(path: Path, file: containers.SequentialFile, start: int, stop: int | None) -> Iterator[np.ndarray]:
    stated = _stated_samples(file)
    rate = file.samplerate
    if stated == 0:
        raise AudioError(f"{path}: holds no samples, only a header")
    if stated is not None:
        if start >= stated:
            raise AudioError(f"{path}: ends at {stated / rate:.3f} s, before the onset at {start / rate:.3f} s")
        stop = stated if stop is None else min(stop, stated)
    position = start
    power_in = power_out = 0.0
    n_block = max(1, _BLOCK_VALUES // file.channels)
    try:
        if start:
            file.skip(start)
        while stop is None or position < stop:
            n_wanted = n_block if stop is None else min(n_block, stop - position)
            samples = file.read(n_wanted, dtype="float32", always_2d=True)
            if not len(samples):
                break
            mono = samples[:, 0] if file.channels == 1 else samples.mean(axis=1)
            if not np.isfinite(mono).all():
                raise AudioError(f"{path}: damaged, {_count_not_finite(samples)} from {position / rate:.2f} s on")
            if file.channels > 1:
                power_in += float(np.vdot(samples, samples)) / file.channels
                power_out += float(np.vdot(mono, mono))
            position += len(mono)
            yield mono
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{path}: damaged or cut off somewhere from {position / rate:.2f} s on; copy it again ({error})"
        ) from error
    if position == start:
        raise AudioError(f"{path}: holds no sound from {start / rate:.3f} s on")
    if stated is not None and stop is not None and stop - position > (_MP3_SLACK if file.format == "MP3" else 0):
        raise containers.cut_off(path, f"{stated} samples", f"{position}")
    if power_out * file.channels < _CANCELLED * power_in:
        text = "channels cancel each other, almost nothing is left of the sound in their mean"
        warnings.warn(f"{path}: {text}; turn one of them round, or keep one alone", EarmarkWarning, stacklevel=2)


def _stated_samples(file: containers.SequentialFile) -> int | None:
    return None if file.frames >= _UNKNOWN_LENGTH else int(file.frames)
