"""What a name or a path leads to."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from earmark.audio.recording import Audio
from earmark.errors import CheckpointError
from earmark.hub import loading as hub
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.storage.download import PublishedFile

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


def test_the_shipped_model_is_the_one_that_was_measured() -> None:
    """Fails when the checkpoint or what runs it changes; then the model's figures are to be measured anew as well."""
    golden = Path(__file__).parents[1] / "golden"
    kept = json.loads((golden / "earmark-esc50.json").read_text())
    tagger = hub.load("earmark-esc50")
    for name, waveform in runpy.run_path(str(golden / "make_earmark_esc50.py"))["sounds"]().items():
        tags = tagger.tag(Audio(waveform, 16000), top=50)
        scores = {tag.label: tag.score for tag in tags}
        assert scores == pytest.approx(kept[name], abs=2e-4), name


def test_the_shipped_model_knows_the_fifty_sounds_and_has_a_card() -> None:
    network = hub.load_network("earmark-esc50")
    assert network.labels == LabelSet.esc50()
    assert network.config.pooling == "gmap"
    assert network.thresholds is not None and len(network.thresholds) == 50
    folder = Path(hub.__file__).parent
    assert (folder / "earmark-esc50.safetensors").stat().st_size <= 16e6
    assert "CC BY-NC" in (folder / "MODEL_CARD.md").read_text()


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(
        CheckpointError, match=r"no model called 'yamnet'; this version has earmark-esc50, panns-cnn10; .*\.safetensors"
    ):
        hub.load("yamnet")


def test_a_published_model_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(published: PublishedFile) -> Path:
        assert published.url.startswith("https://zenodo.org/record/3987831/files/Cnn10_")
        return tmp_path / published.name

    monkeypatch.setattr("earmark.storage.download.fetch", fetch)
    assert hub.find_checkpoint("panns-cnn10") == tmp_path / "Cnn10_mAP=0.380.pth"
    with pytest.raises(CheckpointError, match=r"0\.380\.pth: no such file; the Cnn10 weights of PANNs were expected"):
        hub.load("panns-cnn10")


def test_a_folder_is_answered_with_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"this is a folder; did you mean {checkpoint}\?"):
        hub.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="a folder without checkpoints in it"):
        hub.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.onnx", "gone.pth", "runs/gone"])
def test_a_path_that_is_not_there(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        hub.load(name)


def test_an_exported_network_is_a_tagger(exported: Path) -> None:
    tagger = hub.load(exported)
    assert tagger.labels.names == ("dog", "rain", "siren")
    assert tagger.sample_rate == 16000
    assert type(tagger.engine).__name__ == "OnnxEngine"


def test_an_exported_network_is_no_network_to_train(exported: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"tagger\.onnx: .* only tags, .* a \.safetensors checkpoint was expected"
    ):
        hub.load_network(exported)


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
