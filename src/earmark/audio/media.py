"""Sound of m4a, mp4, webm, mkv and other formats of FFmpeg."""

import warnings
from bisect import bisect
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from earmark.audio import avi, containers
from earmark.audio.clock import TrackClock
from earmark.audio.containers import DecodingError, Source
from earmark.audio.joined import JoinedDecoder, Part
from earmark.audio.tracks import MixedTracks, Track, check_exists
from earmark.errors import AudioError, EarmarkWarning

INSTALL: Final = "pip install 'earmark[media]'"
_SOUNDS: Final = frozenset({".3gp", ".aac", ".ac3", ".amr", ".ape", ".m4a", ".m4b", ".mka", ".spx", ".wma", ".wv"})
_VIDEOS: Final = frozenset(
    {".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"}
    | {".ts", ".vob", ".webm", ".wmv"}
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
DETECTED: Final = (
    "aa,aac,ac3,act,adx,aea,aiff,amr,ape,asf,ast,au,avi,bfstm,bonk,brstm,caf,dhav,dsf,dts,dtshd,dv,ea,eac3,flac,flv,gxf,"
    "hca,hcom,iff,ilbc,kvag,loas,lvf,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mtaf,mxf,nsv,nut,nuv,ogg,oma,osq,"
    "psxstr,qcp,qoa,rm,roq,rso,sbc,shn,smjpeg,smk,sox,spdif,swf,tak,truehd,tta,ty,vag,voc,vqf,w64,wady,wav,wavarc,wsaud,"
    "wtv,wv,xa,xwma"
)
"""Formats that FFmpeg may detect; others, such as playlists, name files and addresses that it would open."""
_STATES_LENGTH: Final = frozenset({"mov"})
"""Formats that state the exact number of samples."""
_STATES_DURATION: Final = frozenset({"mov", "matroska", "flv", "avi", "wv"})
"""Formats that state the approximate length of the longest stream; for others FFmpeg guesses it."""
_SLACK: Final = 0.25
"""Seconds by which a stated length may exceed the sound: tracks end with whole packets."""
_STATES_END: Final = frozenset({"mov", "matroska"})
"""Formats whose stated duration is reliable: no sound begins behind it."""
_PRIMING: Final = 1.0
"""Maximum seconds before 0 that are the priming of a codec."""
_MICROSECONDS: Final = 1_000_000
"""Ticks a second of the container's start and duration."""
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
            with av.open(containers.LenientFile(file), options={"format_whitelist": DETECTED}) as container:
                name: str = container.format.name
        except (av.FFmpegError, ValueError, OverflowError):
            return None
    return name.partition(",")[0]


def open_media(
    source: Source, name: str, media_format: str, track: Track = None
) -> "MediaDecoder | MixedTracks | JoinedDecoder":
    """A decoder of one sound track of a file, or of the mean of all; files joined in one follow each other.

    Raises:
        AudioError: As for `MediaDecoder`.
    """
    files = containers.joined_files(source, media_format)
    if len(files) == 1 or not is_installed():
        return _open_tracks(source, name, media_format, track)
    warnings.warn(f"{name}: {len(files)} files are joined in it; all are read", EarmarkWarning, stacklevel=2)
    parts = [Part(partial(_open_tracks, file, name, media_format, track), None) for file in files]
    return JoinedDecoder(parts, name)


def _open_tracks(source: Source, name: str, media_format: str, track: Track) -> "MediaDecoder | MixedTracks":
    decoder = MediaDecoder(source, name, media_format, None if track == "mix" else track)
    if track != "mix" or decoder.n_tracks == 1:
        return decoder
    decoder.close()
    return MixedTracks(lambda number: MediaDecoder(source, name, media_format, number), decoder.n_tracks)


class MediaDecoder:
    """The decoder for one sound track of a file, by FFmpeg.

    The time of a sample is that of the file's clock, which is 0 at the start that the container states. Where the
    track begins later or has a gap, silence is put in (`TrackClock`). A warning names it.

    Args:
        source: A file, or its bytes.
        name: Name of the recording in errors.
        media_format: From `containers.media_format` or `find_format`.
        track: Number of the track, from 1 on; None for the first that FFmpeg can decode, with a warning about others.

    Raises:
        AudioError: PyAV is not installed, or the file is damaged, cut off, without sound or without this track.
    """

    def __init__(self, source: Source, name: str, media_format: str, track: int | None = None) -> None:
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
                number = _choose_track(container, name, track)
                self._frames = _frames(container, number, _empty_chunks(source, media_format, container, number))
                first = next(self._frames, None)
            except self._errors as error:
                reason = f"it is damaged or cut off ({reason_of(error)}); copy or download it again"
                raise AudioError(f"{name}: cannot be read as audio; {reason}") from error
            if first is None:
                raise AudioError(f"{name}: holds no sound, only a header, or is cut off; copy or download it again")
            self._start(container, container.streams.audio[number - 1], first, media_format)
            self.n_tracks = len(container.streams.audio)
            self._name = name if self.n_tracks == 1 else f"{name}, track {number}"
            self._other_tracks = _other_tracks(name, number, self.n_tracks) if track is None else []
            self._opened = opened.pop_all()

    def _start(self, container: Any, stream: Any, first: Any, media_format: str) -> None:
        """Reads the header's numbers and sets the clock by the first frame."""
        # the header of an AAC file may state half the rate of its frames
        self.sample_rate: int = first.sample_rate
        self.n_channels: int = first.layout.nb_channels
        begin = _begin(container)
        duration = container.duration / _MICROSECONDS if container.duration else None
        self._clock = TrackClock(self.sample_rate, duration if media_format in _STATES_END else None)
        self._samples_per_tick = float(stream.time_base * self.sample_rate)
        self._zero = None if begin is None else begin * self.sample_rate
        self._held: deque[Any] = deque()
        self._n_silent = self._add(first)
        self._sound: np.ndarray | None = frame_samples(first)
        self._pending = np.zeros((0, self.n_channels), np.float32)
        stated = _stated_samples(stream, self.sample_rate) if media_format in _STATES_LENGTH else None
        self.n_samples = stated and self._n_silent + stated
        # missing samples need not be damage: `_warn_if_short` reports them
        self.slack = self.n_samples or 0
        is_stated = duration and len(container.streams) == 1 and media_format in _STATES_DURATION
        # the duration in Matroska is that of the clock's zero up to the end
        since_begin = (duration or 0.0) - (begin or 0.0) * (media_format == "matroska")
        held = self.n_samples / self.sample_rate if self.n_samples else since_begin if is_stated else 0.0
        self._min_duration = held - _SLACK
        self._is_read = False

    def read(self, n_samples: int) -> np.ndarray:
        self._is_read = True
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
        if self._is_read:
            for text in [*self._other_tracks, *(f"{self._name}: {text}" for text in self._clock.notes())]:
                warnings.warn(text, EarmarkWarning, stacklevel=2)

    def _next_samples(self) -> np.ndarray | None:
        """The next samples, silence before sound; None at the end."""
        if self._n_silent:
            n_samples = min(self._n_silent, _READ_SAMPLES)
            self._n_silent -= n_samples
            return np.zeros((n_samples, self.n_channels), np.float32)
        if self._sound is not None:
            samples, self._sound = self._sound, None
            return samples
        frame = self._next_frame()
        if frame is None:
            self._warn_if_short()
            return None
        if frame.sample_rate != self.sample_rate:
            raise DecodingError(f"its rate changes from {self.sample_rate} to {frame.sample_rate} Hz")
        samples = frame_samples(frame)
        if samples.shape[1] != self.n_channels:
            # broadcasts switch between stereo and surround; the mean of the channels stays valid
            samples = np.repeat(samples.mean(axis=1, keepdims=True), self.n_channels, axis=1)
        self._n_silent = self._add(frame)
        if not self._n_silent:
            return samples
        self._sound = samples
        return self._next_samples()

    def _next_frame(self) -> Any:
        held = self._held.popleft() if self._held else self._decode()
        if isinstance(held, DecodingError):
            raise held
        return held

    def _decode(self) -> Any:
        """The next frame, None at the end, or an error."""
        try:
            return next(self._frames, None)
        except self._errors as error:
            return DecodingError(reason_of(error))

    def _add(self, frame: Any) -> int:
        """Adds a frame to the clock; returns the number of silent samples before it."""

        def following() -> int | None:
            coming = self._held[0] if self._held else self._decode()
            if not self._held:
                self._held.append(coming)
            return None if coming is None or isinstance(coming, DecodingError) else self._position(coming)

        return self._clock.add(self._position(frame), frame.samples, following)

    def _position(self, frame: Any) -> int | None:
        """Timestamp of a frame in samples since the file's start."""
        if frame.pts is None:
            return None
        start: float = frame.pts * self._samples_per_tick
        if self._zero is None:
            self._zero = start
        return round(start - self._zero)

    def _warn_if_short(self) -> None:
        held = self._clock.n_samples / self.sample_rate
        if held < self._min_duration:
            # no error: complete recordings in AVI have gaps without timestamps
            text = f"its header states {self._min_duration + _SLACK:.1f} s, but it holds {held:.1f} s of sound"
            warnings.warn(f"{self._name}: {text}; the missing part is left out", EarmarkWarning, stacklevel=2)
            self._min_duration = 0.0


def _choose_track(container: Any, name: str, track: int | None) -> int:
    """The number of a track: the chosen one, or the first that FFmpeg can decode."""
    streams = container.streams.audio
    if not streams:
        raise AudioError(f"{name}: a video without sound")
    check_exists(track, len(streams), name)
    known = [number for number, stream in enumerate(streams, 1) if stream.codec_context is not None]
    if (track or 0) in known:
        return track or 0
    if track is None and known:
        return known[0]
    raise AudioError(f"{name}: its sound is in a codec that FFmpeg does not know; convert it, for example to wav")


def _other_tracks(name: str, number: int, n_tracks: int) -> list[str]:
    if n_tracks == 1:
        return []
    other = 1 if number > 1 else 2
    how = f"earmark tag, timeline, evidence and bulk take --track {other} or --track mix"
    return [f"{name}: it has {n_tracks} sound tracks, and only track {number} is read; {how}"]


def _empty_chunks(source: Source, media_format: str, container: Any, number: int) -> list[int]:
    return avi.empty_chunks(source, container.streams.audio[number - 1].index) if media_format == "avi" else []


def _frames(container: Any, number: int, empty_chunks: list[int]) -> Iterator[Any]:
    stream = container.streams.audio[number - 1]
    for other in container.streams:
        if other.index != stream.index:
            other.discard = _DISCARD_ALL  # do not read the pictures
    try:
        for packet in container.demux(stream):
            if empty_chunks and packet.pts is not None and packet.pos is not None:
                packet.pts += bisect(empty_chunks, packet.pos)
            yield from packet.decode()
    except IndexError:
        # at its end PyAV looks for the streams that began in the middle of the file, which it does not know
        yield from stream.codec_context.decode(None)


def _begin(container: Any) -> float | None:
    """Seconds at which the file starts, by its own timestamps; players show them as 0. None if it states none."""
    if container.start_time is None:
        return None
    begin: float = container.start_time / _MICROSECONDS
    # a little below 0 lie the samples that a codec needs to begin, which FFmpeg removes
    return 0.0 if -_PRIMING < begin < 0 else begin


def _stated_samples(stream: Any, sample_rate: int) -> int | None:
    if not stream.duration or stream.duration < 0:
        return None
    return round(stream.duration * stream.time_base * sample_rate)


def frame_samples(frame: Any) -> np.ndarray:
    """Samples as float32 (sample, channel)."""
    values: np.ndarray = frame.to_ndarray()
    values = values.T if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128) / 128
    if np.issubdtype(values.dtype, np.signedinteger):
        return (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    return values.astype(np.float32)


def reason_of(error: Exception) -> str:
    # str(error) adds numbers and logs to FFmpeg's message
    return str(getattr(error, "strerror", None) or error)
