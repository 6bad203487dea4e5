"""Active parts of sounds, background noise, and the cache of decoded sounds."""

from dataclasses import dataclass

import numpy as np
import pytest

from earmark.data import mixing
from earmark.data.mixing import ActiveSound, active_sound, noise
from earmark.storage.recent_values import RecentValues


def test_cuts_come_from_active_parts(burst):
    rng = np.random.default_rng(0)
    sound = ActiveSound.of(burst(1.0, 1.6).load(16000).waveform, 16000)
    assert sound.parts.tolist() == [[16000, 25600]]
    for _ in range(100):
        start, n_samples = sound.draw_cut(1600, 64000, rng)
        assert 16000 <= start < start + n_samples <= 25600
        assert n_samples >= 1600


def test_only_short_gaps_are_bridged():
    waveform = np.zeros(32000, np.float32)
    for start in (1600, 4800, 24000):
        waveform[start : start + 1600] = 0.5
    assert ActiveSound.of(waveform, 16000).parts.tolist() == [[1600, 6400], [24000, 25600]]


def test_a_cut_never_lies_in_a_bridged_gap():
    waveform = np.zeros(32000, np.float32)
    waveform[::3200] = 0.5  # clicks, 0.2 s apart
    sound = ActiveSound.of(waveform, 16000)
    assert len(sound.parts) == 1
    rng = np.random.default_rng(0)
    for _ in range(200):
        start, n_samples = sound.draw_cut(320, 640, rng)
        assert np.abs(waveform[start : start + n_samples]).max() == 0.5


def test_a_sound_shorter_than_the_shortest_event_is_extended(burst):
    sound = ActiveSound.of(burst(1.0, 1.02).load(16000).waveform, 16000)
    start, n_samples = sound.draw_cut(4800, 64000, np.random.default_rng(0))
    assert (start, n_samples) == (15840, 4800)
    at_the_end = ActiveSound.of(burst(2.98, 3.0).load(16000).waveform, 16000)
    assert at_the_end.draw_cut(4800, 64000, np.random.default_rng(0)) == (48000 - 4800, 4800)
    tiny = ActiveSound.of(np.ones(100, np.float32), 16000)
    assert tiny.draw_cut(4800, 64000, np.random.default_rng(0)) == (0, 100)


@pytest.mark.parametrize(("tilt", "decay_db"), [(0.0, 0.0), (1.0, 3.01), (2.0, 6.02)])
def test_noise_has_the_requested_tilt(tilt, decay_db):
    power = np.abs(np.fft.rfft(noise(160000, 16000, tilt, np.random.default_rng(1)))) ** 2
    octaves = [10 * np.log10(power[start : 2 * start].mean()) for start in (2000, 4000, 8000, 16000, 32000)]
    assert np.diff(octaves) == pytest.approx(-decay_db * np.ones(4), abs=0.3)


def test_noise_of_any_length_is_gaussian():
    for n_samples in (160000, 159979, 1):  # 159,979 is a prime
        assert noise(n_samples, 16000, 0.5, np.random.default_rng(0)).shape == (n_samples,)
    waveform = noise(159979, 16000, 0.0, np.random.default_rng(0)).astype(float)
    waveform /= waveform.std()
    assert np.mean(waveform**4) == pytest.approx(3.0, abs=0.1)
    assert np.mean(np.abs(waveform) > 1.96) == pytest.approx(0.05, abs=0.003)


def test_the_cache_drops_the_least_recently_used(burst, monkeypatch):
    loads = []

    @dataclass(frozen=True)
    class Counted(burst):
        def load(self, sample_rate):
            loads.append(self.seed)
            return super().load(sample_rate)

    monkeypatch.setattr(mixing, "_sounds", RecentValues(n_bytes=2 * 3 * 8000 * 4))  # two sounds of 3 s
    for seed in (0, 1, 0, 2, 0, 1):
        active_sound(Counted(seed=seed), 8000)
    assert loads == [0, 1, 2, 1]
