"""A bank with folds on disk, made-up released features, and experiments that take seconds."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data.synthetic import synthetic_bank
from earmark.training import TrainConfig
from experiments.audioset_poolings.cells import BASE
from experiments.audioset_poolings.clips import Places
from experiments.audioset_poolings.plan import Protocol
from experiments.audioset_poolings.runs import Bench
from experiments.table1.plan import make_plan
from experiments.table1.profiles import Profile
from tests.tfrecords import released_clips, write_features

KINDS = ("bell", "buzz", "hiss", "siren", "whistle")
FOLDS = ("1", "1", "2", "2", "3", "3", "5", "5")
TINY = Profile(
    name="tiny",
    labels=None,
    n_train=12,
    n_valid=6,
    n_test=16,
    training=TrainConfig(
        width=2,
        sample_rate=16000,
        n_clips_seen=16,
        clips_per_epoch=8,
        batch_size=4,
        cache="log_mel",
        precision="float32",
        n_workers=0,
        device="cpu",
    ),
    duration=4.0,
)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five made-up sounds in folds 1, 2, 3 and 5, two of each kind a fold, as a data spec."""
    folder = tmp_path_factory.mktemp("bank")
    with (folder / "bank.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "split", "group"))
        for number, clip in enumerate(synthetic_bank(n_per_label=len(FOLDS)).select(labels=KINDS)):
            save_audio(folder / f"{clip.id}.wav", Audio(clip.load(16000).waveform, 16000))
            writer.writerow((f"{clip.id}.wav", clip.labels[0], FOLDS[number % len(FOLDS)], clip.group))
    return f"csv:{folder / 'bank.csv'}"


@pytest.fixture
def tiny() -> Profile:
    return TINY


@pytest.fixture
def planned(bank):
    """The plan of a tiny table and its sounds; values by name replace the profile's, `training` its settings."""

    def plan(difficulties=("sparse",), n_seeds=1, training=None, **changes):
        profile = replace(TINY, training=replace(TINY.training, **(training or {})), **changes)
        return make_plan(bank, profile, difficulties=difficulties, n_seeds=n_seeds)

    return plan


@pytest.fixture
def line_of():
    """A made-up finished run."""
    from experiments.table1.lines import Line, config_sha256

    def line(difficulty, cell, seed, mAP=0.5, **values):
        config = TINY.config(cell, seed).to_json()
        made = Line(
            difficulty=difficulty,
            cell=cell,
            seed=seed,
            profile="tiny",
            config=config,
            config_sha256=config_sha256(config),
            commit="0123456789abcdef",
            earmark="0.0",
            machine="abacus",
            precision="float32",
            n_parameters=1234,
            n_clips_seen=16,
            clips_per_second=4.0,
            seconds=5.0,
            seconds_per_step=1.0,
            n_beside=2,
            best_epoch=1,
            valid_mAP=0.5,
            n_test_clips=40,
            test_ids_sha256="feed" * 16,
            mAP=mAP,
            mAUC=0.75,
            d_prime=0.954,
            bank="csv:bank.csv",
            n_labels=5,
            n_train_clips=12,
            command="python -m experiments table1",
        )
        return replace(made, **values)

    return line


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


TINY_HEAD = replace(BASE, perceptron_layers=1, perceptron_width=8, batch_size=16)
EVENTS = """video_id\tonset\toffset\tevent_label\tlabel_ids\tsource
{long}\t0.0\t5.0\tSpeech\t/m/09x0r\thome
{long}\t8.0\t9.9\tTalk\t/m/05zppz;/m/02zsn\thome
{short}\t0.1\t0.5\tSpeech\t/m/09x0r\thome
{short}\t1.0\t1.5\tTalk\t/m/05zppz;/m/02zsn\thome
{other}\t0.0\t9.0\tSpeech\t/m/09x0r\tstreet
{another}\t1.0\t10.0\tSpeech\t/m/09x0r\tstreet
unknown\t0.0\t0.5\tSpeech\t/m/09x0r\thome
"""


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """60 training clips, 40 test clips and the events of four of these by two sources."""
    root = tmp_path_factory.mktemp("audioset")
    write_features(root / "bal_train", released_clips(60, seed=0), per_file=30)
    test = released_clips(40, seed=1)
    write_features(root / "eval", test, per_file=20)
    long, short, other, another = (test[number][0] for number in (9, 4, 19, 29))
    (root / "strong.tsv").write_text(EVENTS.format(long=long, short=short, other=other, another=another))
    listed = [
        (long, "home"),
        (short, "home"),
        (test[8][0], "home"),
        (other, "street"),
        (another, "street"),
        ("unknown", "home"),
    ]
    (root / "strong_clips.tsv").write_text("video_id\tsource\n" + "".join(f"{a}\t{b}\n" for a, b in listed))
    return Places(root, strong=root)


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(
        base=TINY_HEAD,
        common={"short": {"passes": 1}, "long": {"passes": 2}},
        common_cells=("mean", "gmap"),
        trials={"slow": {"learning_rate": 1e-4}, "fast": {"learning_rate": 0.02}},
        systems={},
        valid_share=0.3,
        n_resamples=10,
        n_seeds_first=1,
        n_seeds=1,
    )


@pytest.fixture
def bench(tmp_path: Path, places: Places, protocol: Protocol) -> Bench:
    return Bench(tmp_path / "out", places, protocol)
