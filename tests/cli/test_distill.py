"""`earmark distill`."""

import json
from pathlib import Path

import pytest

from earmark import cli
from earmark.model.network import Network

Capture = pytest.CaptureFixture[str]

SMALL = ["--width", "2", "--n-heads", "2", "--sample-rate", "16000", "--n-workers", "0", "--device", "cpu", "-q"]
SHORT = ["--n-clips-seen", "4", "--batch-size", "2", "--clip-duration", "1"]


def test_a_student_learns_on_clips_of_other_labels(clips: Path, model: str, tmp_path: Path, capfd: Capture) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    words = ["distill", model, f"folder:{clips}", "--split", "train", "--valid-split", "test", "--out", str(run)]
    assert cli.main([*words, *SMALL, *SHORT, "--threshold", "0.1", "--json"]) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert captured.err == "" and summary["best"] == str(run / "best.safetensors")
    assert summary["agreement"] == json.loads((run / "agreement.json").read_text())
    assert 0 <= summary["agreement"]["mean_absolute_difference"] < 1 and summary["agreement"]["n_clips"] > 0
    labels = Network.load(model).labels
    assert [row["label"] for row in summary["agreement"]["labels"]] == list(labels.names)
    assert Network.load(run / "best.safetensors").labels == labels
    record = json.loads((run / "run.json").read_text())
    assert record["request"].items() >= {"teacher": model, "label_weight": 0.0, "valid_split": "test"}.items()

    assert cli.main(["distill", "--config", str(run / "run.json"), "--out", str(again), "-q"]) == 0
    assert "agreement on" in capfd.readouterr().out
    assert (again / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()
    assert cli.main(["distill", "--resume", "--out", str(run), "-q"]) == 0, "a finished run is its result"
    capfd.readouterr()
    assert cli.main(["train", "--config", str(run / "run.json"), "--out", str(tmp_path / "other"), "-q"]) == 2
    assert "`earmark distill --config` takes them" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ([], 2, "TEACHER or DATA is missing"),
        (["--resume"], 1, "no run to resume there"),
        (["MODEL,unknown", "folder:CLIPS"], 1, "unknown model 'unknown'"),
        (["MODEL", "folder:CLIPS", "--label-weight", "2"], 2, "from 0 to 1"),
        (["MODEL", "folder:CLIPS", "--label-weight", "0.5"], 1, "the teacher (3 labels) lacks"),
    ],
)
def test_errors_are_one_line(
    words: list[str], status: int, text: str, clips: Path, model: str, tmp_path: Path, capfd: Capture
) -> None:
    filled = [word.replace("MODEL", model).replace("CLIPS", str(clips)) for word in words]
    assert cli.main(["distill", *filled, "--out", str(tmp_path / "run"), *SMALL, *SHORT]) == status
    error = capfd.readouterr().err
    assert text in error and len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("has_data", [True, False])
def test_the_settings_of_a_training_are_taken(
    has_data: bool, clips: Path, model: str, tmp_path: Path, capfd: Capture
) -> None:
    trained, run = tmp_path / "trained", tmp_path / "run"
    assert cli.main(["train", f"folder:{clips}", "--split", "train", "--out", str(trained), *SMALL, *SHORT]) == 0
    record = json.loads((trained / "run.json").read_text())
    request = {**record["request"], **({"labels": "bell"} if has_data else {})}
    (trained / "run.json").write_text(json.dumps({**record, "request": request}))
    words = ["--teacher", model, *([f"--data=folder:{clips}"] if has_data else []), "--out", str(run), "-q"]
    assert cli.main(["distill", *words, "--config", str(trained / "run.json")]) == 0, capfd.readouterr().err
    made = json.loads((run / "run.json").read_text())
    assert made["config"] == record["config"]
    assert made["request"]["split"] == (None if has_data else "train")


def test_a_plain_folder_of_recordings_is_enough(clips: Path, model: str, tmp_path: Path, capfd: Capture) -> None:
    run = tmp_path / "run"
    words = ["distill", model, str(clips / "train" / "bell"), "--valid", str(clips / "test"), "--out", str(run)]
    assert cli.main([*words, *SMALL, *SHORT]) == 0
    assert capfd.readouterr().out.startswith(f"{run / 'best.safetensors'}  (epoch ")
    assert json.loads((run / "run.json").read_text())["data"]["train"]["labels_without_clips"] != []
