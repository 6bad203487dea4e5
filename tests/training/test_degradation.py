"""Degradations of waveforms, measured as a listener would: level, spectrum, decay, peaks."""

import numpy as np
import pytest

from earmark.training.degradation import (
    CODECS,
    by_opus,
    clipped,
    reverberated,
    rms,
    through_device,
    with_background,
)

RATE = 32000


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(seconds=1.0, seed=0):
    return (0.1 * rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def tone(hz, seconds=1.0):
    return (0.1 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def db(a, b):
    return 20 * np.log10(rms(a) / rms(b))


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_a_background_lies_below_the_clip_by_its_level(seconds):
    clip, background = tone(1000), noise(seconds, 1)
    added = with_background(clip, background, 12.0, rng()) - clip
    assert db(clip, added) == pytest.approx(12, abs=0.01)
    assert len(added) == len(clip) and rms(added[:3000]) > 0 and rms(added[-3000:]) > 0


def test_a_background_to_silence_is_silent():
    assert not with_background(np.zeros(100, np.float32), noise(), 0.0, rng()).any()


def test_a_room_decays_by_60_db_in_its_time():
    click = np.zeros(RATE, np.float32)
    click[0] = 1.0
    wet = reverberated(click, RATE, 0.5, -10.0, rng())
    assert len(wet) == RATE and rms(wet) == pytest.approx(rms(click), rel=1e-3)
    early, late = wet[1600:3200], wet[1600 + 8000 : 3200 + 8000]  # 0.25 s later
    assert db(early, late) == pytest.approx(30, abs=1.5)
    assert np.array_equal(wet, reverberated(click, RATE, 0.5, -10.0, rng()))


def test_a_device_keeps_the_band_and_loses_what_lies_outside():
    changed = through_device(noise(), RATE, 0.0, (300.0, 4000.0), rng())
    gain = np.abs(np.fft.rfft(changed)) / np.abs(np.fft.rfft(noise()))
    assert gain[60] < 0.1 * gain[1000] and gain[15000] < 0.1 * gain[1000]


def test_a_device_changes_the_response_by_at_most_its_range():
    flat = (20.0, 1e6)
    gain = np.abs(np.fft.rfft(through_device(noise(), RATE, 6.0, flat, rng()))) / np.abs(np.fft.rfft(noise()))
    spread = 20 * np.log10(gain[100:15000])
    assert 1 < np.ptp(spread) <= 12.1


def test_clipping_flattens_the_peaks():
    loud = clipped(tone(100), 20.0)
    assert (np.abs(loud) > 0.99 * np.abs(loud).max()).mean() > 0.9
    assert rms(loud) == pytest.approx(rms(tone(100)), rel=1e-3)


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_length_and_level_and_changes_the_sound(codec):
    clip = tone(1000) + noise() * np.float32(0.2)
    coded = CODECS[codec](clip, RATE)
    assert coded.shape == clip.shape and coded.dtype == np.float32
    assert db(coded, clip) == pytest.approx(0, abs=1.5) and not np.allclose(coded, clip, atol=1e-3)
    spectrum = np.abs(np.fft.rfft(CODECS[codec](noise(), RATE)))
    assert spectrum[14500:].mean() < 0.05 * spectrum[500:3000].mean(), "nothing is left above its band"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("n_samples", [1, 50, 1000])
def test_a_codec_takes_silence_and_moments(codec, n_samples):
    assert CODECS[codec](np.zeros(n_samples, np.float32), RATE).tolist() == [0.0] * n_samples
    assert np.isfinite(CODECS[codec](noise()[:n_samples], RATE)).all()


def test_opus_differs_more_at_a_lower_rate():
    clip = noise()
    low, high = (
        np.abs(np.abs(np.fft.rfft(by_opus(clip, RATE, kbit))) - np.abs(np.fft.rfft(clip))) for kbit in (8.0, 96.0)
    )
    assert low[:8000].mean() > 1.5 * high[:8000].mean()
