"""`earmark calibrate`."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark import cli, hub
from earmark.audio.recording import Audio, save_audio
from earmark.data import Dataset, open_data
from earmark.evaluation.calibration import SHRINKAGE
from earmark.model.network import Network

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def noises(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of noises with and without splits, labelled in part by the random network's scores."""
    folder = tmp_path_factory.mktemp("noises")
    rng = np.random.default_rng(0)
    tagger = hub.load(model)
    scores = np.zeros((40, 3))
    for i, row in enumerate(scores):
        noise = np.convolve(rng.standard_normal(8000), np.ones(rng.integers(1, 30)), "same")
        save_audio(folder / f"{i}.wav", Audio((0.02 * noise).astype(np.float32), 16000))
        tags = tagger.tag(folder / f"{i}.wav", top=3)
        row[:] = [next(tag.score for tag in tags if tag.label == name) for name in tagger.labels]
    target = (scores - scores.mean()) / scores.std() + rng.standard_normal(scores.shape) > 0
    labels = [";".join(tagger.labels.decode(row)) for row in target]
    lines = [f'{i}.wav,"{row}"' for i, row in enumerate(labels)]
    (folder / "plain.csv").write_text("\n".join(["path,labels", *lines[:20]]))
    lines = [f'{i}.wav,"{row}",{"valid" if i < 30 else "test"}' for i, row in enumerate(labels)]
    (folder / "split.csv").write_text("\n".join(["path,labels,split", *lines]))
    return folder


def words(model: str, noises: Path, out: Path, *more: str) -> list[str]:
    data = [f"csv:{noises}/split.csv", f"csv:{noises}/plain.csv"]
    return ["calibrate", model, *data, "--out", str(out), *more]


def test_calibrate_writes_a_checkpoint_and_prints_a_summary(
    model: str, noises: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "new" / "calibrated.safetensors"
    before = Path(model).read_bytes()
    assert cli.main(words(model, noises, out, "--split", "valid", "--json")) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert captured.err == "note: 1 clip without labels: all labels count as absent there\n"
    assert (summary["model"], summary["out"]) == (model, str(out))
    assert [(clips["name"], clips["n_clips"]) for clips in summary["data"]] == [
        ("split.csv (split valid)", 30),
        ("plain.csv", 20),
    ]
    network = Network.load(out)
    assert network.thresholds == tuple(row["threshold"] for row in summary["labels"])
    assert network.extra["calibration"]["scale"] == summary["scale"]
    assert network.extra["calibration"]["shrinkage"] == SHRINKAGE
    assert cli.main(["calibrate", "--help"]) == 0
    assert f"{SHRINKAGE:g} by default" in " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert summary["after"]["cross_entropy"] < summary["before"]["cross_entropy"]
    assert Path(model).read_bytes() == before


def test_calibrate_prints_a_table(model: str, noises: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "c.safetensors"
    assert cli.main(words(model, noises, out, "--shrinkage", "1e9", "--quiet")) == 0
    captured = capfd.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["before", "after"]
    assert [line[:13] for line in lines[1:5]] == ["expected cali", "cross entropy", "F1, mean over", "F1, all tags "]
    assert "on 40 + 20 clips" in captured.out
    found = re.search(r"thresholds from (\S+) to (\S+) .0.5 before.; pooled: (\S+)", captured.out)
    assert found is not None and len({*found.groups()}) == 1
    assert "have no clips" not in captured.out and lines[-1] == str(out)
    assert captured.err == ""
    assert cli.main(["calibrate", model, "--like", model, "--shrinkage", "1", "--out", str(out)]) == 2
    assert "--shrinkage applies to thresholds fitted to DATA; leave it out with --like" in capfd.readouterr().err


def test_labels_without_clips_are_counted(model: str, noises: Path, tmp_path: Path, capfd: Capture) -> None:
    rows = (noises / "plain.csv").read_text().splitlines()
    lost = hub.load(model).labels.names[0]
    kept = [row.replace(f"{lost};", "").replace(f";{lost}", "").replace(lost, "") for row in rows]
    (noises / "two.csv").write_text("\n".join(kept))
    assert cli.main(["calibrate", model, f"csv:{noises}/two.csv", "--out", str(tmp_path / "c.safetensors"), "-q"]) == 0
    assert "1 of 3 labels have no clips and get the pooled threshold" in capfd.readouterr().out


def test_unreadable_clips_are_reported(model: str, noises: Path, tmp_path: Path, capfd: Capture) -> None:
    cut = noises / "cut.wav"
    cut.write_bytes((noises / "0.wav").read_bytes()[:1000])
    table = noises / "cut.csv"
    table.write_text((noises / "plain.csv").read_text() + "\ncut.wav,dog\n")
    assert cli.main(["calibrate", model, f"csv:{table}", "--out", str(tmp_path / "c.safetensors")]) == 0
    shown = capfd.readouterr().err
    assert shown.startswith("left out: 1 unreadable clip; ") and "cut.wav" in shown


@pytest.mark.parametrize(
    ("out", "more", "status", "message"),
    [
        ("c.pt", (), 2, "expected a .safetensors file, got"),
        ("folder.safetensors", (), 2, "expected a .safetensors file, got"),
        ("c.safetensors", ("--shrinkage", "-1"), 2, "Expected at least 0, got -1"),
        ("c.safetensors", ("--split", "train"), 1, "no split train; the splits are test, valid"),
    ],
)
def test_refused_commands_write_nothing(
    out: str, more: tuple[str, ...], status: int, message: str, model: str, noises: Path, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    assert cli.main(words(model, noises, tmp_path / out, *more)) == status
    captured = capfd.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_the_model_is_never_overwritten(model: str, noises: Path, capfd: Capture) -> None:
    before = Path(model).read_bytes()
    assert cli.main(words(model, noises, Path(model).parent / ".." / Path(model).parent.name / "best.safetensors")) == 2
    assert "itself, which would be lost; give another name" in capfd.readouterr().err
    assert Path(model).read_bytes() == before


def test_the_calibrated_checkpoint_of_like_is_never_overwritten(model: str, tmp_path: Path, capfd: Capture) -> None:
    calibrated = tmp_path / "calibrated.safetensors"
    calibrated.write_bytes(Path(model).read_bytes())
    assert cli.main(["calibrate", model, "--like", str(calibrated), "--out", str(calibrated)]) == 2
    assert "itself, which would be lost" in capfd.readouterr().err


def test_split_without_splits_in_the_data_is_an_error(model: str, noises: Path, tmp_path: Path, capfd: Capture) -> None:
    data = f"csv:{noises}/plain.csv"
    assert cli.main(["calibrate", model, data, "--out", str(tmp_path / "c.safetensors"), "--split", "valid"]) == 1
    assert f"none of {data} has splits; leave it out" in capfd.readouterr().err


def test_like_copies_a_calibration(model: str, noises: Path, tmp_path: Path, capfd: Capture) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert cli.main(words(model, noises, first)) == 0
    capfd.readouterr()
    assert cli.main(["calibrate", model, "--like", str(first), "--out", str(second)]) == 0
    assert capfd.readouterr().out == f"{second}\n"
    assert Network.load(second).thresholds == Network.load(first).thresholds
    assert cli.main(["calibrate", model, "--out", str(second)]) == 2
    assert cli.main(words(model, noises, second, "--like", str(first))) == 2
    assert cli.main(["calibrate", model, "--like", model, "--out", str(second)]) == 1
    shown = capfd.readouterr().err.splitlines()
    assert "expected either DATA to calibrate on, or --like" in shown[0] and shown[0] == shown[1]
    assert "run `earmark calibrate` on it first" in shown[2]


def test_each_data_set_is_opened_once(
    model: str, noises: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    opened: list[str] = []

    def counted(spec: str, *words: Any, **options: Any) -> Dataset:
        opened.append(spec)
        return open_data(spec, *words, **options)

    for module in ("calibrate", "selection"):
        monkeypatch.setattr(f"earmark.cli.{module}.open_data", counted)
    assert cli.main(words(model, noises, tmp_path / "new.safetensors", "--split", "valid", "--quiet")) == 0
    assert opened == [f"csv:{noises}/split.csv", f"csv:{noises}/plain.csv"]
