"""Several sound tracks in one file: the choice of one, and their mix."""

import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, decode_audio, load_audio, load_blocks, probe, save_audio
from earmark.audio.tracks import MixedTracks, Track
from earmark.errors import AudioError, ConfigError, EarmarkWarning

RATE = 16000


def level(value: float, rate: int, seconds: float) -> np.ndarray:
    return np.full(round(rate * seconds), value, np.float32)


@pytest.fixture(scope="module", params=["mov", "matroska"])
def camera(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two microphones: 2 s at 0.25 and 16 kHz, and 1 s at 0.5 and 32 kHz that begins 0.5 s late."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("tracks") / f"camera.{request.param}"
    with av.open(str(path), "w", format=request.param) as container:
        packets = []
        for sound, rate, late in ((level(0.25, RATE, 2.0), RATE, 0.0), (level(0.5, 32000, 1.0), 32000, 0.5)):
            stream = container.add_stream("pcm_s16le", rate=rate)
            stream.layout, stream.format = "mono", "s16"
            for start in range(0, len(sound), 1000):
                block = (sound[None, start : start + 1000] * 32768).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = start + round(late * rate)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)
    return path


def test_the_first_track_is_read_with_a_note(camera: Path) -> None:
    with pytest.warns(EarmarkWarning, match=r"it has 2 sound tracks, and only track 1 is read; .*--track 2") as told:
        np.testing.assert_allclose(load_audio(camera, RATE).waveform, 0.25, atol=1e-4)
    assert len(told) == 1


def test_a_track_is_chosen_without_a_note_about_others(camera: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_audio(camera, RATE, track=1).duration == 2.0
        assert (probe(camera).sample_rate, probe(camera, 2).sample_rate) == (RATE, 32000)
    with pytest.warns(EarmarkWarning, match=r"track 2: 0\.5 s of silence put in at the start"):
        second = decode_audio(camera.read_bytes(), 32000, "x", track=2).waveform
    assert len(second) == 48000 and not second[:16000].any()
    np.testing.assert_allclose(second[16000:], 0.5, atol=1e-4)


@pytest.mark.filterwarnings("ignore::earmark.errors.EarmarkWarning")
def test_the_mix_is_the_mean_of_all_at_their_own_times(camera: Path) -> None:
    mixed = load_audio(camera, 32000, track="mix").waveform
    assert len(mixed) == 64000
    expected = np.repeat([0.125, 0.375, 0.125], [16000, 32000, 16000])
    steady = np.concatenate([np.arange(start + 1000, stop - 1000) for start, stop in ((0, 16000), (16000, 48000))])
    np.testing.assert_allclose(mixed[steady], expected[steady], atol=1e-3)
    np.testing.assert_allclose(mixed[49000:63000], 0.125, atol=1e-3)
    np.testing.assert_array_equal(np.concatenate(list(load_blocks(camera, 32000, 0.3, "mix"))), mixed)
    np.testing.assert_array_equal(load_audio(camera, 32000, 0.7, 0.5, "mix").waveform, mixed[22400:38400])


def test_a_track_that_is_not_there(camera: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"it has 2 sound tracks, and track 3 was asked for$"):
        load_audio(camera, RATE, track=3)
    save_audio(tmp_path / "a.wav", Audio(level(0.5, RATE, 1.0), RATE))
    for track in (None, 1, "mix"):
        np.testing.assert_array_equal(load_audio(tmp_path / "a.wav", RATE, track=track).waveform, 0.5)
    with pytest.raises(AudioError, match=r"a\.wav: it has one sound track, and track 2 was asked for$"):
        load_audio(tmp_path / "a.wav", RATE, track=2)


@pytest.mark.parametrize("track", [0, -1])
def test_numbers_begin_at_1(tmp_path: Path, track: Track) -> None:
    with pytest.raises(ConfigError, match=rf"^track: the number of a sound track from 1 on, or mix, .* not {track}$"):
        load_audio(tmp_path / "a.wav", RATE, track=track)


class _Broken:
    sample_rate, n_channels, n_samples, slack = RATE, 1, None, 0
    n_closed = 0

    def read(self, n_samples: int) -> np.ndarray:
        return np.zeros((0, 1), np.float32)

    def skip(self, n_samples: int) -> None: ...

    def close(self) -> None:
        _Broken.n_closed += 1


def test_a_mix_that_cannot_be_opened_closes_the_open_tracks() -> None:
    def open_track(number: int) -> _Broken:
        if number == 3:
            raise AudioError("damaged")
        return _Broken()

    with pytest.raises(AudioError, match="damaged"):
        MixedTracks(open_track, 3)
    assert _Broken.n_closed == 2
