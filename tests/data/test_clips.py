"""Data sets, and the contract of every source."""

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.audio.recording import Audio, save_audio
from earmark.data import SOURCES, AudioReader, Clip, Dataset, FileAudio, check_disjoint, open_data
from earmark.data.clips import ids_sha256
from earmark.data.segment_store import manifest, write_shard
from earmark.data.segments import Encoder, segments_of
from earmark.errors import AudioError, DataError
from earmark.labels import LabelSet
from earmark.storage.json_files import write_json
from tests.tfrecords import released_clips, write_features

RATE = 16000


def save_noise(path: Path, seed: int, sample_rate: int = RATE) -> None:
    waveform = np.random.default_rng(seed).uniform(-0.5, 0.5, sample_rate // 2)
    save_audio(path, Audio(waveform, sample_rate))


def made_csv(folder: Path) -> str:
    for seed in range(4):
        save_noise(folder / f"{seed}.wav", seed, 44100)
    rows = [
        "path,labels,split,group",
        "0.wav,dog;rain,train,a",
        "1.wav,rain,train,a",
        "2.wav,dog,test,b",
        "3.wav,,test,b",
    ]
    (folder / "clips.csv").write_text("\n".join(rows))
    return f"csv:{folder / 'clips.csv'}"


def made_folder(folder: Path) -> str:
    for seed, name in enumerate(["train/dog/1.wav", "train/rain/1.wav", "test/dog/2.flac"]):
        save_noise(folder / name, seed)
    return f"folder:{folder}"


def made_esc50(folder: Path, suffix: str = "wav", sample_rate: int = 44100) -> str:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for seed, (fold, target, category) in enumerate([(1, 0, "dog"), (2, 49, "hand_saw"), (2, 10, "rain")]):
        filename = f"{fold}-{1000 + seed}-A-{target}.{suffix}"
        save_noise(folder / "audio" / filename, seed, sample_rate)
        rows.append(f"{filename},{fold},{target},{category},False,{1000 + seed},A")
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return f"esc50:{folder}"


def made_soundscapes(folder: Path) -> str:
    from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes, render_soundscapes
    from earmark.data.synthetic import synthetic_bank

    bank = synthetic_bank(n_per_label=2)
    soundscapes = mix_soundscapes(bank, SoundscapeConfig(duration=2.0, event_duration=(0.3, 1.0)), 3, split="train")
    render_soundscapes(soundscapes, folder, jobs=1)
    return f"soundscapes:{folder}"


def made_list(folder: Path) -> str:
    from earmark.data.listing import write_clips

    (folder / "data").mkdir()
    data = made_csv(folder / "data")
    write_clips(folder / "clean.txt", data, ["0.wav", "2.wav", "3.wav"])
    return f"clips:{folder / 'clean.txt'}"


def made_fsd50k(folder: Path) -> str:
    truth = folder / "FSD50K.ground_truth"
    truth.mkdir()
    (truth / "vocabulary.csv").write_text("0,Bark,/m/05tny_\n1,Dog,/m/0bt9lr\n2,Rain,/m/06mb1\n")
    dev = ["fname,labels,mids,split", '64760,"Bark,Dog","/m/05tny_,/m/0bt9lr",train', "16399,Rain,/m/06mb1,val"]
    (truth / "dev.csv").write_text("\n".join(dev) + "\n")
    (truth / "eval.csv").write_text("fname,labels,mids\n37199,Dog,/m/0bt9lr\n")
    for seed, name in enumerate(["dev_audio/64760.wav", "dev_audio/16399.flac", "eval_audio/37199.wav"]):
        save_noise(folder / f"FSD50K.{name}", seed, 44100)
    return f"fsd50k:{folder}"


def made_parquet(folder: Path) -> str:
    import pyarrow as pa
    from pyarrow import parquet

    audio = []
    for seed in range(3):
        save_noise(folder / "clip.wav", seed)
        audio.append((folder / "clip.wav").read_bytes())
    columns = {"path": ["a", "b", "c"], "audio": audio, "labels": ["dog; rain", "rain", ""], "split": ["x", "x", "y"]}
    parquet.write_table(pa.table(columns), folder / "clips.parquet")
    return f"parquet:{folder / 'clips.parquet'}"


EVENTS = [
    ("night/a.wav", 0.1, 0.4, "dog"),
    ("night/b.wav", 0.05, 0.3, "rain"),
    ("night/b.wav", 0.35, 0.35, "dog"),
    ("day/c.wav", 0.2, 0.3, "rain"),
]


def made_annotations(folder: Path, source: str) -> str:
    """Three recordings of half a second with four events in a format of another program."""
    from earmark.annotations.events import Annotation, FileEvents
    from earmark.annotations.formats import FORMATS

    files = [
        FileEvents(name, tuple(Annotation(on, off, label) for file, on, off, label in EVENTS if file == name), 0.5)
        for name in ("night/a.wav", "night/b.wav", "day/c.wav")
    ]
    for seed, file in enumerate(files):
        save_noise(folder / file.file, seed)
    if source == "audacity":
        for file in files:
            FORMATS[source].write(folder / file.file.replace(".wav", ".txt"), [file])
        return f"audacity:{folder}"
    path = folder / f"events{FORMATS[source].suffixes[0]}"
    FORMATS[source].write(path, files)
    if source == "label-studio":  # what a person confirmed
        path.write_text(path.read_text().replace('"predictions"', '"annotations"'))
    return f"{source}:{folder if source == 'raven' else path}"


MADE: dict[str, Callable[[Path, Any], str]] = {
    "csv": lambda folder, tiny: made_csv(folder),
    "folder": lambda folder, tiny: made_folder(folder),
    "esc50": lambda folder, tiny: made_esc50(folder),
    "esc50 as flac": lambda folder, tiny: made_esc50(folder, "flac", RATE),
    "soundscapes": lambda folder, tiny: made_soundscapes(folder),
    "clips": lambda folder, tiny: made_list(folder),
    "audioset": lambda folder, tiny: f"audioset:{tiny.save_folder(folder)}",
    "fsd50k": lambda folder, tiny: made_fsd50k(folder),
    "parquet": lambda folder, tiny: made_parquet(folder),
    "parquet of AudioSet": lambda folder, tiny: f"parquet:{tiny.save_parquet(folder)}",
    "raven": lambda folder, tiny: made_annotations(folder, "raven"),
    "audacity": lambda folder, tiny: made_annotations(folder, "audacity"),
    "dcase": lambda folder, tiny: made_annotations(folder, "dcase"),
    "label-studio": lambda folder, tiny: made_annotations(folder, "label-studio"),
}


def made_store(folder: Path) -> Path:
    """A store of four clips of 1 to 4 segments."""
    labels, encoder = LabelSet(("dog", "rain")), Encoder("a", "0" * 64, 2, 0.5, RATE)
    clips = [clip(str(n), labels.names[n % 2], split="x", group=str(n)) for n in range(4)]
    segments = [[np.full((n + 1, 2), n, np.float16)] for n in range(4)]
    plan = {"kind": "segments", "format": 1, "name": "made", "settings": {"n_crops": 1}, "encoder": asdict(encoder)}
    plan["labels"] = {"names": labels.names, "ids": labels.ids}
    shards = [write_shard(folder, n, clips[2 * n :][:2], segments[2 * n :][:2], labels) for n in range(2)]
    write_json(folder / "segments.json", manifest(plan, shards))
    return folder


ENCODED: dict[str, Callable[[Path], str]] = {
    "audioset-features": lambda folder: f"audioset-features:{write_features(folder / 'a', released_clips(4))}",
    "segments": lambda folder: f"segments:{made_store(folder)}",
}
"""Sources of clips that have segments and no sound."""


@pytest.fixture(scope="module", params=MADE)
def source(request: pytest.FixtureRequest, tiny_audioset: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_data(MADE[request.param](tmp_path_factory.mktemp("source"), tiny_audioset))


def test_the_contract_covers_every_source() -> None:
    assert {name.split()[0] for name in [*MADE, *ENCODED]} == set(SOURCES)


@pytest.mark.parametrize("name", ENCODED)
def test_an_encoded_source_yields_labelled_clips_with_segments(name: str, tmp_path: Path) -> None:
    dataset = open_data(ENCODED[name](tmp_path))
    test_a_source_yields_labelled_clips(dataset)
    test_reading_twice_gives_equal_data_sets(dataset)
    segments = segments_of(dataset)
    assert segments is not None and len(segments.rows) == len(dataset)
    again = segments_of(pickle.loads(pickle.dumps(dataset)))  # noqa: S301
    skip = np.zeros_like(segments.rows)
    values, same = (each.table.gather(each.rows, skip, each.lengths) for each in (segments, again))
    assert values.shape == (len(dataset), segments.lengths.max(), segments.encoder.n_channels)
    np.testing.assert_array_equal(values, same)


def test_a_source_yields_labelled_clips(source: Dataset) -> None:
    assert len(source) == len(list(source)) == len({clip.id for clip in source}) >= 3
    assert source[0] == next(iter(source))
    assert source.splits or all(clip.group for clip in source)
    assert source.missing == ()
    for clip in source:
        assert set(clip.labels) <= set(source.labels)
        assert len(set(clip.labels)) == len(clip.labels)
        assert isinstance(clip.audio, AudioReader)
    targets = source.targets()
    assert (targets.dtype, targets.shape) == (np.float32, (len(source), len(source.labels)))
    assert targets.sum() == sum(len(clip.labels) for clip in source)


@pytest.mark.parametrize("sample_rate", [16000, 32000])
def test_a_clip_loads_mono_at_the_requested_rate(source: Dataset, sample_rate: int) -> None:
    for clip in source:
        audio = clip.load(sample_rate)
        assert (audio.sample_rate, audio.waveform.dtype, audio.waveform.ndim) == (sample_rate, np.float32, 1)
        assert 0.4 < audio.duration < 2.1
        np.testing.assert_array_equal(clip.load(sample_rate).waveform, audio.waveform)


def test_a_clip_pickles_small(source: Dataset) -> None:
    for clip in source:
        packed = pickle.dumps(clip)
        assert len(packed) < 4000
        again = pickle.loads(packed)  # noqa: S301
        assert again == clip
        np.testing.assert_array_equal(again.load(RATE).waveform, clip.load(RATE).waveform)


def test_reading_twice_gives_equal_data_sets(source: Dataset) -> None:
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301
    assert source.fingerprint() == source.select(splits=source.splits or None).fingerprint()


def test_data_does_not_import_torch() -> None:
    code = (
        "import sys, earmark.data.manifest, earmark.data.esc50, earmark.data.audioset, earmark.data.parquet\n"
        "print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == "False\n"


# data sets


class Silence:
    """A minimal reader."""

    def load(self, sample_rate: int) -> Audio:
        return Audio(np.zeros(sample_rate), sample_rate)


LABELS = LabelSet(("dog", "rain", "siren"))


def clip(id: str, *labels: str, split: str | None = None, group: str | None = None) -> Clip:
    return Clip(id, labels, Silence(), split, group)


def dataset(*clips: Clip, name: str = "made") -> Dataset:
    return Dataset(name, LABELS, clips)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_contradictory_data_is_refused() -> None:
    assert refusal(lambda: dataset()) == "made: a data set needs at least one clip, this one has none"
    doubles = [clip(id) for id in "abcdaabbccdde"]
    assert refusal(lambda: dataset(*doubles)) == "made: 4 clip ids occur more than once: a, b, c, ..."
    text = refusal(lambda: dataset(clip("a", "dog"), clip("b", "dog", "cat"), clip("c", "Dog")))
    assert text == "made: 2 clips have a label that is not among the 3 of the set: b (cat), c (Dog)"


def test_select_splits() -> None:
    data = dataset(clip("a", "dog", split="train"), clip("b", "rain", split="test"), clip("c", "dog"))
    assert data.splits == ("test", "train")
    assert [c.id for c in data.select(splits=["train"])] == ["a"]
    assert [c.id for c in data.select(splits="train")] == ["a"]
    assert data.select(splits=["train"]).labels == LABELS
    assert data.select() == data
    assert refusal(lambda: data.select(splits=["valid", "train"])) == "made: no split valid; the splits are test, train"
    assert refusal(lambda: dataset(clip("a")).select(splits="x")) == "made: no split x; the clips have no splits"


def test_select_labels_narrows_the_label_set() -> None:
    data = dataset(clip("a", "dog", "rain"), clip("b", "siren"), clip("c"), clip("d", "rain"))
    some = data.select(labels=["siren", "rain"])
    assert some.labels.names == ("rain", "siren")
    assert [(c.id, c.labels) for c in some] == [("a", ("rain",)), ("b", ("siren",)), ("d", ("rain",))]
    assert some.targets().tolist() == [[1, 0], [0, 1], [1, 0]]
    assert refusal(lambda: data.select(labels=["syren"])) == "unknown label 'syren': did you mean 'siren'?"
    none_left = dataset(clip("a", "dog", split="x"), clip("b", "rain", split="y"))
    assert refusal(lambda: none_left.select(splits="x", labels="rain")).startswith(
        "made: a data set needs at least one clip"
    )


def test_labels_are_selected_by_id_too() -> None:
    data = Dataset("made", LabelSet(("Dog", "Rain"), ("/m/1", "/m/2")), (clip("a", "Dog"), clip("b", "Rain")))
    assert [c.id for c in data.select(labels=["/m/2"])] == ["b"]


@given(st.permutations(["a", "b", "c"]), st.permutations(["dog", "rain"]))
def test_a_fingerprint_ignores_the_order_of_clips(ids: list[str], labels: list[str]) -> None:
    data = dataset(*(clip(id, *labels) for id in ids))
    assert data.fingerprint() == dataset(*(clip(id, "dog", "rain") for id in "abc")).fingerprint()
    assert data.clip_ids_sha256() == hashlib.sha256(b"a\nb\nc").hexdigest()


def test_a_fingerprint_depends_on_every_clip_and_label() -> None:
    sets = [
        dataset(clip("a", "dog")),
        dataset(clip("a", "rain")),
        dataset(clip("b", "dog")),
        dataset(clip("a", "dog"), clip("b")),
        dataset(clip("a", "dog", "rain")),
    ]
    assert len({data.fingerprint() for data in sets}) == 5
    assert len({data.clip_ids_sha256() for data in sets}) == 3


def test_shared_sources_are_refused(tmp_path: Path) -> None:
    train = dataset(clip("a", group="1"), clip("b", group="2 + 3"), name="train")
    check_disjoint(train, dataset(clip("a", group="4"), clip("c", group="5 + 6"), name="valid"))
    assert refusal(lambda: check_disjoint(train, dataset(clip("c", group="1")))) == (
        "train and made: 1 sources are in both data sets: 1"
    )
    # a soundscape has the sources of all its sounds
    assert refusal(lambda: check_disjoint(train, dataset(clip("c", group="3 + 7")))).endswith(": 3")

    def folder(name: str) -> Dataset:
        return dataset(Clip("dog/1.wav", ("dog",), FileAudio(tmp_path / name / "dog" / "1.wav")), name=name)

    check_disjoint(folder("one"), folder("two"))
    assert refusal(lambda: check_disjoint(folder("one"), folder("one"))).endswith(
        f"1 sources are in both data sets: {os.path.realpath(tmp_path / 'one' / 'dog' / '1.wav')}"
    )


def test_file_audio_reads_only_its_part(tmp_path: Path) -> None:
    save_noise(tmp_path / "a.wav", 0)
    whole = FileAudio(tmp_path / "a.wav").load(RATE)
    part = FileAudio(tmp_path / "a.wav", onset=0.125, duration=0.25).load(RATE)
    np.testing.assert_array_equal(part.waveform, whole.waveform[2000:6000])
    with pytest.raises(AudioError, match=r"none\.wav: no such file"):
        FileAudio(tmp_path / "none.wav").load(RATE)


# open_data


def test_specs_without_a_known_source_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choices = (
        "there are csv:, folder:, parquet:, audioset:, fsd50k:, esc50:, soundscapes:, raven:, audacity:, "
        "dcase:, label-studio:, clips:, segments:, audioset-features:"
    )
    assert refusal(lambda: open_data(str(tmp_path))) == (
        f"'{tmp_path}': say what kind of data it is, for example folder:{tmp_path}; {choices}"
    )
    assert refusal(lambda: open_data("sounds")).startswith(
        "'sounds': say what kind of data it is, for example folder:sounds"
    )
    monkeypatch.chdir(tmp_path)
    assert refusal(lambda: open_data("clips")) == "'clips': expected a path after clips:, as in clips:PATH"
    Path("clips").mkdir()
    assert "for example folder:clips" in refusal(lambda: open_data("clips"))
    Path("clips.csv").touch()
    Path("clips.parquet").touch()
    assert "for example parquet:clips.parquet" in refusal(lambda: open_data("clips.parquet"))
    assert "for example csv:clips.csv" in refusal(lambda: open_data("clips.csv"))
    assert refusal(lambda: open_data("zip:clips")) == f"'zip:clips': unknown source 'zip'; {choices}"
    assert refusal(lambda: open_data("csv:")) == "'csv:': expected a path after csv:, as in csv:PATH"
    assert refusal(lambda: open_data("esc50")) == "'esc50': expected a path after esc50:, as in esc50:PATH"


def test_the_hash_of_ids_is_that_of_their_bytes_whatever_their_order() -> None:
    assert ids_sha256(["b", "ü", "a"]) == hashlib.sha256("a\nb\nü".encode()).hexdigest()
    assert ids_sha256(["a.wav", "b.wav"]) == "f365b5330077a1d55452fee7f0a5ba67c4952eb566e2af8f279ed681ca8d0543"
    assert ids_sha256(["a\udcff.wav"]) == hashlib.sha256(b"a\xff.wav").hexdigest()


def test_a_clip_knows_its_labels_and_those_that_somebody_looked_for():
    clip = Clip("1", ("dog",), FileAudio("1.wav"), known=("rain", "dog"))
    assert clip.known == ("dog", "rain") and not clip.is_unlabelled
    assert (
        Clip("2", (), FileAudio("2.wav")).is_unlabelled
        and not Clip("3", (), FileAudio("3.wav"), known=()).is_unlabelled
    )
    data = Dataset("d", LabelSet(("dog", "rain")), (clip,))
    assert data.select(labels=["dog"])[0].known == ("dog",)
    assert data.fingerprint() != replace(data, clips=(replace(clip, known=None),)).fingerprint()
    with pytest.raises(DataError, match=r"1 \(siren\)"):
        Dataset("d", LabelSet(("dog",)), (replace(clip, known=("siren",)),))
