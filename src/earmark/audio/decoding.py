"""Decoders for recordings of any format, read forwards and mixed to one channel."""

import os
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
import soundfile

from earmark.audio import containers, media
from earmark.audio.containers import DecodingError, Source
from earmark.audio.time_limit import LimitedDecoder
from earmark.audio.tracks import Track, check_exists, check_track
from earmark.errors import AudioError, EarmarkWarning

_BLOCK_VALUES: Final = 1 << 20
"""Values decoded at once; headers may state any length, so memory is never allocated from them."""
_BLOCK_SECONDS: Final = 60
"""Maximum duration of a block; resampling to a higher rate takes more memory."""
_MP3_SLACK: Final = 1152
"""Samples in one frame; encoders count the padding at the ends differently."""
_MAX_AMPLITUDE: Final = 1e10
"""Above 32-bit integers stored as floats; far larger values have infinite squares."""
UNSCALED_PEAK: Final = 16.0
"""Peak above which floats are probably integers that were not divided by their full scale."""
UNSCALED_TEXT: Final = (
    f"has samples beyond {UNSCALED_PEAK:g}, where full scale is 1; "
    "if they were integers of 16 bits, divide them by 32768"
)
_MIN_POWER_LEFT: Final = 0.02
"""Power of the mean relative to that of uncorrelated channels (-17 dB); below it, channels cancel each other."""
_UNKNOWN_LENGTH: Final = 1 << 62
"""libsndfile's length of files that state none, for example FLAC written to a pipe."""
_FALLBACKS: Final = {b"OggS": "ogg", b"caff": "caf"}
"""First bytes of formats that libsndfile reads in part (no Speex, no AAC), and their names in FFmpeg."""
_RATES: Final = range(100, 10_000_001)
"""Hz; a rate outside this range means a damaged header."""


@runtime_checkable
class Decoder(Protocol):
    """A recording that is read forwards."""

    sample_rate: int
    """Hz."""
    n_channels: int
    n_samples: int | None
    """Samples per channel as stated in the header; None if it states none."""
    slack: int
    """Samples that may be missing at the end."""

    def read(self, n_samples: int) -> np.ndarray:
        """Up to `n_samples` samples as float32 (sample, channel); empty at the end.

        Raises:
            DecodingError: The samples are damaged.
        """

    def skip(self, n_samples: int) -> None:
        """Skips samples of each channel.

        Raises:
            DecodingError: The samples are damaged.
        """

    def close(self) -> None:
        """Closes the file."""


def check_is_file(path: Path) -> None:
    """Checks that the path is a regular file.

    Raises:
        AudioError: The path does not exist, or is a folder or a pipe.
    """
    if path.is_dir():
        raise AudioError(f"{path}: expected an audio file, got a folder")
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if not path.is_file():
        raise AudioError(f"{path}: expected a file, got a pipe or a device; give - to read standard input")


@contextmanager
def open_decoder(source: Source, name: str, track: Track = None) -> Iterator[Decoder]:
    """A decoder of the recording, closed when the block ends.

    Args:
        source: A file in any format, or its bytes.
        name: Name of the recording in errors.
        track: Number of the sound track, from 1 on, or `mix` for the mean of all; by default the first.

    Raises:
        AudioError: The file is missing, empty, no audio, shorter than its header states, without this track, or its
            decoder hangs (`time_limit`).
        ConfigError: `track` is neither a positive whole number nor `mix`.
    """
    check_track(track)

    def opened() -> Decoder:
        if isinstance(source, Path):
            check_is_file(source)
        if containers.size_in_bytes(source) == 0:
            raise AudioError(f"{name}: empty, 0 bytes; copy or download it again")
        return _choose_decoder(source, name, track)

    try:
        decoder = LimitedDecoder(opened, name)
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened: {error.strerror or error}") from error
    with closing(decoder):
        if decoder.sample_rate not in _RATES:
            reason = f"its header states {decoder.sample_rate} Hz, expected {_RATES[0]} to {_RATES[-1]} Hz"
            raise AudioError(f"{name}: cannot be read as audio; {reason}")
        yield decoder


def average_channels(samples: np.ndarray) -> np.ndarray:
    """The mean over the channels of (sample, channel); `numpy.mean` is slow on short rows (results/bench.md)."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return samples[:, 0]
    total = samples[:, 0].copy()
    for channel in range(1, n_channels):
        total += samples[:, channel]
    total /= n_channels
    return total


def mono_blocks(decoder: Decoder, name: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """The mean of the channels from sample `start` to before `stop` (by default the end), in blocks.

    Args:
        decoder: A decoder at the beginning of its recording.
        name: Name of the recording in errors and warnings.
        start: In samples.
        stop: In samples; may lie beyond the end.

    Raises:
        AudioError: The recording is damaged, cut off, ends before `start` or holds NaN or infinity.
    """
    stated, rate = decoder.n_samples, decoder.sample_rate
    if stated == 0:
        raise AudioError(f"{name}: holds no samples, only a header")
    if stated is not None:
        if start >= stated:
            raise AudioError(f"{name}: ends at {stated / rate:.3f} s, before the onset at {start / rate:.3f} s")
        stop = stated if stop is None else min(stop, stated)
    position = start
    is_unscaled = False
    power_in = power_out = 0.0
    n_block = max(1, min(_BLOCK_VALUES // decoder.n_channels, _BLOCK_SECONDS * rate))
    try:
        if start:
            decoder.skip(start)
        while stop is None or position < stop:
            samples = decoder.read(n_block if stop is None else min(n_block, stop - position))
            n_read, n_channels = samples.shape
            if not n_read:
                break
            mono = average_channels(samples)
            if not -_MAX_AMPLITUDE <= mono.min() <= mono.max() <= _MAX_AMPLITUDE:
                raise AudioError(f"{name}: damaged, {describe_invalid(samples)} from {position / rate:.2f} s on")
            if not is_unscaled and max(mono.max(), -mono.min()) > UNSCALED_PEAK:
                is_unscaled = True
                warnings.warn(
                    f"{name}: {UNSCALED_TEXT} (first after {position / rate:.2f} s)", EarmarkWarning, stacklevel=2
                )
            if n_channels > 1:
                power_in += float(np.vdot(samples, samples)) / n_channels**2
                power_out += float(np.vdot(mono, mono))
            position += n_read
            yield mono
    except DecodingError as error:
        raise AudioError(
            f"{name}: damaged or cut off somewhere from {position / rate:.2f} s on; copy it again ({error})"
        ) from error
    if position == start:
        raise AudioError(f"{name}: holds no sound from {start / rate:.3f} s on")
    if stated is not None and stop is not None and stop - position > decoder.slack:
        raise containers.truncation_error(name, f"{stated} samples", f"{position}")
    if power_out < _MIN_POWER_LEFT * power_in:
        text = "channels cancel each other when they are averaged; invert one of them or keep only one"
        warnings.warn(f"{name}: {text}", EarmarkWarning, stacklevel=2)


def describe_invalid(samples: np.ndarray) -> str:
    """The number of samples that are not finite; if all are, the largest absolute value."""
    if n_bad := np.count_nonzero(~np.isfinite(samples)):
        return f"{n_bad} NaN or infinite among {samples.size} samples"
    return f"samples as large as {np.abs(samples).max():.2g}, where full scale is 1,"


def _choose_decoder(source: Source, name: str, track: Track) -> Decoder:
    if isinstance(source, Path) and source.suffix.lower() == ".raw":  # soundfile requires a rate for it
        raise AudioError(f"{name}: cannot be read as audio; it has no header")
    media_format = containers.media_format(source)
    if media_format is not None:
        return media.open_media(source, name, media_format, track)
    try:
        file = _open_sound_file(source)
        # with this suffix libsndfile reads any bytes as samples
        if file.format == "RAW":
            file.close()
            raise AudioError(f"{name}: cannot be read as audio; it has no header")
    except soundfile.SoundFileError as error:
        with containers.open_stream(source) as stream:
            fallback = _FALLBACKS.get(stream.read(4))
        if fallback is not None and media.is_installed():
            return media.open_media(source, name, fallback, track)
        raise AudioError(
            f"{name}: cannot be read as audio; it is damaged, or in a format other than wav, flac, ogg, opus, mp3, "
            "aiff, au, caf, w64, mp4 and webm: convert it, for example to wav"
        ) from error
    try:
        unclosed = containers.unclosed_wav(source) if file.format in ("WAV", "WAVEX") else None
        if unclosed is not None:
            file.close()
            size_at, stated = unclosed
            file = _SequentialFile(
                containers.LenientFile(containers.UnclosedWav(containers.open_stream(source), size_at))
            )
            text = f"its header states {stated} bytes of sound; the rest of the file is read too"
            warnings.warn(f"{name}: {text}", EarmarkWarning, stacklevel=2)
        containers.check_complete(source, name, file.format)
        check_exists(track, 1, name)
        return _SoundFileDecoder(file)
    except BaseException:
        file.close()
        raise


def _open_sound_file(source: Source) -> "_SequentialFile":
    try:
        file = _SequentialFile(
            containers.LenientFile(BytesIO(source)) if isinstance(source, bytes) else _file_name(source)
        )
    except soundfile.SoundFileError:
        # libsndfile recognizes an mp3 only at the first byte
        start = containers.mp3_start(source)
        if start is None:
            raise
        return _open_through_pipe(source, start)
    if file.format != "MP3":
        return file
    start = containers.mp3_start(source)
    if containers.mp3_states_length(source) and start == containers.id3_size(source):
        return file
    file.close()
    return _open_through_pipe(source, start or 0)


def _file_name(path: Path) -> Path | bytes:
    return os.fsencode(path) if os.name == "posix" else path  # file names need not be valid text


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read forwards; `can_seek` says whether its format supports seek."""

    def seekable(self) -> bool:
        # soundfile seeks to the current position after every read of a seekable file. At the end of a FLAC without
        # stated length this fails and loses the last block, and it makes mp3 slow.
        return False

    @property
    def can_seek(self) -> bool:
        return bool(super().seekable())


class _SoundFileDecoder:
    """The decoder for the formats of libsndfile."""

    def __init__(self, file: _SequentialFile) -> None:
        self._file = file
        self.sample_rate: int = file.samplerate
        self.n_channels: int = file.channels
        self.n_samples = None if file.frames >= _UNKNOWN_LENGTH else int(file.frames)
        self.slack = _MP3_SLACK if file.format == "MP3" else 0

    def read(self, n_samples: int) -> np.ndarray:
        try:
            samples: np.ndarray = self._file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DecodingError(str(error)) from error
        return samples

    def skip(self, n_samples: int) -> None:
        if self._file.can_seek:
            try:
                self._file.seek(n_samples, soundfile.SEEK_CUR)
            except soundfile.SoundFileError as error:
                raise DecodingError(str(error)) from error
            return
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, 65536))) or n_samples

    def close(self) -> None:
        self._file.close()


def _open_through_pipe(source: Source, start: int) -> _SequentialFile:
    """An mp3 from byte `start` on, for files that do not state their length."""
    # libsndfile guesses the missing length from the first frame's bit rate and stops there, in the worst case at a
    # sixth of the sound. It reads a pipe up to the end.
    incoming, outgoing = os.pipe()

    def feed() -> None:
        # the reader may close the pipe early
        with suppress(BrokenPipeError), os.fdopen(outgoing, "wb") as pipe, containers.open_stream(source) as stream:
            stream.seek(start)
            shutil.copyfileobj(stream, pipe)

    threading.Thread(target=feed, daemon=True).start()
    return _SequentialFile(incoming, closefd=True)
