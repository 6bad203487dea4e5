"""Models on the Hugging Face Hub, with a Hub on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from earmark.errors import CheckpointError, ConfigError
from earmark.hub import loading
from earmark.hub.hugging_face import upload
from tests.hub_server import Hub


@pytest.fixture
def birds(hugging_face: Hub, exported: Path) -> Hub:
    """Hubs that have anna/birds, exported and as a checkpoint."""
    checkpoint = exported.with_suffix(".safetensors").read_bytes()
    hugging_face.add("anna/birds", model_onnx=exported.read_bytes(), model_safetensors=checkpoint)
    return hugging_face


def test_a_model_loads_by_its_address(birds: Hub) -> None:
    tagger = loading.load("hf://anna/birds")
    assert tagger.labels.names == ("dog", "rain", "siren")
    assert type(tagger.engine).__name__ == "OnnxEngine", "runs without PyTorch"
    assert type(loading.load("hf://anna/birds", engine="torch").engine).__name__ == "TorchEngine"
    assert loading.load_network(Path("hf://anna/birds")).labels == tagger.labels, "a Path keeps one slash of two"


def test_a_revision_and_a_file_are_found(birds: Hub, exported: Path) -> None:
    birds.add("anna/birds", "v/2", small_onnx=exported.read_bytes())
    assert loading.find_checkpoint("hf://anna/birds@v%2F2/small.onnx").read_bytes() == exported.read_bytes()


def test_without_a_network_the_cached_version_is_taken(birds: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    before = loading.find_checkpoint("hf://anna/birds")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert loading.find_checkpoint("hf://anna/birds") == before
    with pytest.raises(CheckpointError) as caught:
        loading.load_network("hf://anna/birds")
    message = str(caught.value)
    assert message.startswith("hf://anna/birds: the Hub cannot be reached (") and "\n" not in message
    assert "not in the cache" in message and "give the path of a copy" in message


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://", "hf://OWNER/NAME@REVISION or"),
        ("hf:/", "hf://OWNER/NAME@REVISION or"),
        ("hf:", "hf://OWNER/NAME@REVISION or"),
        ("hf:///anna/birds", "hf://OWNER/NAME@REVISION or"),
        ("hf://anna", "hf://OWNER/NAME@REVISION or"),
        ("hf://anna/birds/weights.pt", r"a \.safetensors or \.onnx file was expected; others may hold code"),
        ("hf://anna/birds/../../birds.onnx", "others may hold code"),
        ("hf://anna/none", "no such repository, or it is private"),
        ("hf://anna/birds@v9", "no such revision"),
        (
            "hf://anna/birds/other.onnx",
            r"other\.onnx was expected .*; it has model\.onnx, model\.safetensors: name one",
        ),
        ("hf://anna/notes", r"model\.onnx or model\.safetensors was expected .*; it has no model"),
    ],
)
def test_other_addresses_are_refused(birds: Hub, address: str, message: str) -> None:
    birds.add("anna/notes", README_md=b"")
    with pytest.raises(CheckpointError, match=message) as caught:
        loading.load(address)
    assert str(caught.value).startswith(address.partition("/..")[0])


def test_a_foreign_file_is_refused(hugging_face: Hub) -> None:
    hugging_face.add("anna/other", model_safetensors=b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"not a readable \.safetensors file"):
        loading.load("hf://anna/other")


def test_a_folder_is_uploaded(hugging_face: Hub, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "README.md").write_text("card")
    url = hugging_face.url + "/anna/new"
    assert upload(tmp_path / "files", "anna/new", private=True) == url
    assert upload(tmp_path / "files", "anna/new", revision="v2", private=True) == url
    assert hugging_face.files == {"anna/new": {"main": {"README.md": b"card"}, "v2": {"README.md": b"card"}}}
    assert hugging_face.private == {"anna/new": True}
    assert hugging_face.tokens == {"Bearer hf_made_up"}


def test_a_public_repository_is_not_taken_for_a_private_one(birds: Hub, tmp_path: Path) -> None:
    before = dict(birds.files["anna/birds"]["main"])
    with pytest.raises(ConfigError, match="anna/birds exists and is public"):
        upload(tmp_path, "anna/birds", private=True)
    assert birds.files["anna/birds"]["main"] == before


def test_failed_uploads_are_one_line(hugging_face: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="birds: the name of a repository, OWNER/NAME, was expected"):
        upload(tmp_path, "birds")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(CheckpointError, match=r"^anna/birds: cannot be uploaded \(.+\)$"):
        upload(tmp_path, "anna/birds")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="anna/birds: an upload needs a login: `hf auth login` or HF_TOKEN"):
        upload(tmp_path, "anna/birds")


def test_the_package_does_without_huggingface_hub() -> None:
    """The error of a missing package names it, and other models need it not."""
    code = """
import sys
sys.modules["huggingface_hub"] = None
from earmark import cli, hub
hub.find_checkpoint("earmark-esc50")
sys.exit(cli.main(["tag", "a.wav", "--model", "hf://anna/birds"]))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: huggingface_hub is not installed, which this command needs: pip install 'earmark[hub]'"
    ]
