"""A station that plays a recording in pieces, and its listener."""

import wave
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.live_media import MediaStream
from earmark.errors import AudioError
from experiments.radio import Receiver, Station, on_air

RATE = 8000
SOUND = np.arange(-12_000, 12_000).astype("<i2")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(SOUND.tobytes())
    return tmp_path / "a.wav"


def test_each_connection_gets_a_piece_and_the_clock_is_the_position(recording: Path) -> None:
    pytest.importorskip("av")
    station = Station(recording, [(0.0, 0.5), (2.0, 3.0)], speed=1000.0)
    with on_air(station, RATE) as url:
        for begin, end in ((0.0, 0.5), (2.0, 3.0)):
            source = connected(url, station)
            blocks = []
            with pytest.raises(AudioError, match=r"lost|closed"):
                while (samples := source.read()) is not None:
                    blocks.append(samples)
            source.close()
            assert station.position == pytest.approx(end)
            expected = SOUND[round(begin * RATE) : round(end * RATE)] / np.float32(32768)
            assert np.array_equal(np.concatenate(blocks, axis=1), expected[None])
        assert not station.ended.is_set()
        with pytest.raises(AudioError, match="cannot be opened"):
            MediaStream(url, "radio")
        assert station.ended.is_set()


def connected(url: str, station: Station) -> Receiver:
    """Tries until the station is on the air."""
    while True:
        try:
            return Receiver(MediaStream(url, "radio"), station)
        except AudioError:
            continue
