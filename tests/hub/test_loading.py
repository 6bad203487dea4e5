"""Loading of models by name and by path."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from earmark.audio.recording import Audio
from earmark.errors import CheckpointError, ConfigError
from earmark.hub import loading as hub
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.storage.cache_folder import PublishedFile

LABELS = LabelSet(("dog", "rain"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "best.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return path


def test_a_checkpoint_loads_as_a_tagger(checkpoint: Path) -> None:
    for path in (checkpoint, str(checkpoint)):
        tagger = hub.load(path)
        assert tagger.labels == LABELS
        assert tagger.sample_rate == 16000


def test_a_checkpoint_loads_as_a_network(checkpoint: Path) -> None:
    network = hub.load_network(checkpoint)
    assert not network.training
    assert network.labels == LABELS


def test_the_shipped_model_keeps_its_scores() -> None:
    """Fails if the checkpoint or the inference changes; then measure the model's published figures again."""
    golden = Path(__file__).parents[1] / "golden"
    kept = json.loads((golden / "earmark-esc50.json").read_text())
    tagger = hub.load("earmark-esc50")
    for name, waveform in runpy.run_path(str(golden / "make_earmark_esc50.py"))["sounds"]().items():
        tags = tagger.tag(Audio(waveform, 16000), top=50)
        scores = {tag.label: tag.score for tag in tags}
        assert scores == pytest.approx(kept[name], abs=2e-4), name


def test_the_shipped_model_has_the_labels_of_esc50_and_a_card() -> None:
    network = hub.load_network("earmark-esc50")
    assert network.labels == LabelSet.esc50()
    assert network.config.pooling == "gmap"
    assert network.thresholds is not None and len(network.thresholds) == 50
    folder = Path(hub.__file__).parent
    assert (folder / "earmark-esc50.safetensors").stat().st_size <= 16e6
    assert "CC BY-NC" in (folder / "MODEL_CARD.md").read_text()


def test_the_error_about_an_unknown_name_lists_the_models() -> None:
    with pytest.raises(
        CheckpointError,
        match=r"unknown model 'yamnet'; this version has earmark-esc50, panns-cnn10, cnn14, .*mn40; .*\.safetensors",
    ):
        hub.load("yamnet")


def test_the_advice_names_files_that_the_engine_reads() -> None:
    with pytest.raises(CheckpointError, match=r"give the path of an \.onnx file, .*; `earmark export MODEL OUT\.onnx`"):
        hub.load("yamnet", engine="onnx")
    with pytest.raises(
        CheckpointError, match=r"give the path of a \.safetensors checkpoint, or hf://.*`earmark train "
    ):
        hub.load("yamnet", engine="torch")


def test_a_published_model_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(published: PublishedFile) -> Path:
        assert published.url.startswith("https://zenodo.org/record/3987831/files/Cnn10_")
        return tmp_path / published.name

    monkeypatch.setattr("earmark.storage.download.fetch", fetch)
    assert hub.find_checkpoint("panns-cnn10") == tmp_path / "Cnn10_mAP=0.380.pth"
    with pytest.raises(CheckpointError, match=r"0\.380\.pth: no such file; expected a state dict of PANNs"):
        hub.load("panns-cnn10")


def test_a_published_model_is_refused_by_onnx_runtime_before_its_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.storage.download.fetch", lambda file: pytest.fail("downloaded"))
    with pytest.raises(ConfigError, match=r"engine: cnn14: ONNX Runtime needs an \.onnx file; `earmark export cnn14"):
        hub.load("cnn14", engine="onnx")


def test_the_error_about_a_folder_names_its_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"got a folder; did you mean {checkpoint}\?"):
        hub.load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="it holds no checkpoints"):
        hub.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.onnx", "gone.pth", "runs/gone"])
def test_a_missing_file_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        hub.load(name)


def test_an_exported_network_loads_as_a_tagger(exported: Path) -> None:
    tagger = hub.load(exported)
    assert tagger.labels.names == ("dog", "rain", "siren")
    assert tagger.sample_rate == 16000
    assert type(tagger.engine).__name__ == "OnnxEngine"


def test_an_exported_network_does_not_load_as_a_network(exported: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tagger\.onnx: expected a \.safetensors checkpoint; .* only tags"):
        hub.load_network(exported)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a network")
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        hub.load(path)


def test_a_misspelt_name_fails_without_importing_pytorch() -> None:
    code = """
import sys, earmark
try:
    earmark.load("earmark-esc5")
except earmark.CheckpointError:
    sys.exit("torch" in sys.modules)
sys.exit("no error")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_installed_package_says_where_its_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has no .safetensors."""
    monkeypatch.setattr("earmark.hub.loading.__file__", str(tmp_path / "loading.py"))
    (tmp_path / "earmark-esc50.onnx").touch()
    assert hub.find_checkpoint("earmark-esc50").suffix == ".onnx"
    for load in (
        hub.load_network,
        lambda name: hub.load(name, precision="bf16"),
        lambda name: hub.load(name, engine="torch"),
    ):
        with pytest.raises(
            CheckpointError, match=r"not in the installed package.* src/earmark/hub/earmark-esc50\.safet"
        ):
            load("earmark-esc50")


def test_pytorch_is_chosen_where_onnx_runtime_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    name = "earmark-esc50"
    assert [hub.choose_engine(name, device=device) for device in ("auto", "cpu", "cuda")] == ["auto", "auto", "torch"]
    assert hub.choose_engine(name, "bf16") == "torch"
    assert hub.choose_engine(name, engine="onnx", device="cuda") == "onnx"
    assert hub.choose_engine("tagger.onnx", "bf16", device="cuda") == "auto", "it runs nowhere else"
    with pytest.raises(ConfigError, match="not 'tpu'"):
        hub.choose_engine(name, device="tpu")


def test_a_device_that_is_not_there_is_refused_by_both_engines(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for model in (checkpoint, "earmark-esc50"):  # the second in PyTorch, since ONNX Runtime has no such device
        with pytest.raises(ConfigError, match="device: cuda was requested, but PyTorch finds 0 CUDA devices"):
            hub.load(model, device="cuda")
    (tmp_path / "exported.onnx").write_bytes(hub.find_checkpoint("earmark-esc50").read_bytes())
    for model, options in ((tmp_path / "exported.onnx", {}), ("earmark-esc50", {"engine": "onnx"})):
        with pytest.raises(ConfigError, match="device: cuda was requested, but ONNX Runtime has CPUExecutionProvider"):
            hub.load(model, device="cuda", **options)
    with pytest.raises(ConfigError, match=r"device: auto, cpu, cuda, .* was expected, not 'tpu'"):
        hub.load(checkpoint, device="tpu")
    assert type(hub.load("earmark-esc50", device="cpu").engine).__name__ == "OnnxEngine"
    assert hub.load(checkpoint, device="cpu").engine.batch_size == 1
