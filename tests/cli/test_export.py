"""`earmark export`."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from earmark import cli
from earmark.inference.onnx_engine import OnnxEngine

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def model(exported: Path, write_once: Callable[[str, Callable[[Path], object]], Path]) -> Iterator[str]:
    """A checkpoint whose graphs are made once for all tests."""
    from tests.networks import graphs_made_once

    with graphs_made_once(write_once):
        yield str(exported.with_suffix(".safetensors"))


def test_export_writes_a_file_and_prints_a_summary(model: str, tmp_path: Path, capfd: Capture) -> None:
    before, out = Path(model).read_bytes(), tmp_path / "new" / "tagger.onnx"
    assert cli.main(["export", model, str(out)]) == 0
    captured = capfd.readouterr()
    precision, size, parity, _, name = captured.out.splitlines()
    assert precision.split() == ["precision", "float32"]
    assert size.split() == ["size", f"{out.stat().st_size / 1e6:.1f}", "MB"]
    assert parity.startswith("parity") and "scores differ by" in parity
    assert name == str(out)
    assert captured.err == ""
    assert OnnxEngine(out).precision == "float32"
    assert Path(model).read_bytes() == before and [path.name for path in out.parent.iterdir()] == ["tagger.onnx"]


def test_int8_prints_json(model: str, clips: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "small.onnx"
    # a source, and a folder of recordings that need no labels
    words = ["export", model, str(out), "--int8", "--calibrate", f"folder:{clips}", str(clips)]
    assert cli.main([*words, "--n-clips", "2", "--split", "train", "--json", "--quiet"]) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert captured.err == ""
    assert 0 < summary.pop("difference") < 0.2
    assert summary == {"model": model, "out": str(out), "n_bytes": out.stat().st_size, "precision": "int8"}
    assert OnnxEngine(out).precision == "int8"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["OUT.pt"], 2, "OUT: expected a file that ends in .onnx, got"),
        (["folder.onnx"], 2, "OUT: expected a file that ends in .onnx, got"),
        (["a.onnx", "--int8"], 2, "--int8 needs --calibrate DATA"),
        (["a.onnx", "--calibrate", "folder:clips"], 2, "--calibrate is only for --int8"),
        (["a.onnx", "--split", "train"], 2, "--split selects clips of --calibrate DATA"),
        (["a.onnx", "--int8", "--calibrate", "folder:nowhere"], 1, "nowhere"),
        (["a.onnx", "--int8", "--calibrate", "nonsense"], 1, "say what kind of data it is"),
    ],
)
def test_refused_commands_write_nothing(
    words: list[str], status: int, message: str, model: str, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert cli.main(["export", model, str(tmp_path / words[0]), *words[1:]]) == status
    captured = capfd.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


def test_an_exported_model_tags_like_its_checkpoint_without_pytorch(
    exported: Path, recordings: Path, capfd: Capture
) -> None:
    words = ["tag", str(recordings / "a.wav"), str(recordings / "c.flac"), "--top", "3", "--json", "--quiet", "--model"]
    assert cli.main([*words, str(exported.with_suffix(".safetensors"))]) == 0
    expected = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    code = "import sys; from earmark import cli; cli.main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code, *words, str(exported)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    for line, row in zip(result.stdout.splitlines(), expected, strict=True):
        tags = {tag["label"]: tag["score"] for tag in json.loads(line)["tags"]}
        assert tags == pytest.approx({tag["label"]: tag["score"] for tag in row["tags"]}, abs=1e-4)


def test_an_exported_model_cannot_be_exported_again(exported: Path, tmp_path: Path, capfd: Capture) -> None:
    assert cli.main(["export", str(exported), str(tmp_path / "a.onnx")]) == 1
    assert "expected a .safetensors checkpoint" in capfd.readouterr().err


def test_the_model_is_never_overwritten(exported: Path, capfd: Capture) -> None:
    before = exported.read_bytes()
    assert cli.main(["export", str(exported), str(exported.parent / ".." / exported.parent.name / exported.name)]) == 2
    assert "itself, which would be lost; give another name" in capfd.readouterr().err
    assert exported.read_bytes() == before


def test_unreadable_clips_are_reported(model: str, clips: Path, tmp_path: Path, capfd: Capture) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(next(clips.rglob("*.wav")).read_bytes()[:1000])
    (tmp_path / "clips.csv").write_text("path,labels\ncut.wav,dog\n")
    words = ["export", model, str(tmp_path / "a.onnx"), "--int8", "--calibrate", f"csv:{tmp_path}/clips.csv"]
    assert cli.main(words) == 1
    skipped, error = capfd.readouterr().err.splitlines()
    assert skipped.startswith("skipped for calibration: ") and "cut.wav" in skipped
    assert error.startswith("error: ") and "got none" in error


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_reported_in_one_line(package: str, exported: Path, tmp_path: Path) -> None:
    words = ["export", str(exported.with_suffix(".safetensors")), str(tmp_path / "a.onnx")]
    code = f"import sys; sys.modules[{package!r}] = None\nfrom earmark import cli; sys.exit(cli.main({words!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    expected = f"error: {package} is not installed, which this command needs: pip install 'earmark[export]'\n"
    assert result.stderr == expected
