"""Spectrograms for pictures."""

import numpy as np
import pytest

from earmark.model.mel import FrontendConfig
from earmark.plots.spectrogram import N_FRAMES, Spectrogram, spectrogram_of


def tone(seconds: float, rate: int, hertz: float) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000])
def test_a_tone_appears_at_its_frequency(rate: int) -> None:
    shown = spectrogram_of([tone(2.0, rate, 1000.0)], rate)
    assert shown.frequencies[shown.log_mel.mean(axis=0).argmax()] == pytest.approx(1000, rel=0.06)
    assert shown.duration == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("seconds", [0.001, 0.3, 39.0, 41.0, 400.0])
def test_the_division_into_blocks_does_not_matter(seconds: float) -> None:
    rate = 4000
    sound = tone(seconds, rate, 500.0) * np.linspace(0, 1, round(seconds * rate), dtype=np.float32)
    whole, cut = (
        spectrogram_of([sound], rate),
        spectrogram_of(np.array_split(sound, 7) if seconds > 1 else [sound], rate),
    )
    np.testing.assert_allclose(cut.log_mel, whole.log_mel, atol=1e-2)
    assert 1 <= len(whole.log_mel) <= N_FRAMES + 1
    assert whole.duration == pytest.approx(seconds, rel=0.02, abs=0.1)
    if seconds > 1:
        level = whole.log_mel.max(axis=1)[:-2]
        assert (np.diff(level[10:]) > -0.5).all()  # the level only rises


def test_offset_counts_from_the_start_of_the_recording() -> None:
    shown = Spectrogram(np.zeros((10, 4)), np.arange(4.0), 0.5, onset=3.0)
    assert (shown.duration, shown.offset) == (5.0, 8.0)


def test_frames_of_long_recordings_are_averaged_in_pairs() -> None:
    short, long = (spectrogram_of([np.ones(n, np.float32)], 4000) for n in (4000 * 39, 4000 * 41))
    assert long.seconds_per_frame == 2 * short.seconds_per_frame
    assert FrontendConfig().n_mels == long.log_mel.shape[1]
