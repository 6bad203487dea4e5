"""Decoders for recordings of any format, read forwards and mixed to one channel."""

import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
import soundfile

from earmark.audio import chunks, containers, irregular, media, mp3
from earmark.audio.containers import DecodingError, Source
from earmark.audio.joined import JoinedDecoder, Part
from earmark.audio.sound_files import SoundFileDecoder, open_file
from earmark.audio.time_limit import LimitedDecoder
from earmark.audio.tracks import Track, check_exists, check_track
from earmark.errors import AudioError, EarmarkWarning

_BLOCK_VALUES: Final = 1 << 20
"""Values decoded at once; headers may state any length, so memory is never allocated from them."""
_BLOCK_SECONDS: Final = 60
"""Maximum duration of a block; resampling to a higher rate takes more memory."""
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
    source = irregular.without_tag(source)
    planned = irregular.plan(source, name)
    if planned is not None and planned.files:
        check_exists(track, 1, name)
        _warn(name, planned)
        return JoinedDecoder([Part(partial(_choose_decoder, file, name, None), None) for file in planned.files], name)
    media_format = containers.media_format(source)
    if media_format is not None:
        return media.open_media(source, name, media_format, track)
    if planned is not None and planned.parts:
        return _open_planned(source, name, planned, track)
    try:
        file = open_file(source)
    except soundfile.SoundFileError as error:
        # libsndfile recognizes an mp3 only at the first byte
        planned = irregular.plan_mp3(source, name)
        if planned is not None:
            return _open_planned(source, name, planned, track)
        _check_mp3(source, name)
        return _decline(source, name, error, track)
    try:
        # with this suffix libsndfile reads any bytes as samples
        if file.format == "RAW":
            raise AudioError(f"{name}: cannot be read as audio; it has no header")
        if file.format == "MP3" and (planned := irregular.plan_mp3(source, name)) is not None:
            file.close()
            return _open_planned(source, name, planned, track)
        containers.check_complete(source, name, file.format)
        if file.format == "MP3":
            _check_mp3(source, name)
        check_exists(track, 1, name)
        if file.subtype == "PCM_16" and file.channels == 2 and chunks.is_disguised(source):
            file.close()
            return _open_disguised(source, name, track)
        _warn(name, planned)
        return SoundFileDecoder(file)
    except BaseException:
        file.close()
        raise


def _open_disguised(source: Source, name: str, track: Track) -> Decoder:
    if media.is_installed():
        return media.open_media(source, name, "wav", track)
    codec = "AC-3 or DTS, stored as samples"
    raise AudioError(f"{name}: its sound is in {codec}; reading it needs the extra: {media.INSTALL}")


def _check_mp3(source: Source, name: str) -> None:
    stated, held = mp3.stated_and_held(source)
    if held < stated:
        raise containers.truncation_error(name, f"{stated} frames", f"{held}")


def _open_planned(source: Source, name: str, planned: irregular.Plan, track: Track) -> Decoder:
    with containers.open_stream(source) as stream:
        if stream.read(4) == b"OggS":
            containers.check_complete(source, name, "OGG")
    check_exists(track, 1, name)
    _warn(name, planned)
    only = planned.parts[0]
    try:
        if len(planned.parts) == 1 and not only.gaps:
            return only.open()
        return JoinedDecoder(planned.parts, name)
    except soundfile.SoundFileError as error:
        return _decline(source, name, error, track)


def _warn(name: str, planned: irregular.Plan | None) -> None:
    for text in planned.notes if planned is not None else ():
        warnings.warn(f"{name}: {text}", EarmarkWarning, stacklevel=2)


def _decline(source: Source, name: str, error: Exception, track: Track) -> Decoder:
    """FFmpeg's decoder of a file that libsndfile does not read."""
    found = media.find_format(source) if media.is_installed() else None
    if found is not None:
        return media.open_media(source, name, found, track)
    codec = chunks.wav_codec(source)
    if codec is not None and not media.is_installed():
        raise AudioError(f"{name}: its sound is in {codec}; reading it needs the extra: {media.INSTALL}") from error
    known = "" if codec is None else f" (its header names {codec})"
    videos = ", mp4 and webm" if media.is_installed() else f" and, with the extra ({media.INSTALL}), mp4 and webm"
    raise AudioError(
        f"{name}: cannot be read as audio; it is damaged, or in a format other than wav, flac, ogg, opus, mp3, "
        f"aiff, au, caf, w64{videos}{known}: convert it, for example to wav"
    ) from error
