"""Selection of clips by --split and --labels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.cli.selection import select
from earmark.data import open_data
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig


def test_all_clips_by_default(clips: Path) -> None:
    chosen = select(f"folder:{clips}")
    assert len(chosen) == 12
    assert chosen.splits == ("test", "train")


def test_splits_and_labels_select_clips_and_extend_the_name(clips: Path) -> None:
    chosen = select(f"folder:{clips}", "train,test", " siren , bell")
    assert len(chosen) == 8
    assert chosen.labels.names == ("bell", "siren")
    assert chosen.name == f"{select(f'folder:{clips}').name} (split train,test; labels  siren , bell)"
    assert len(select(f"folder:{clips}", "test")) == 3


def test_esc10_stands_for_ten_labels(clips: Path) -> None:
    with pytest.raises(DataError, match="unknown label 'dog'"):
        select(f"folder:{clips}", labels="esc10")


@pytest.mark.parametrize(
    ("splits", "labels", "message"), [(" ,", None, "split: expected names joined"), (None, "", "labels: ")]
)
def test_empty_selections_are_refused(clips: Path, splits: str | None, labels: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        select(f"folder:{clips}", splits, labels)


def test_names_of_labels_may_have_commas(tmp_path: Path) -> None:
    for label in ("Baby cry, infant cry", "Dog", "Waves, surf", "Waves", "rock,pop"):
        save_audio(tmp_path / label / "1.wav", Audio(np.full(16000, 0.1, np.float32), 16000))
    chosen = select(f"folder:{tmp_path}", labels="Baby cry, infant cry,Dog, Waves, surf")
    assert chosen.labels.names == ("Baby cry, infant cry", "Dog", "Waves, surf")
    assert select(f"folder:{tmp_path}", labels="Waves,Dog").labels.names == ("Dog", "Waves")
    assert select(f"folder:{tmp_path}", labels="rock,pop, Dog").labels.names == ("Dog", "rock,pop")
    with pytest.raises(DataError, match="unknown label 'surf'"):
        select(f"folder:{tmp_path}", labels="Dog,surf")
    save_audio(tmp_path / "surf" / "1.wav", Audio(np.full(16000, 0.1, np.float32), 16000))
    with pytest.raises(DataError, match="labels: 'Waves, surf' is ambiguous: Waves, surf are labels too; give ids"):
        select(f"folder:{tmp_path}", labels="Dog,Waves,surf")


def test_clips_in_no_split_are_warned_about(tmp_path: Path, clips: Path) -> None:
    wavs = sorted(clips.rglob("*.wav"))[:3]
    rows = [f"{wav},dog,{split}" for wav, split in zip(wavs, ("train", "", "test"), strict=True)]
    (tmp_path / "clips.csv").write_text("path,labels,split\n" + "\n".join(rows) + "\n")
    with pytest.warns(EarmarkWarning, match="skipped 1 clip in no split, such as"):
        assert len(select(f"csv:{tmp_path / 'clips.csv'}", "train,test")) == 2


@pytest.mark.parametrize("command", ["evaluate", "doctor", "train"])
def test_commands_split_joined_labels(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for k, label in enumerate(("dog", "rain", "dog|rain")):
        noise = np.random.default_rng(k).standard_normal(16000).astype(np.float32) / 10
        save_audio(tmp_path / "clips" / label / "1.wav", Audio(noise, 16000))
    data, out = f"folder:{tmp_path / 'clips'}", tmp_path / "out"
    config = ["--config", "small", "--width", "2", "--n-clips-seen", "2", "--batch-size", "2", "--n-workers", "0"]
    words = {
        "evaluate": ["evaluate", str(tmp_path / "m.safetensors"), data],
        "doctor": ["doctor", data, "--out", str(out), "--min-clips", "0"],
        "train": ["train", data, "--out", str(out), *config],
    }[command]
    torch.manual_seed(0)
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(("dog", "rain"))).save(
        tmp_path / "m.safetensors"
    )
    assert cli.main([*words, "--label-separator", "|"]) == 0
    assert "may be several labels" not in capfd.readouterr().err
    if command == "doctor":
        assert open_data(f"clips:{out / 'clean.txt'}").labels.names == ("dog", "rain")
    elif command == "train":
        assert Network.load(out / "last.safetensors").labels.names == ("dog", "rain")
        assert json.loads((out / "run.json").read_text())["request"]["label_separator"] == "|"
    else:
        assert cli.main(words) == 1
        assert (
            "may be several labels joined by '|'; if so, split them (--label-separator '|')" in capfd.readouterr().err
        )
