"""Raw samples from a pipe, and recordings as a source."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.live import RawSamples, RecordedSound
from earmark.audio.recording import Audio, save_audio
from earmark.errors import AudioError, ConfigError


class Pipe(io.FileIO):
    """A pipe whose reads return these numbers of bytes in turn."""

    def __init__(self, data: bytes, *sizes: int) -> None:
        super().__init__(os.devnull)
        self._data, self._sizes, self._at = data, list(sizes), 0

    def read(self, size: int = -1) -> bytes:
        n = min(size, self._sizes[self._at % len(self._sizes)])
        self._at += 1
        given, self._data = self._data[:n], self._data[n:]
        return given


def read_all(source: RawSamples | RecordedSound) -> np.ndarray:
    blocks = []
    while (samples := source.read()) is not None:
        assert samples.shape[1] > 0
        blocks.append(samples)
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize(("encoding", "form"), [("int16", "<i2"), ("int32", "<i4"), ("float32", "<f4")])
@pytest.mark.parametrize("sizes", [(10_000,), (1, 7, 5), (3,)])
def test_raw_samples_do_not_depend_on_how_the_bytes_come(encoding, form: str, sizes: tuple[int, ...]) -> None:
    frames = np.arange(-300, 300).reshape(-1, 2).astype(form)
    source = RawSamples(Pipe(frames.tobytes() + b"\x01", *sizes), 8000, 2, encoding)
    samples = read_all(source)
    assert samples.dtype == encoding and samples.tolist() == frames.T.tolist()


def test_a_block_is_a_fraction_of_a_second() -> None:
    assert RawSamples(Pipe(bytes(100_000), 100_000), 8000).read().shape == (1, 800)


@pytest.mark.parametrize("n_channels", [0, 65])
def test_impossible_numbers_of_channels_are_refused(n_channels: int) -> None:
    with pytest.raises(ConfigError, match="channels: a number from 1 to 64"):
        RawSamples(Pipe(b"", 1), 8000, n_channels)


def test_an_impossible_rate_is_refused() -> None:
    with pytest.raises(AudioError, match="rate"):
        RawSamples(Pipe(b"", 1), 0)


def test_a_recording_is_read_to_its_end(tmp_path: Path) -> None:
    waveform = np.linspace(-0.5, 0.5, 24_000, dtype=np.float32).reshape(2, 12_000)
    save_audio(tmp_path / "a.wav", Audio(waveform, 8000), "FLOAT")
    source = RecordedSound(tmp_path / "a.wav")
    assert (source.sample_rate, source.n_channels) == (8000, 2)
    assert np.array_equal(read_all(source), waveform)
    source.close()


def test_a_recording_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"a\.wav"):
        RecordedSound(tmp_path / "a.wav")
