"""Streams by FFmpeg: their samples, gaps of their timestamps, damaged packets, and how they end."""

import os
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO, FileIO
from threading import Thread
from typing import Any

import numpy as np
import pytest

from earmark.audio.live_media import MediaStream
from earmark.audio.recording import decode_audio
from earmark.errors import AudioError

av = pytest.importorskip("av")

RATE = 48000
FRAME = 960
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 50 * FRAME)).astype(np.float32)


def encoded(codec: str, starts: Sequence[int], spoil: Callable[[int, bytes], bytes] = lambda i, data: data) -> bytes:
    """A Matroska stream, without a stated length, whose frames begin at these multiples of 20 ms.

    Args:
        codec: The codec.
        starts: Where the frames begin.
        spoil: Changes the bytes of a packet.
    """
    buffer = BytesIO()
    with av.open(buffer, "w", format="matroska", options={"live": "1"}) as container:
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        packets: list[Any] = []
        for i, start in enumerate(starts):
            samples = np.ascontiguousarray(NOISE[:, i * FRAME : (i + 1) * FRAME])
            frame = av.AudioFrame.from_ndarray(packed(samples, stream.format.name), stream.format.name, "stereo")
            frame.sample_rate, frame.pts = RATE, start * FRAME
            packets += stream.encode(frame)
        for i, packet in enumerate([*packets, *stream.encode(None)]):
            copy = av.Packet(spoil(i, bytes(packet)))
            copy.stream, copy.pts, copy.dts, copy.time_base = stream, packet.pts, packet.dts, packet.time_base
            copy.duration = packet.duration
            container.mux(copy)
    return buffer.getvalue()


class Pipe(FileIO):
    """Bytes that can be read once, in small parts."""

    def __init__(self, data: bytes) -> None:
        super().__init__(os.devnull)
        self._rest = BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 1000))

    def seekable(self) -> bool:
        return False


def packed(samples: np.ndarray, form: str) -> np.ndarray:
    interleaved = samples.T.reshape(1, -1)
    return (interleaved * 32767).astype(np.int16) if form == "s16" else interleaved


def read_all(source: Any) -> tuple[np.ndarray, list[int]]:
    """All samples of a stream, and the lengths of its blocks."""
    stream = MediaStream(source, "camera")
    blocks = []
    while (samples := stream.read()) is not None:
        blocks.append(samples)
    stream.close()
    assert all(block.shape[0] == stream.n_channels == 2 for block in blocks) and stream.sample_rate == RATE
    return np.concatenate(blocks, axis=1), [block.shape[1] for block in blocks]


@pytest.mark.parametrize("starts", [range(50), [*range(25), *range(75, 100)]], ids=["plain", "gap"])
@pytest.mark.filterwarnings("ignore:.*silence put in")
def test_a_pipe_has_the_samples_of_the_file(starts: Sequence[int]) -> None:
    data = encoded("pcm_s16le", starts)
    samples, lengths = read_all(Pipe(data))
    offline = decode_audio(data, RATE, "camera.mka").waveform
    assert np.abs(offline - samples.mean(axis=0)).max() < 1e-6
    assert samples.shape[1] == (starts[-1] + 1) * FRAME
    assert max(lengths) <= 16384


def test_sound_after_damaged_packets_keeps_its_time() -> None:
    whole, _ = read_all(Pipe(encoded("libopus", range(50))))
    damaged, _ = read_all(Pipe(encoded("libopus", range(50), lambda i, data: b"\x03\x00" if 10 <= i < 20 else data)))
    late = damaged.shape[1] - whole.shape[1]
    assert abs(late) <= RATE / 1000, "the timestamps are rounded to milliseconds"
    assert np.abs(damaged[:, 11 * FRAME : 18 * FRAME]).max() == 0
    assert np.abs(damaged[:, 40 * FRAME + late :] - whole[:, 40 * FRAME :]).max() < 0.05


@pytest.mark.parametrize(("seconds", "n_silent"), [(2, 100), (120, 0)])
def test_a_clock_that_a_camera_sets_is_no_gap(seconds: int, n_silent: int) -> None:
    data = encoded("pcm_s16le", [*range(25), *range(25 + 50 * seconds, 50 + 50 * seconds)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answering = Thread(target=server.handle_request)
        answering.start()
        stream = MediaStream(f"http://127.0.0.1:{server.server_address[1]}/live", "camera")
        n_samples = 0
        with pytest.raises(AudioError, match=r"camera: (lost|the connection was closed)"):
            while (samples := stream.read()) is not None:
                n_samples += samples.shape[1]
        stream.close()
        answering.join()
    assert n_samples == (50 + n_silent) * FRAME


def test_a_stream_of_damaged_packets_alone_is_an_error() -> None:
    data = encoded("libopus", range(50), lambda i, data: b"\x03\x00")
    with pytest.raises(AudioError, match=r"camera: (cannot be opened|no sound comes)"):
        MediaStream(Pipe(data), "camera")


def test_data_without_sound_is_an_error() -> None:
    with pytest.raises(AudioError, match="camera: cannot be opened"):
        MediaStream(Pipe(b"no sound" * 100), "camera")
