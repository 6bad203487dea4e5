"""Sound of m4a, mp4, webm, mkv and other formats of FFmpeg. Only this module imports PyAV."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from earmark.audio import containers
from earmark.audio.containers import DecodingError, Source
from earmark.errors import AudioError, EarmarkWarning

INSTALL: Final = "pip install 'earmark[media]'"
_SOUNDS: Final = frozenset({".3gp", ".aac", ".ac3", ".amr", ".ape", ".m4a", ".m4b", ".mka", ".spx", ".wma", ".wv"})
_VIDEOS: Final = frozenset(
    {".asf", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"}
)
SUFFIXES: Final = _SOUNDS | _VIDEOS
"""Suffixes that a folder scan counts as recordings if PyAV is installed."""
_COMMON_NAMES: Final = {
    "mov": "mp4 or m4a",
    "matroska": "webm or mkv",
    "mpegts": "MPEG-TS",
    "mpeg": "MPEG",
    "wv": "WavPack",
}
"""Common names of formats that FFmpeg names differently."""
_DETECTED: Final = (
    "aac,ac3,adx,aiff,amr,ape,asf,au,avi,bonk,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,"
    "mpegts,mxf,nut,ogg,oma,qcp,rm,sox,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
"""Formats that FFmpeg may detect; others, such as playlists, name files and addresses that it would open."""
_STATES_LENGTH: Final = frozenset({"mov", "wv"})
"""Formats that state the exact number of samples."""
_STATES_DURATION: Final = frozenset({"mov", "matroska", "flv", "avi"})
"""Formats that state the approximate length of the longest stream; for others FFmpeg guesses it."""
_SLACK: Final = 0.25
"""Seconds by which a stated length may exceed the sound: tracks end with whole packets."""
_DISCARD_ALL: Final = 48
_READ_SAMPLES: Final = 65536
"""Minimum number of samples per read; the packets of codecs hold about a thousand."""


def is_installed() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def find_format(source: Source) -> str | None:
    """FFmpeg's name of a format by the content of a file; None for content that is no sound."""
    import av

    with containers.open_stream(source) as file:
        try:
            with av.open(containers.LenientFile(file), options={"format_whitelist": _DETECTED}) as container:
                name: str = container.format.name
        except (av.FFmpegError, ValueError, OverflowError):
            return None
    return name.partition(",")[0]


class MediaDecoder:
    """The decoder for the first audio stream of a file, by FFmpeg.

    Args:
        source: A file, or its bytes.
        name: Name of the recording in errors.
        media_format: From `containers.media_format` or `find_format`.

    Raises:
        AudioError: PyAV is not installed, or the file is damaged, cut off or without sound.
    """

    def __init__(self, source: Source, name: str, media_format: str) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            known = _COMMON_NAMES.get(media_format, media_format)
            raise AudioError(f"{name}: reading {known} needs the extra: {INSTALL}") from error
        containers.check_complete(source, name, media_format)
        self._errors = (av.FFmpegError, ValueError, OverflowError)
        with ExitStack() as opened:
            # FFmpeg itself only opens names that are valid text
            file = opened.enter_context(containers.open_stream(source))
            try:
                container: Any = opened.enter_context(
                    av.open(containers.LenientFile(file), format=media_format, metadata_errors="replace")
                )
                self._frames = _frames(container, name)
                first = next(self._frames, None)
            except self._errors as error:
                reason = f"it is damaged or cut off ({_reason(error)}); copy or download it again"
                raise AudioError(f"{name}: cannot be read as audio; {reason}") from error
            if first is None:
                raise AudioError(f"{name}: holds no sound, only a header, or is cut off; copy or download it again")
            # the header of an AAC file may state half the rate of its frames
            self.sample_rate: int = first.sample_rate
            self.n_channels: int = first.layout.nb_channels
            stream = container.streams.audio[0]
            self.n_samples = _stated_samples(stream, self.sample_rate) if media_format in _STATES_LENGTH else None
            # missing samples need not be damage: `_warn_if_short` reports them
            self.slack = self.n_samples or 0
            is_stated = len(container.streams) == 1 and container.duration and media_format in _STATES_DURATION
            duration = container.duration / av.time_base if is_stated else 0.0
            self._min_duration = (self.n_samples / self.sample_rate if self.n_samples else duration) - _SLACK
            self._pending = _samples(first)
            self._n_decoded = len(self._pending)
            self._name = name
            self._opened = opened.pop_all()

    def read(self, n_samples: int) -> np.ndarray:
        pieces, n_waiting = [self._pending], len(self._pending)
        while n_waiting < min(n_samples, _READ_SAMPLES):
            samples = self._next_samples()
            if samples is None:
                break
            pieces.append(samples)
            n_waiting += len(samples)
        joined = np.concatenate(pieces)
        self._pending = joined[n_samples:]
        return joined[:n_samples]

    def skip(self, n_samples: int) -> None:
        # seeking in compressed sound is not exact
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, _READ_SAMPLES))) or n_samples

    def close(self) -> None:
        self._opened.close()

    def _next_samples(self) -> np.ndarray | None:
        try:
            frame = next(self._frames, None)
        except self._errors as error:
            raise DecodingError(_reason(error)) from error
        if frame is None:
            self._warn_if_short()
            return None
        if frame.sample_rate != self.sample_rate:
            raise DecodingError(f"its rate changes from {self.sample_rate} to {frame.sample_rate} Hz")
        samples = _samples(frame)
        self._n_decoded += len(samples)
        if samples.shape[1] != self.n_channels:
            # broadcasts switch between stereo and surround; the mean of the channels stays valid
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self.n_channels, axis=1)
        return samples

    def _warn_if_short(self) -> None:
        held = self._n_decoded / self.sample_rate
        if held < self._min_duration:
            # no error: complete recordings of calls have gaps
            text = f"its header states {self._min_duration + _SLACK:.1f} s, but it holds {held:.1f} s of sound"
            warnings.warn(f"{self._name}: {text}; gaps are left out", EarmarkWarning, stacklevel=2)
            self._min_duration = 0.0


def _frames(container: Any, name: str) -> Iterator[Any]:
    if not container.streams.audio:
        raise AudioError(f"{name}: a video without sound")
    stream = container.streams.audio[0]
    for other in container.streams:
        if other.index != stream.index:
            other.discard = _DISCARD_ALL  # do not read the pictures
    if stream.codec_context is None:
        raise AudioError(f"{name}: its sound is in a codec that FFmpeg does not know; convert it, for example to wav")
    for packet in container.demux(stream):
        yield from packet.decode()


def _stated_samples(stream: Any, sample_rate: int) -> int | None:
    if not stream.duration or stream.duration < 0:
        return None
    return round(stream.duration * stream.time_base * sample_rate)


def _samples(frame: Any) -> np.ndarray:
    """Samples as float32 (sample, channel)."""
    values: np.ndarray = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.signedinteger):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _reason(error: Exception) -> str:
    # str(error) adds numbers and logs to FFmpeg's message
    return str(getattr(error, "strerror", None) or error)
