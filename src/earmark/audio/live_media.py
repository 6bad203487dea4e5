"""Live sound by FFmpeg: network streams of cameras and radios, and encoded sound from a pipe."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, Final

import numpy as np

from earmark.audio import media
from earmark.audio.clock import LONGEST_GAP, TrackClock
from earmark.errors import AudioError

_PROTOCOLS: Final = "crypto,data,http,httpproxy,https,rtmp,rtmps,rtmpt,rtp,rtsp,srt,tcp,tls,udp"
"""Protocols that a stream may use, also for addresses that it names itself; local files are not allowed."""
_FORMATS: Final = f"{media.DETECTED},hls,rtp,rtsp,sdp"
_SECONDS_TO_OPEN: Final = 20.0
_MAX_DAMAGED: Final = 50
"""Damaged packets in a row that are skipped: a stream may begin in the middle of one."""
_SILENT_SAMPLES: Final = 16384
"""Maximum silent samples in a block: a gap may be long."""
_BUFFERED: Final = 30.0
"""Maximum seconds of sound that buffers hold, so that it comes at once."""
_END_SLACK: Final = 1.0
"""Seconds by which a finished recording may be shorter than it states."""


class MediaStream:
    """The first sound track of a stream in any format that FFmpeg knows.

    Gaps in its timestamps, as after damaged packets, become silence (`TrackClock`).

    Args:
        source: A URL, or an unbuffered stream of bytes such as a pipe.
        name: Name of the source in errors.
        timeout: Seconds without data after which a URL counts as lost.

    Raises:
        AudioError: PyAV is not installed, or the source cannot be opened or has no sound.
    """

    def __init__(self, source: str | BinaryIO, name: str, timeout: float = 30.0) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            raise AudioError(f"{name}: reading streams needs the extra: {media.INSTALL}") from error
        self._name = name
        self._errors = (av.FFmpegError, ValueError, OverflowError)
        self._is_url = isinstance(source, str)
        options = {"format_whitelist": _FORMATS if self._is_url else media.DETECTED}
        if self._is_url:
            options["protocol_whitelist"] = _PROTOCOLS
            options["rtsp_transport"] = "tcp"  # lost packets would shift all later times
        with ExitStack() as opened:
            try:
                limits = (_SECONDS_TO_OPEN, timeout) if self._is_url else None
                container: Any = opened.enter_context(
                    av.open(source, options=options, timeout=limits, metadata_errors="replace")
                )
                if not container.streams.audio:
                    raise AudioError(f"{name}: it has no sound; name a stream with a sound track")
                self._end = container.duration / 1e6 if container.duration else None
                self._frames = self._decoded(container)
                first = next(self._frames, None)
            except self._errors as error:
                raise AudioError(f"{name}: cannot be opened ({media.reason_of(error)})") from error
            if first is None:
                raise AudioError(f"{name}: no sound comes from it")
            self.sample_rate: int = first.sample_rate
            self.n_channels: int = first.layout.nb_channels
            self._clock = TrackClock(self.sample_rate)
            self._latest = time.monotonic()
            self._zero: float | None = None
            self._held: Any = first
            self._n_silent = 0
            self._sound: np.ndarray | None = None
            self._opened = opened.pop_all()

    def read(self) -> np.ndarray | None:
        """As in `LiveSource`.

        Raises:
            AudioError: The connection is lost, or the form of the sound changes.
        """
        if self._n_silent:
            n_samples = min(self._n_silent, _SILENT_SAMPLES)
            self._n_silent -= n_samples
            return np.zeros((self.n_channels, n_samples), np.float32)
        if self._sound is not None:
            samples, self._sound = self._sound, None
            return samples
        frame, self._held = self._held or self._decode(), None
        if isinstance(frame, Exception):
            raise AudioError(f"{self._name}: lost ({media.reason_of(frame)})") from frame
        if frame is None:
            seconds = self._clock.n_samples / self.sample_rate
            if self._is_url and (self._end is None or seconds < self._end - _END_SLACK):
                raise AudioError(f"{self._name}: the connection was closed")
            return None
        if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.n_channels):
            raise AudioError(f"{self._name}: its sample rate or number of channels has changed")
        self._sound = media.frame_samples(frame).T
        now = time.monotonic()
        if self._is_url and self._end is None:
            # what comes at once is no gap of minutes: a camera has set its clock
            self._clock.longest_gap = min(LONGEST_GAP, now - self._latest + _BUFFERED)
        self._latest = now
        self._n_silent = self._clock.add(self._position(frame), frame.samples, self._following)
        return self.read()

    def close(self) -> None:
        """As in `LiveSource`."""
        self._opened.close()

    def _decode(self) -> Any:
        """The next frame, None at the end, or an error."""
        try:
            return next(self._frames, None)
        except self._errors as error:
            return error

    def _following(self) -> int | None:
        """Timestamp of the next frame, which is decoded and kept."""
        self._held = self._decode()
        return None if self._held is None or isinstance(self._held, Exception) else self._position(self._held)

    def _position(self, frame: Any) -> int | None:
        """Timestamp of a frame in samples since the first sound."""
        if frame.time is None:
            return None
        if self._zero is None:
            self._zero = frame.time - self._clock.n_samples / self.sample_rate
        return round((frame.time - self._zero) * self.sample_rate)

    def _decoded(self, container: Any) -> Iterator[Any]:
        import av

        stream = container.streams.audio[0]
        n_damaged = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                n_damaged += 1
                if n_damaged > _MAX_DAMAGED:
                    raise
                continue
            n_damaged = 0
            yield from frames
