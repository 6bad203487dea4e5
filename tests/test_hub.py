"""What a name or a path leads to."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from earmark import hub
from earmark.errors import CheckpointError
from earmark.frontend import FrontendConfig
from earmark.labels import LabelSet
from earmark.network import Network, NetworkConfig

LABELS = LabelSet(("dog", "rain"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "best.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return path


def test_a_path_is_a_tagger(checkpoint: Path) -> None:
    for path in (checkpoint, str(checkpoint)):
        tagger = hub.load(path)
        assert tagger.labels == LABELS
        assert tagger.sample_rate == 16000


def test_the_network_itself(checkpoint: Path) -> None:
    network = hub.load_network(checkpoint)
    assert not network.training
    assert network.labels == LABELS


def test_a_model_that_is_not_shipped_yet_says_so_and_how_to_train_one() -> None:
    with pytest.raises(CheckpointError, match=r"'earmark-esc50' is not shipped .* yet; .*earmark train esc50:ESC-50"):
        hub.load("earmark-esc50")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CheckpointError, match=r"no model called 'yamnet' \(earmark-esc50 and panns-cnn10 come with"):
        hub.load("yamnet")


def test_a_folder_is_answered_with_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"this is a folder; did you mean {checkpoint}\?"):
        hub.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="a folder without checkpoints in it"):
        hub.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["gone.safetensors", "runs/gone"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        hub.load(name)


@pytest.mark.parametrize(("name", "what"), [("net.onnx", "exported graphs"), ("net.pth", "published PANNs weights")])
def test_formats_of_later_versions(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=f"this version of earmark reads no {what} yet"):
        hub.load(tmp_path / name)


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a network")
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        hub.load(path)


def test_a_misspelt_name_does_not_wait_for_pytorch() -> None:
    code = """
import sys, earmark
try:
    earmark.load("earmark-esc5")
except earmark.CheckpointError:
    sys.exit("torch" in sys.modules)
sys.exit("no error")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
