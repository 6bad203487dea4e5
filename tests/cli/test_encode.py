import json
from pathlib import Path

import pytest

from earmark.cli import main

Capture = pytest.CaptureFixture[str]


def test_encode_train_and_evaluate(clips: Path, model: str, tmp_path: Path, capfd: Capture) -> None:
    words = ["encode", f"folder:{clips}", "--model", model, "--out", str(tmp_path / "store")]
    assert main([*words, "--json", "--clips-per-shard", "5"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["data"] == f"segments:{tmp_path / 'store'}" and summary["skipped"] == []
    assert summary["n_clips"] == 12 and summary["n_segments"] == 36
    assert summary["encoder"]["name"] == "best.safetensors" and summary["n_bytes"] > 36 * 16 * 2
    assert main([*words, "--clips-per-shard", "5"]) == 0
    shown = capfd.readouterr()
    assert shown.out == f"segments:{tmp_path / 'store'}\n" and "12 clips, 36 segments of 0.4 s with 16" in shown.err

    store, run = f"segments:{tmp_path / 'store'}", str(tmp_path / "run")
    settings = ["--pooling", "mean", "--n-clips-seen", "32", "--batch-size", "8", "--device", "cpu"]
    assert main(["train", store, "--out", run, *settings, "--quiet"]) == 0
    assert main(["evaluate", f"{run}/last.safetensors", store, "--json", "--quiet"]) == 0
    encoded = json.loads(capfd.readouterr().out.split("\n", 1)[1])
    assert main(["evaluate", f"{run}/last.safetensors", f"folder:{clips}", "--json", "--quiet"]) == 0
    assert json.loads(capfd.readouterr().out)["mAP"] == pytest.approx(encoded["mAP"], abs=0.01)


def test_encode_reports_what_it_leaves_out(clips: Path, model: str, tmp_path: Path, capfd: Capture) -> None:
    folder = tmp_path / "clips" / "bell"
    folder.mkdir(parents=True)
    (folder / "a.wav").write_bytes(next(clips.rglob("bell/*.wav")).read_bytes())
    (folder / "b.wav").write_bytes(b"nothing")
    words = ["encode", f"folder:{tmp_path / 'clips'}", "--model", model, "--out", str(tmp_path / "store")]
    assert main(words) == 1
    assert ": 1 clip cannot be read" in capfd.readouterr().err
    assert main([*words, "--skip-bad"]) == 0
    assert "left out 1 unreadable clip," in capfd.readouterr().err
