"""The facts about one clip."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest

from earmark.audio import decoding
from earmark.data import FileAudio
from earmark.data.synthetic import SyntheticSound
from earmark.doctor.examination import examine
from earmark.doctor.facts import Facts
from earmark.errors import AudioError

RATE = 16000


def test_facts_of_a_recording(tmp_path, noise, saved):
    facts = examine(saved(tmp_path / "a.wav", noise(n_channels=2, rate=44100), 44100))
    assert (facts.seconds, facts.sample_rate, facts.n_channels, facts.clipped) == (1.0, 44100, 2, 0.0)
    assert facts.warning is None and facts.error is None
    assert facts.peak == pytest.approx(np.abs(noise(n_channels=2, rate=44100).mean(axis=0)).max(), abs=1e-4)


def test_a_sound_has_one_hash_in_every_lossless_form(tmp_path, noise, saved):
    waveform = noise(n_channels=2)
    forms = [("a.wav", "PCM_16"), ("b.flac", "PCM_16"), ("c.aiff", "PCM_16"), ("d.flac", "PCM_24"), ("e.wav", "FLOAT")]
    exact = np.rint(waveform * 32768) / 32768
    hashes = {examine(saved(tmp_path / name, exact, subtype=subtype)).sha256 for name, subtype in forms}
    samples = np.rint(exact.T * 32768).astype("<i2")
    assert hashes == {hashlib.sha256(b"16000 2\n" + samples.tobytes()).hexdigest()}


def test_other_sounds_have_other_hashes(tmp_path, noise, saved):
    waveform = noise()
    one = examine(saved(tmp_path / "a.wav", waveform)).sha256
    assert examine(saved(tmp_path / "b.wav", waveform[:-1])).sha256 != one
    assert examine(saved(tmp_path / "c.wav", waveform, rate=8000)).sha256 != one
    assert examine(saved(tmp_path / "d.wav", np.stack([waveform, waveform]))).sha256 != one


def test_a_part_is_examined_as_it_is_loaded(tmp_path, noise, saved):
    waveform = noise(seconds=2.0)
    saved(tmp_path / "a.wav", waveform)
    part = examine(FileAudio(tmp_path / "a.wav", onset=0.5, duration=1.0))
    assert part == examine(saved(tmp_path / "b.wav", waveform[8000:24000]))
    assert examine(FileAudio(tmp_path / "a.wav", onset=1.5, duration=1.0)).seconds == 0.5


def naively_clipped(values):
    n = 0
    for channel in values:
        runs = "".join("1" if abs(v) >= 32767 else "0" for v in channel.tolist()).split("0")
        n += sum(len(run) for run in runs if len(run) >= 3)
    return n / values.size


@pytest.mark.parametrize("n_block", [1, 2, 3, 4, 7, 1000])
def test_runs_at_full_scale_are_counted_across_blocks(tmp_path, monkeypatch, n_block, saved):
    monkeypatch.setattr(decoding, "_BLOCK_VALUES", 2 * n_block)
    rng = np.random.default_rng(1)
    values = np.where(rng.uniform(size=(2, 500)) < 0.7, rng.choice([32767, -32767, -32768], (2, 500)), 5)
    facts = examine(saved(tmp_path / "a.wav", (values / 32768).astype(np.float32)))
    assert facts.clipped == naively_clipped(values) > 0.3


def test_a_tone_that_just_reaches_full_scale_is_not_clipped(tmp_path, saved):
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert examine(saved(tmp_path / "a.wav", tone)).clipped < 0.001
    assert examine(saved(tmp_path / "b.wav", 1.5 * tone)).clipped > 0.4


def test_cancelling_channels_are_silent_and_give_a_warning(tmp_path, noise, saved):
    waveform = noise()
    facts = examine(saved(tmp_path / "a.wav", np.stack([waveform, -waveform])))
    assert facts.peak < 1e-4
    assert facts.warning.startswith("channels cancel each other")


def test_reasons_of_unreadable_clips_name_no_path(tmp_path, noise, saved, damaged):
    for path, reason in damaged(tmp_path).items():
        facts = examine(FileAudio(path))
        assert facts.error.startswith(reason), path
        assert str(tmp_path) not in facts.error
        assert facts == Facts(error=facts.error)
    saved(tmp_path / "a.wav", noise())
    assert examine(FileAudio(tmp_path / "a.wav", onset=3.0)).error == "ends at 1.000 s, before the onset at 3.000 s"


@dataclass(frozen=True)
class Failing:
    """A reader with a fault of its own."""

    def load(self, sample_rate):
        raise ZeroDivisionError("no reason")


def test_a_fault_of_a_reader_is_an_error_like_damage():
    assert examine(Failing()).error == "ZeroDivisionError: no reason"


def test_a_clip_that_is_no_recording_is_loaded_at_32_khz():
    sound = SyntheticSound("bell", (0, 1))
    facts = examine(sound)
    assert (facts.sample_rate, facts.n_channels) == (0, 0)
    assert facts.seconds == pytest.approx(sound.load(32000).duration)


def test_errors_of_decoders_come_without_paths(tmp_path, monkeypatch, noise, saved):
    def fail(*arguments):
        raise AudioError(f"{tmp_path}/a.wav: odd, see {tmp_path}/a.wav")

    monkeypatch.setattr(decoding, "mono_blocks", fail)
    assert examine(saved(tmp_path / "a.wav", noise())).error == "odd, see the file"
