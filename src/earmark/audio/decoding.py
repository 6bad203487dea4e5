"""Recordings opened, whatever they are, and read forwards as one channel."""

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
from earmark.errors import AudioError, EarmarkWarning

_BLOCK_VALUES: Final = 1 << 20
"""Values decoded at once: a header may state any length, memory is only taken for what the file holds."""
_BLOCK_SECONDS: Final = 60
"""And no longer, since at a higher rate it takes more memory."""
_MP3_SLACK: Final = 1152
"""Samples, one frame; encoders count the padding at the ends in different ways."""
_LOUDEST: Final = 1e10
"""More than whole numbers of 32 bits that somebody took for floats; squares of much more are infinite."""
_CANCELLED: Final = 0.02
"""Of the power that the mean of unrelated channels has, no more is left where channels cancel each other (-17 dB)."""
_UNKNOWN_LENGTH: Final = 1 << 62
"""libsndfile gives such lengths to files that don't state one, such as FLAC written to a pipe."""
_SECOND: Final = {b"OggS": "ogg", b"caff": "caf"}
"""First bytes of formats of which libsndfile reads a part, such as no Speex and no AAC, and FFmpeg's names for them."""
_RATES: Final = range(100, 10_000_001)
"""Hz; beyond them it is a damaged header, and a few bytes would be hours of sound."""


@runtime_checkable
class Decoder(Protocol):
    """A recording read forwards."""

    sample_rate: int
    """Hz."""
    n_channels: int
    n_samples: int | None
    """Of each channel, as the header states them; None where it does not."""
    slack: int
    """Samples that may be missing at the end."""

    def read(self, n_samples: int) -> np.ndarray:
        """The next samples, (sample, channel) of float32, as many or fewer; none at the end.

        Raises:
            DecodingError: They are damaged.
        """

    def skip(self, n_samples: int) -> None:
        """Goes on after so many samples of each channel.

        Raises:
            DecodingError: They are damaged.
        """

    def close(self) -> None:
        """Gives the file back."""


def check_is_file(path: Path) -> None:
    """Refuses what is no file.

    Raises:
        AudioError: It is a folder or a pipe, or there is nothing of that name.
    """
    if path.is_dir():
        raise AudioError(f"{path}: expected an audio file, got a folder")
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if not path.is_file():
        raise AudioError(f"{path}: expected a file, got a pipe or a device; give - and pipe the recording into it")


@contextmanager
def opened(source: Source, name: str) -> Iterator[Decoder]:
    """A recording, open while the block runs.

    Args:
        source: A file in any format, or its bytes.
        name: What errors call it.

    Raises:
        AudioError: It is missing, empty, no audio, or shorter than its header says.
    """
    if isinstance(source, Path):
        check_is_file(source)
    try:
        if containers.size_of(source) == 0:
            raise AudioError(f"{name}: empty, 0 bytes; copy or download it again")
        decoder = _opened(source, name)
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened: {error.strerror or error}") from error
    with closing(decoder):
        if decoder.sample_rate not in _RATES:
            reason = f"its header states {decoder.sample_rate} Hz"
            raise AudioError(
                f"{name}: cannot be read as audio; {reason}, from {_RATES[0]} to {_RATES[-1]} was expected"
            )
        yield decoder


def mean_of_channels(samples: np.ndarray) -> np.ndarray:
    """Of the channels of (sample, channel); NumPy's own is slow over rows of two (results/bench.md)."""
    n_channels = samples.shape[1]
    if n_channels == 1:
        return samples[:, 0]
    total = samples[:, 0].copy()
    for channel in range(1, n_channels):
        total += samples[:, channel]
    total /= n_channels
    return total


def mono_blocks(decoder: Decoder, name: str, start: int, stop: int | None) -> Iterator[np.ndarray]:
    """The mean of the channels from sample `start` to `stop` (or the end), in blocks of some size.

    Args:
        decoder: Nothing was read from it yet.
        name: What errors and warnings call it.
        start: In samples, as `stop`.
        stop: It may lie beyond the end.

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
            mono = mean_of_channels(samples)
            if not -_LOUDEST <= mono.min() <= mono.max() <= _LOUDEST:
                raise AudioError(f"{name}: damaged, {_nonsense(samples)} from {position / rate:.2f} s on")
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
        raise containers.cut_off(name, f"{stated} samples", f"{position}")
    if power_out < _CANCELLED * power_in:
        text = "channels cancel each other, almost nothing is left of the sound in their mean"
        warnings.warn(f"{name}: {text}; turn one of them round, or keep one alone", EarmarkWarning, stacklevel=2)


def _nonsense(samples: np.ndarray) -> str:
    if n_bad := np.count_nonzero(~np.isfinite(samples)):
        return f"{n_bad} NaN or infinite among {samples.size} samples"
    return f"samples as large as {np.abs(samples).max():.2g}, where full scale is 1,"


def _opened(source: Source, name: str) -> Decoder:
    if isinstance(source, Path) and source.suffix.lower() == ".raw":  # soundfile would ask for a rate
        raise AudioError(f"{name}: cannot be read as audio; it has no header")
    media_format = containers.media_format(source)
    if media_format is not None:
        return media.MediaDecoder(source, name, media_format)
    try:
        file = _sound_file(source)
        # by the suffix alone libsndfile takes any bytes for samples
        if file.format == "RAW":
            file.close()
            raise AudioError(f"{name}: cannot be read as audio; it has no header")
    except soundfile.SoundFileError as error:
        with containers.stream_of(source) as stream:
            second = _SECOND.get(stream.read(4))
        if second is not None and media.is_installed():
            return media.MediaDecoder(source, name, second)
        raise AudioError(
            f"{name}: cannot be read as audio; it is damaged, or in a format other than wav, flac, ogg, opus, mp3, "
            "aiff, au, caf, w64, mp4 and webm: convert it, for example to wav"
        ) from error
    try:
        containers.check_whole(source, name, file.format)
        return _SoundFileDecoder(file)
    except BaseException:
        file.close()
        raise


def _sound_file(source: Source) -> "_SequentialFile":
    try:
        file = _SequentialFile(
            containers.LenientFile(BytesIO(source)) if isinstance(source, bytes) else _address(source)
        )
    except soundfile.SoundFileError:
        # libsndfile knows an mp3 by its first bytes
        start = containers.mp3_start(source)
        if start is None:
            raise
        return _piped(source, start)
    if file.format != "MP3":
        return file
    start = containers.mp3_start(source)
    if containers.mp3_states_length(source) and start == containers.tag_bytes(source):
        return file
    file.close()
    return _piped(source, start or 0)


def _address(path: Path) -> Path | bytes:
    return os.fsencode(path) if os.name == "posix" else path  # a name need not be text in any encoding


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file read forwards; `seek` works where the format allows."""

    def seekable(self) -> bool:
        # After every read of a seekable file soundfile seeks to where it already is. That fails at the end of a FLAC
        # without stated length, losing the last block, and costs an mp3 its speed.
        return False

    @property
    def can_seek(self) -> bool:
        return bool(super().seekable())


class _SoundFileDecoder:
    """What libsndfile reads."""

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
                self._file.seek(n_samples)
            except soundfile.SoundFileError as error:
                raise DecodingError(str(error)) from error
            return
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, 65536))) or n_samples

    def close(self) -> None:
        self._file.close()


def _piped(source: Source, start: int) -> _SequentialFile:
    """An mp3 from its byte `start` on whose header doesn't state its length, opened so that it is read to its end."""
    # From the first frame's bit rate libsndfile guesses the length of an mp3 that doesn't state it, and stops there,
    # be it at a sixth of the sound. What comes out of a pipe it reads to the end.
    incoming, outgoing = os.pipe()

    def feed() -> None:
        # the reader may have enough before the end
        with suppress(BrokenPipeError), os.fdopen(outgoing, "wb") as pipe, containers.stream_of(source) as stream:
            stream.seek(start)
            shutil.copyfileobj(stream, pipe)

    threading.Thread(target=feed, daemon=True).start()
    return _SequentialFile(incoming, closefd=True)
