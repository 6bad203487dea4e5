"""A model as a folder for the Hub."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from earmark import hub
from earmark.errors import ConfigError, DataError
from earmark.export.repository import write_repository


def test_a_checkpoint_is_written_with_its_card_and_exported_on_request(
    exported: Path, tmp_path: Path, write_once: Callable[[str, Callable[[Path], object]], Path]
) -> None:
    from tests.networks import graphs_made_once

    folder, model = tmp_path / "files", str(exported.with_suffix(".safetensors"))
    with graphs_made_once(write_once):
        names = write_repository(model, folder, "anna/birds", licence="mit", onnx=True)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "model.safetensors", "model.onnx"]
    assert hub.load_network(folder / "model.safetensors").labels == hub.load(folder / "model.onnx").labels
    assert "'earmark[hub]'" in (folder / "README.md").read_text()

    # again without the export: its file goes
    assert write_repository(model, folder, "anna/birds", licence="mit") == ["README.md", "model.safetensors"]
    assert {path.name for path in folder.iterdir()} == {"README.md", "model.safetensors"}
    assert "'earmark[hub,train]'" in (folder / "README.md").read_text()


def test_an_exported_network_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "tagger.onnx"
    shutil.copyfile(hub.find_checkpoint("earmark-esc50"), source)
    assert write_repository(str(source), tmp_path / "files", "anna/birds", licence="mit") == ["README.md", "model.onnx"]
    assert (tmp_path / "files" / "model.onnx").read_bytes() == source.read_bytes()
    assert "| backbone | cnn |" in (tmp_path / "files" / "README.md").read_text()


def test_a_published_model_becomes_a_checkpoint_without_code(published_models: Path, tmp_path: Path) -> None:
    folder, model = tmp_path / "files", str(published_models / "mn04_as_mAP_432.pt")
    assert write_repository(model, folder, "anna/mn04", licence="mit") == ["README.md", "model.safetensors"]
    text = (folder / "README.md").read_text()
    assert "| labels | 527 |" in text and "| origin | EfficientAT mn04 (Schmid et al., 2023) |" in text
    assert hub.load(folder / "model.safetensors").labels == hub.load(model).labels


def test_other_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"a new folder was expected, or one with README\.md"):
        write_repository("earmark-esc50", tmp_path, "anna/birds")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="OWNER/NAME, was expected"):
        write_repository("earmark-esc50", tmp_path / "new", "birds")
    with pytest.raises(DataError, match="another file"):
        write_repository("earmark-esc50", tmp_path / "new", "anna/birds", report={"mAP": 0.5})
    assert not (tmp_path / "new").exists()
