"""A radio station on this machine that plays a recording fast, and is off the air at times."""

import struct
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Final

import numpy as np

from earmark.audio.live import LiveSource

BLOCK: Final = 0.1
"""Seconds of sound that are sent at once."""
AHEAD: Final = 5.0
"""Maximum seconds of sound that the station is ahead of its listener; FFmpeg reads some before it gives any."""


class Station:
    """Plays pieces of a recording of 16 bits, each over a connection of its own, and refuses connections between them.

    The clock of the station is its position in the recording. It plays no faster than `speed`, and waits for a listener
    that is slower or connects late, so that no result depends on the machine.

    Args:
        path: The recording, a WAV file.
        pieces: First and last second of each piece.
        speed: Maximum seconds of sound per second.
    """

    def __init__(self, path: Path, pieces: Sequence[tuple[float, float]], speed: float) -> None:
        self.ended = Event()
        """Set by the first connection after the last piece."""
        self.position = 0.0
        """Seconds of the recording that have been played or left out."""
        self._path, self._speed = path, speed
        self._pieces = list(pieces)
        self._received = 0.0
        self._has_received = Condition()
        self._off_since = time.monotonic()

    def received(self, seconds: float) -> None:
        """Notes that the listener has read this many more seconds."""
        with self._has_received:
            self._received += seconds
            self._has_received.notify_all()

    def tune_in(self) -> bool:
        """Whether there is sound now; between the pieces the clock runs until the next one begins."""
        if not self._pieces:
            self.ended.set()
            return False
        begin, off_for = self._pieces[0][0], time.monotonic() - self._off_since
        return self.position + self._speed * off_for >= begin

    def play(self) -> Iterator[bytes]:
        """The next piece, block by block at the speed of the station."""
        begin, end = self._pieces.pop(0)
        started, sent = time.monotonic(), 0.0
        self._received, self.position = 0.0, begin
        with wave.open(str(self._path)) as file:
            file.setpos(round(begin * file.getframerate()))
            while (n_samples := round(min(BLOCK, end - begin - sent) * file.getframerate())) > 0:
                time.sleep(max(0.0, started + sent / self._speed - time.monotonic()))
                with self._has_received:
                    while sent - self._received > AHEAD:
                        self._has_received.wait()
                data = file.readframes(n_samples)
                sent += n_samples / file.getframerate()
                self.position = begin + sent
                yield (np.frombuffer(data, "<i2") / np.float32(32768)).astype("<f4").tobytes()
        self._off_since = time.monotonic()


class Receiver:
    """A source that reports to the station how much has been read."""

    def __init__(self, source: LiveSource, station: Station) -> None:
        self.sample_rate, self.n_channels = source.sample_rate, source.n_channels
        self._source, self._station = source, station

    def read(self) -> np.ndarray | None:
        """As in `LiveSource`."""
        samples = self._source.read()
        if samples is not None:
            self._station.received(samples.shape[1] / self.sample_rate)
        return samples

    def close(self) -> None:
        """As in `LiveSource`."""
        self._source.close()


@contextmanager
def on_air(station: Station, sample_rate: int) -> Iterator[str]:
    """The URL of the station, a WAV stream of one channel without a stated length."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not station.tune_in():
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "audio/wav")
            self.end_headers()
            self.wfile.write(_endless_header(sample_rate))
            for data in station.play():
                self.wfile.write(data)

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/live"
        finally:
            server.shutdown()
            thread.join()


def _endless_header(sample_rate: int) -> bytes:
    # floats, because FFmpeg first reads 64 KiB of integers to see whether they are encoded sound
    unknown = 2**32 - 1
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)
    return struct.pack("<4sI4s", b"RIFF", unknown, b"WAVE") + form + struct.pack("<4sI", b"data", unknown)
