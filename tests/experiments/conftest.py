"""A bank with folds on disk, and a profile that takes seconds."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data.synthetic import synthetic_bank
from earmark.training import TrainConfig
from experiments.table1.plan import make_plan
from experiments.table1.profiles import Profile

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
