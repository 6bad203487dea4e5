"""Soundscapes: equal in memory and on disk, correct event times, and no event times in training data."""

import json
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from earmark.audio.recording import Audio, load_audio, resample, save_audio
from earmark.data import open_data
from earmark.data.clips import Clip, Dataset, FileAudio, check_disjoint
from earmark.data.mixing import Soundscape
from earmark.data.soundscapes import (
    SoundscapeConfig,
    TruthEvent,
    mix_soundscapes,
    read_soundscapes,
    render_soundscapes,
)
from earmark.data.synthetic import synthetic_bank
from earmark.errors import ConfigError, DataError
from earmark.labels import LabelSet
from experiments.table1.soundscapes import read_truth

AT_16K = SoundscapeConfig(sample_rate=16000)
SMALL = SoundscapeConfig(duration=3.0, sample_rate=8000, n_events=(1, 3), event_duration=(0.2, 1.0), seed=7)


def bank_of(*readers, labels=None):
    labels = labels or [f"label {number}" for number in range(len(readers))]
    clips = tuple(
        Clip(f"sound {number}", (label,), reader)
        for number, (label, reader) in enumerate(zip(labels, readers, strict=True))
    )
    return Dataset("bank", LabelSet(tuple(sorted(set(labels)))), clips)


@pytest.fixture(scope="module")
def bank():
    return synthetic_bank(n_per_label=4)


@pytest.fixture(scope="module")
def soundscapes(bank):
    return mix_soundscapes(bank.select(splits="train"), SMALL, 12, split="train")


def waveforms(dataset, sample_rate=8000):
    return [clip.load(sample_rate).waveform for clip in dataset]


def same(left, right):
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


# --- drawing and mixing ---


def test_samples_depend_on_seed_and_index(bank, soundscapes):
    again = mix_soundscapes(bank.select(splits="train"), SMALL, 12, split="train")
    assert again.truth == soundscapes.truth
    assert same(waveforms(again.dataset), waveforms(soundscapes.dataset))
    assert len({waveform.tobytes() for waveform in waveforms(soundscapes.dataset)}) == 12
    assert len({recipe.noise_seed for recipe in soundscapes.recipes}) == 12
    other = mix_soundscapes(bank.select(splits="train"), replace(SMALL, seed=8), 12)
    assert not {e[1:] for e in other.truth} & {e[1:] for e in soundscapes.truth}


def test_a_soundscape_is_independent_of_their_number_and_the_order_of_the_bank(bank, soundscapes):
    train = bank.select(splits="train")
    backwards = replace(train, clips=train.clips[::-1])
    fewer = mix_soundscapes(backwards, SMALL, 5, split="train")
    assert fewer.dataset.clips == soundscapes.dataset.clips[:5]


def test_recipes_pickle_small(soundscapes):
    sent = pickle.dumps(soundscapes.dataset)
    assert len(sent) < 2000 * len(soundscapes)
    assert same(waveforms(pickle.loads(sent)), waveforms(soundscapes.dataset))  # noqa: S301 (made here)


def test_loader_workers_mix_the_same_samples(soundscapes):
    # separate processes, which share nothing with this one
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as workers:
        there = list(workers.map(_waveform, soundscapes.dataset))
    assert same(there, waveforms(soundscapes.dataset))


def _waveform(clip):
    return clip.load(8000).waveform


def test_events_follow_the_configuration(bank):
    config = replace(SMALL, n_events=(2, 3), snr_db=(3.0, 9.0), background_db=(-60.0, -50.0))
    soundscapes = mix_soundscapes(bank, config, 60)
    counts = set()
    for clip in soundscapes.dataset:
        recipe = clip.audio
        counts.add(len(recipe.sounds))
        labels = [sound.label for sound in recipe.sounds]
        assert clip.labels == tuple(sorted(set(labels)))
        assert len(set(labels)) == len(labels)
        assert -60 <= recipe.background_db <= -50
        for sound in recipe.sounds:
            assert sound.onset >= 0
            assert sound.onset + sound.n_samples <= 24000
            assert 1600 <= sound.n_samples <= 8000
            assert 3 <= sound.gain_db <= 9
    assert counts == {2, 3}


def test_two_splits_with_one_seed_share_nothing(bank):
    one, two = (mix_soundscapes(bank.select(splits=split), SMALL, 40).dataset for split in ("train", "test"))
    assert sum(a.labels == b.labels for a, b in zip(one, two, strict=True)) < 10
    assert not {clip.audio.noise_seed for clip in one} & {clip.audio.noise_seed for clip in two}
    assert not {clip.id for clip in one} & {clip.id for clip in two}
    check_disjoint(one, two)


def test_sources_are_identified_by_group_or_file(tmp_path):
    for folder in ("one", "two"):
        for label in ("bell", "knock"):
            (tmp_path / folder / label).mkdir(parents=True)
            save_audio(tmp_path / folder / label / "1.wav", Audio(np.full(4000, 0.1, np.float32), 8000))
    config = replace(SMALL, n_events=(1, 1))
    banks = [open_data(f"folder:{tmp_path / folder}") for folder in ("one", "two")]
    mixes = [mix_soundscapes(bank, config, 6).dataset for bank in banks]
    check_disjoint(*mixes)
    with pytest.raises(DataError, match="sources are in both"):
        check_disjoint(mixes[0], banks[0])


def test_a_source_name_with_the_separator_is_refused(bank):
    named = replace(bank, clips=tuple(replace(clip, group="C + 1") for clip in bank))
    with pytest.raises(DataError, match="which joins sources; rename it"):
        mix_soundscapes(named, SMALL, 1)


def test_the_group_names_every_source(bank):
    clip = mix_soundscapes(bank, replace(SMALL, n_events=(3, 3)), 1).dataset[0]
    assert clip.group == " + ".join(
        sorted(sound.source.kind + f"-{sound.source.seed[2]:03d}" for sound in clip.audio.sounds)
    )


def test_splits_of_a_bank_share_no_source(bank):
    train, test = (mix_soundscapes(bank.select(splits=split), SMALL, 20).dataset for split in ("train", "test"))
    check_disjoint(train, test)
    with pytest.raises(DataError, match="sources are in both"):
        check_disjoint(train, mix_soundscapes(bank, SMALL, 20).dataset)


def test_event_levels_match_the_truth(burst):
    config = replace(AT_16K, duration=4.0, n_events=(1, 1), event_duration=(0.5, 1.0), fade=0.0, snr_db=(5.0, 20.0))
    soundscapes = mix_soundscapes(bank_of(burst(0.0, 3.0), burst(0.0, 3.0, seed=1)), config, 20)
    for clip, event in zip(soundscapes.dataset, soundscapes.truth, strict=True):
        waveform = clip.load(16000).waveform.astype(float)
        onset, offset = round(event.onset * 16000), round(event.offset * 16000)
        background = np.mean(np.concatenate([waveform[:onset], waveform[offset:]]) ** 2)
        ratio = np.mean(waveform[onset:offset] ** 2) / background - 1
        # the power of brown noise differs from part to part of a clip
        assert 10 * np.log10(ratio) == pytest.approx(event.gain_db, abs=2.5)
        assert clip.audio.background_db == pytest.approx(10 * np.log10(background), abs=1.5)


def test_events_are_audible_by_default():
    assert SoundscapeConfig().snr_db[0] >= 0


def test_onsets_cover_the_clip(burst):
    config = replace(AT_16K, duration=5.0, n_events=(1, 1), event_duration=(0.5, 0.6))
    onsets = [event.onset for event in mix_soundscapes(bank_of(burst()), config, 400).truth]
    assert min(onsets) < 0.1
    assert max(onsets) > 4.2
    assert np.mean(onsets) == pytest.approx(2.22, abs=0.25)


def test_a_loud_mix_is_scaled_down_and_never_clipped(burst):
    config = replace(
        AT_16K, duration=1.0, n_events=(1, 1), event_duration=(0.3, 0.6), snr_db=(40.0, 40.0), background_db=(0.0, 0.0)
    )
    loud = mix_soundscapes(bank_of(burst()), config, 3)
    for clip in loud.dataset:
        assert np.abs(clip.load(16000).waveform).max() == pytest.approx(0.99, abs=1e-3)


def test_another_rate_is_the_same_mix_resampled(soundscapes):
    clip = soundscapes.dataset[0]
    assert np.array_equal(clip.load(16000).waveform, resample(clip.load(8000).waveform, 8000, 16000))


def test_a_bank_sound_that_became_shorter_is_an_error(burst):
    recipe = mix_soundscapes(bank_of(burst()), replace(AT_16K, duration=4.0, n_events=(1, 1)), 1).recipes[0]
    shrunk = replace(recipe, sounds=(replace(recipe.sounds[0], cut=47990),))
    with pytest.raises(DataError, match="shorter than when"):
        shrunk.load(16000)


# --- on disk ---


@pytest.fixture(scope="module")
def rendered(soundscapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rendered") / "train"
    render_soundscapes(soundscapes, folder, jobs=2)
    return folder


def test_the_folder_holds_the_same_samples_as_memory(soundscapes, rendered):
    read = read_soundscapes(rendered)
    assert [(c.id, c.labels, c.split, c.group) for c in read] == [
        (c.id, c.labels, c.split, c.group) for c in soundscapes.dataset
    ]
    assert read.labels == soundscapes.dataset.labels
    assert read.fingerprint() == soundscapes.dataset.fingerprint()
    assert same(waveforms(read), waveforms(soundscapes.dataset))
    assert same(waveforms(read, 16000), waveforms(soundscapes.dataset, 16000))


def test_the_folder_can_be_read_as_source_and_as_manifest(soundscapes, rendered):
    assert len(open_data(f"soundscapes:{rendered}")) == len(soundscapes)
    table = open_data(f"csv:{rendered / 'clips.csv'}")
    assert [clip.labels for clip in table] == [clip.labels for clip in soundscapes.dataset]
    assert np.array_equal(table[3].load(8000).waveform, soundscapes.dataset[3].load(8000).waveform)


def test_truth_survives_a_round_trip_and_follows_dcase(soundscapes, rendered):
    assert read_truth(rendered) == soundscapes.truth
    header, first, *_ = (rendered / "truth.tsv").read_text().splitlines()
    assert header == "filename\tonset\toffset\tevent_label\tgain_db"
    assert (rendered / "audio" / first.split("\t")[0]).is_file()


def test_training_data_holds_no_event_times(rendered, tmp_path):
    read = read_soundscapes(rendered)
    for clip in read:
        assert type(clip) is Clip
        assert clip.audio == FileAudio(rendered / "audio" / f"{clip.id}.flac")
    assert type(read) is Dataset
    onsets = {repr(event.onset) for event in read_truth(rendered)}
    for path in (rendered / "clips.csv", rendered / "soundscapes.json"):
        assert not [onset for onset in onsets if onset in path.read_text()]
    hidden = (rendered / "truth.tsv").rename(tmp_path / "truth.tsv")
    try:
        assert len(read_soundscapes(rendered)) == len(read)
    finally:
        hidden.rename(rendered / "truth.tsv")


class Stop(Exception):
    """Stands for Ctrl-C during rendering."""


def test_an_interrupted_rendering_resumes(soundscapes, rendered, tmp_path):
    def interrupt(done, total):
        raise Stop

    with pytest.raises(Stop):
        render_soundscapes(soundscapes, tmp_path / "out", jobs=1, progress=interrupt)
    audio = tmp_path / "out" / "audio"
    assert not (tmp_path / "out" / "clips.csv").exists()
    for clip in soundscapes.dataset.clips[8:]:  # some files are missing at any point of interruption
        (audio / f"{clip.id}.flac").unlink(missing_ok=True)
    with pytest.raises(DataError, match="interrupted; run the same command again"):
        read_soundscapes(tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in audio.iterdir()}
    seen = []
    render_soundscapes(soundscapes, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in audio.iterdir()}.items()
    for path in rendered.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "out" / path.relative_to(rendered)).read_bytes()


def test_more_soundscapes_extend_a_folder_and_fewer_are_refused(bank, soundscapes, tmp_path):
    few = mix_soundscapes(bank.select(splits="train"), SMALL, 3, split="train")
    render_soundscapes(few, tmp_path, jobs=1)
    render_soundscapes(soundscapes, tmp_path, jobs=1)
    assert len(read_soundscapes(tmp_path)) == 12
    with pytest.raises(DataError, match="12 soundscapes were begun here, 3 asked for now"):
        render_soundscapes(few, tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, r"seed \d+ -> 8"),
        ({"snr_db": (1.0, 2.0), "fade": 0.0}, r"snr_db \[.*\] -> \[1.0, 2.0\], fade .* -> 0.0"),
        ({}, "bank"),
        ({"split": "valid"}, "splits"),
    ],
)
def test_a_folder_of_other_soundscapes_is_refused(bank, rendered, change, named):
    split = change.pop("split", "train")
    sounds = bank.select(splits="train") if change or split != "train" else bank.select(splits="test")
    others = mix_soundscapes(sounds, replace(SMALL, **change), 12, split=split)
    with pytest.raises(DataError, match=f"holds other soundscapes .other .*{named}.*; render into a new folder"):
        render_soundscapes(others, rendered)


def test_a_folder_of_other_files_is_refused(soundscapes, tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(DataError, match="holds other files"):
        render_soundscapes(soundscapes, tmp_path)


@pytest.mark.parametrize("label", ["a;b", "[bell]"])
def test_odd_labels_come_back_from_the_folder(tmp_path, burst, label):
    render_soundscapes(mix_soundscapes(bank_of(burst(), labels=[label]), replace(SMALL, n_events=(1, 1)), 1), tmp_path)
    assert read_soundscapes(tmp_path)[0].labels == (label,)


def test_damaged_folders_are_refused(soundscapes, tmp_path):
    with pytest.raises(DataError, match=r"no soundscapes here \(soundscapes.json is missing\)"):
        read_soundscapes(tmp_path)
    folder = tmp_path / "out"
    render_soundscapes(soundscapes, folder, jobs=2)
    (folder / "audio" / f"{soundscapes.dataset[2].id}.flac").unlink()
    with pytest.raises(DataError, match="1 of 12 audio files are missing"):
        read_soundscapes(folder)
    rest = read_soundscapes(folder, lenient=True)
    assert (len(rest), rest.missing, rest.outside) == (11, (soundscapes.dataset[2].id,), ())
    truth = (folder / "truth.tsv").read_text()
    for damaged, message in [
        (truth.replace("onset", "begin"), "needs the columns filename, onset"),
        (truth + "a.flac\t1.0\n", "expected 5 columns, got 2"),
        (truth + "a.flac\tx\t1\tdog\t0\n", "could not convert string"),
    ]:
        (folder / "truth.tsv").write_text(damaged)
        with pytest.raises(DataError, match=message):
            read_truth(folder)
    description = json.loads((folder / "soundscapes.json").read_text())
    for damaged, message in [
        ("{", "cannot be read"),
        ("[]", "not a description of soundscapes"),
        (json.dumps(description | {"format": 99}), "not a description of soundscapes of format 1"),
        (json.dumps({"format": 1}), "bank, config, labels, n_clips, splits missing"),
    ]:
        (folder / "soundscapes.json").write_text(damaged)
        with pytest.raises(DataError, match=message):
            read_soundscapes(folder)


# --- invalid input ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"duration": 0.0}, "duration: above 0 was expected, not 0.0"),
        ({"duration": float("nan")}, "duration: .* not nan"),
        ({"sample_rate": 8}, "sample_rate: at least 1000 was expected, not 8"),
        ({"n_events": (0, 2)}, "n_events: two whole numbers, at least 1, .* not .0, 2"),
        ({"n_events": (4, 1)}, "n_events: two whole numbers, the smaller first, .* not .4, 1"),
        ({"event_duration": (0.3, 40.0)}, "event_duration: at most the duration of 10.0 s"),
        ({"event_duration": (0.0, 4.0)}, "event_duration: two finite numbers, at least 0.01"),
        ({"snr_db": (0.0, float("inf"))}, "snr_db: two finite numbers"),
        ({"background_db": (-10.0, 3.0)}, "background_db: two finite numbers, at most 0"),
        ({"fade": -1.0}, "fade: from 0 to 1 was expected, not -1.0"),
        ({"seed": -1}, "seed: at least 0 was expected, not -1"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SoundscapeConfig(**settings)


def test_unusable_banks_are_refused(burst):
    one = replace(SMALL, n_events=(1, 1))
    with pytest.raises(DataError, match="expected 1 or more soundscapes, got 0"):
        mix_soundscapes(bank_of(burst()), one, 0)
    with pytest.raises(DataError, match=r"3 events of different labels.*only 1 labels; lower n_events"):
        mix_soundscapes(bank_of(burst()), SMALL, 1)
    with pytest.raises(DataError, match="'sound 0' is silent; remove it"):
        mix_soundscapes(bank_of(burst(level=0.0)), one, 1)
    both = Dataset("both", LabelSet(("a", "b")), (Clip("x", ("a", "b"), burst()),))
    with pytest.raises(DataError, match="exactly one label, but 'x' has 2"):
        mix_soundscapes(both, one, 1)


def test_progress_counts_up(bank):
    seen = []
    mix_soundscapes(bank, SMALL, 3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- real recordings ---


def test_real_recordings_are_mixed_without_their_silence(esc50_dir):
    bank = open_data(f"esc50:{esc50_dir}").select(splits=("5",), labels=("dog", "mouse_click", "rain"))
    config = replace(AT_16K, n_events=(1, 3), snr_db=(10.0, 20.0))
    soundscapes = mix_soundscapes(bank, config, 20)
    assert {type(event) for event in soundscapes.truth} == {TruthEvent}
    for clip in soundscapes.dataset:
        assert isinstance(clip.audio, Soundscape)
        for sound in clip.audio.sounds:
            source = load_audio(sound.source.path, 16000).waveform
            cut = source[sound.cut : sound.cut + sound.n_samples]
            # every cut holds sound within 20 dB of the loudest 10 ms of the recording
            blocks = [np.mean(part**2) for part in np.split(source, range(160, len(source), 160))]
            assert max(np.mean(cut[i : i + 160] ** 2) for i in range(0, len(cut), 40)) > max(blocks) / 100 * 0.9
