"""Sound of videos and telephones (m4a, mp4, webm, mkv, ...): the only door to PyAV, which brings FFmpeg."""

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
"""Suffixes that a scan of a folder takes for recordings where PyAV is installed."""
_NAMES: Final = {"mov": "mp4 or m4a", "matroska": "webm or mkv", "mpegts": "MPEG-TS", "mpeg": "MPEG", "wv": "WavPack"}
"""What people call a format of FFmpeg, where it is not that."""
_STATES_LENGTH: Final = frozenset({"mov", "wv"})
"""Formats that state the length of the sound to the sample."""
_STATES_DURATION: Final = frozenset({"mov", "matroska", "flv", "avi"})
"""Formats that state the length of the longest stream, more or less; of the others FFmpeg guesses it."""
_SLACK: Final = 0.25
"""Seconds that a stated length may be too long: the ends of tracks are rounded to packets."""
_DISCARD_ALL: Final = 48
_PIECE: Final = 65536
"""Samples that are joined before they are given: codecs have them by the thousand."""


def is_installed() -> bool:
    """Whether PyAV is there."""
    return find_spec("av") is not None


class MediaDecoder:
    """The first sound of a file, as FFmpeg decodes it.

    Args:
        source: A file, or its bytes.
        name: What errors call it.
        media_format: As `containers.media_format` has it. FFmpeg's own opinion is not asked for: some texts it takes
            for lists of other files, and fetches those.

    Raises:
        AudioError: PyAV is not installed, or the file is damaged, cut off or without sound.
    """

    def __init__(self, source: Source, name: str, media_format: str) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            known = _NAMES.get(media_format, media_format)
            raise AudioError(f"{name}: {known} is read with the extra: {INSTALL}") from error
        containers.check_whole(source, name, media_format)
        self._errors = (av.FFmpegError, ValueError, OverflowError)
        with ExitStack() as opened:
            # FFmpeg would want a name that is text
            file = opened.enter_context(containers.stream_of(source))
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
            # the header of an AAC file may state half the rate at which it sounds
            self.sample_rate: int = first.sample_rate
            self.n_channels: int = first.layout.nb_channels
            stream = container.streams.audio[0]
            self.n_samples = _stated(stream, self.sample_rate) if media_format in _STATES_LENGTH else None
            # what is missing is told by this class, since it need not be damage
            self.slack = self.n_samples or 0
            is_alone = len(container.streams) == 1 and container.duration and media_format in _STATES_DURATION
            duration = container.duration / av.time_base if is_alone else 0.0
            self._least = (self.n_samples / self.sample_rate if self.n_samples else duration) - _SLACK
            self._rest = _samples(first)
            self._n_decoded = len(self._rest)
            self._name = name
            self._opened = opened.pop_all()

    def read(self, n_samples: int) -> np.ndarray:
        pieces, n_waiting = [self._rest], len(self._rest)
        while n_waiting < min(n_samples, _PIECE):
            samples = self._following()
            if samples is None:
                break
            pieces.append(samples)
            n_waiting += len(samples)
        joined = np.concatenate(pieces)
        self._rest = joined[n_samples:]
        return joined[:n_samples]

    def skip(self, n_samples: int) -> None:
        # jumps in compressed sound end somewhere near
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, _PIECE))) or n_samples

    def close(self) -> None:
        self._opened.close()

    def _following(self) -> np.ndarray | None:
        try:
            frame = next(self._frames, None)
        except self._errors as error:
            raise DecodingError(_reason(error)) from error
        if frame is None:
            self._tell_of_loss()
            return None
        if frame.sample_rate != self.sample_rate:
            raise DecodingError(f"its rate changes from {self.sample_rate} to {frame.sample_rate} Hz")
        samples = _samples(frame)
        self._n_decoded += len(samples)
        if samples.shape[1] != self.n_channels:
            # television goes from stereo to surround and back; the mean of the channels stays what it is
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self.n_channels, axis=1)
        return samples

    def _tell_of_loss(self) -> None:
        held = self._n_decoded / self.sample_rate
        if held < self._least:
            # not an error: where a telephone sent nothing, a whole file has gaps
            text = f"its header states {self._least + _SLACK:.1f} s, but it holds {held:.1f} s of sound"
            warnings.warn(f"{self._name}: {text}; what is missing is left out", EarmarkWarning, stacklevel=2)
            self._least = 0.0


def _frames(container: Any, name: str) -> Iterator[Any]:
    if not container.streams.audio:
        raise AudioError(f"{name}: a video without sound")
    stream = container.streams.audio[0]
    for other in container.streams:
        if other.index != stream.index:
            other.discard = _DISCARD_ALL  # of an mp4, the pictures are not even read then
    if stream.codec_context is None:
        raise AudioError(f"{name}: its sound is in a codec that FFmpeg does not know; convert it, for example to wav")
    for packet in container.demux(stream):
        yield from packet.decode()


def _stated(stream: Any, sample_rate: int) -> int | None:
    if not stream.duration or stream.duration < 0:
        return None
    return round(stream.duration * stream.time_base * sample_rate)


def _samples(frame: Any) -> np.ndarray:
    """(sample, channel) of float32."""
    values: np.ndarray = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.signedinteger):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def _reason(error: Exception) -> str:
    # PyAV puts numbers and its log around what FFmpeg says
    return str(getattr(error, "strerror", None) or error)
