"""The synthetic bank: ten kinds of sound; instances and kinds differ."""

import pickle

import numpy as np
import pytest

from earmark.data.clips import check_disjoint
from earmark.data.mixing import ActiveSound
from earmark.data.synthetic import SOUNDS, SyntheticSound, synthetic_bank
from earmark.errors import DataError


def spectrum(waveform):
    """Share of the power in 24 bands of equal ratio, 60 Hz to 8 kHz."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    edges = np.geomspace(60, 8000, 25) / 8000 * (len(power) - 1)
    bands = np.add.reduceat(power, edges[:-1].astype(int))
    return bands / bands.sum()


def test_every_label_has_sounds_in_both_splits():
    bank = synthetic_bank(n_per_label=8)
    assert bank.labels.names == tuple(sorted(SOUNDS))
    assert len(SOUNDS) == 10
    for split, n_sounds in (("train", 6), ("test", 2)):
        assert bank.select(splits=split).targets().sum(axis=0).tolist() == [n_sounds] * 10
    check_disjoint(bank.select(splits="train"), bank.select(splits="test"))
    assert synthetic_bank(n_per_label=2).splits == ("test", "train")


def test_sounds_depend_on_the_seed():
    clip, other = (synthetic_bank(n_per_label=2, seed=seed)[5] for seed in (0, 1))
    again = pickle.loads(pickle.dumps(synthetic_bank(n_per_label=2)[5]))  # noqa: S301 (made here)
    assert np.array_equal(clip.load(16000).waveform, again.load(16000).waveform)
    assert clip.load(16000).waveform.shape != other.load(16000).waveform.shape


def test_instances_differ():
    sounds = [clip.load(8000).waveform.tobytes() for clip in synthetic_bank(n_per_label=5)]
    assert len(set(sounds)) == 50


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sound_is_padded_with_silence_and_keeps_its_level(kind):
    for number in range(12):
        waveform = SyntheticSound(kind, (number,)).load(16000).waveform
        assert waveform.dtype == np.float32
        assert 1.6 <= len(waveform) / 16000 <= 5.1
        assert np.abs(waveform).max() == pytest.approx(1 / 3, abs=1e-3)
        assert not waveform[:1600].any()
        assert not waveform[-1600:].any()
        assert abs(waveform.mean()) < 0.01
        parts = ActiveSound.of(waveform, 16000).parts
        assert (parts[:, 1] - parts[:, 0]).sum() > 4000


def test_kinds_differ_more_than_instances():
    profiles = {
        kind: np.stack([spectrum(SyntheticSound(kind, (number,)).load(16000).waveform) for number in range(8)])
        for kind in ("engine", "hiss", "chirps", "knocks")
    }
    for kind, own in profiles.items():
        for other, theirs in profiles.items():
            if other != kind:
                between = np.abs(own[:, None] - theirs[None]).sum(axis=-1).mean()
                within = np.abs(own[:, None] - own[None]).sum(axis=-1).mean()
                assert between > within


def test_other_rates_are_the_same_sound_resampled():
    sound = SyntheticSound("siren", (3,))
    low, high = sound.load(8000), sound.load(32000)
    assert low.duration == pytest.approx(high.duration, abs=1e-3)
    assert np.sqrt(np.mean(low.waveform**2)) == pytest.approx(np.sqrt(np.mean(high.waveform**2)), rel=0.02)


def test_a_bank_without_a_test_split_is_refused():
    with pytest.raises(DataError, match="needs 2 or more sounds per label, one for each split, got 1"):
        synthetic_bank(n_per_label=1)
