"""`earmark push`."""

import json
from pathlib import Path

import pytest

from earmark import cli
from tests.hub_server import Hub

Capture = pytest.CaptureFixture[str]


def test_a_pushed_model_tags(hugging_face: Hub, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"mAP": 0.9, "data": "ESC-50", "n_clips": 10}))
    words = ["push", "earmark-esc50", "anna/sounds", "--private", "--report", str(report), "--json", "--quiet"]
    assert cli.main(words) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out) == {
        "model": "earmark-esc50",
        "repository": "anna/sounds",
        "files": ["README.md", "model.safetensors"],
        "place": f"{hugging_face.url}/anna/sounds",
    }
    assert hugging_face.private["anna/sounds"] and 'license: "cc-by-nc-3.0"' in hugging_face.metadata["content"]
    assert "| mAP | 0.9000 |" in hugging_face.metadata["content"]
    assert cli.main(["tag", str(recordings / "a.wav"), "--model", "hf://anna/sounds", "--json", "--quiet"]) == 0
    assert len(json.loads(capfd.readouterr().out)["tags"]) == 5


def test_out_writes_the_files_and_uploads_nothing(hugging_face: Hub, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "files"
    assert cli.main(["push", "earmark-esc50", "anna/sounds", "--license", "mit", "--out", str(out)]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{out}\n" and captured.err == "README.md, model.safetensors: 6.3 MB\n"
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.safetensors"]
    assert hugging_face.files == {} and 'license: "mit"' in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["a.onnx", "anna/a", "--onnx"], 2, "--onnx exports a checkpoint, and MODEL is an exported file already"),
        (["earmark-esc50", "anna/a", "--out", "OUT", "--private"], 2, "--private and --revision are for uploads"),
        (["gone.safetensors", "anna/a", "--out", "OUT"], 1, "gone.safetensors: no such file"),
        (["unicorn", "anna/a", "--out", "OUT"], 1, "unknown model 'unicorn'; this version has"),
        (["mine.onnx", "anna/a", "--out", "OUT"], 1, "--licence: the licence of the weights was expected"),
        (["earmark-esc50", "a", "--out", "OUT"], 1, "a: the name of a repository, OWNER/NAME, was expected"),
        (["earmark-esc50", "anna/a", "--out", "OUT", "--report", "notes.txt"], 1, "notes.txt: report.json of"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no JSON")
    Path("mine.onnx").touch()
    assert cli.main(["push", *words]) == status
    captured = capfd.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and message in captured.err
    assert not Path("OUT").exists()
