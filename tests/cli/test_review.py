"""`earmark review`, from detections to a data set."""

import json
import shutil
from pathlib import Path

import pytest

from earmark import cli
from earmark.data import open_data

Capture = pytest.CaptureFixture[str]


def test_from_detections_to_a_data_set(events: Path, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "clips"
    words = ["clips", str(events), str(out), "--audio-root", str(recordings), "--pad", "0.2"]
    assert cli.main(words) == 1, "a recording cannot be read"
    cat = out / "cat"
    cat.mkdir()
    first, second, third, *_ = sorted((out / "dog").iterdir())
    shutil.move(first, cat)
    (out / "_noise").mkdir()
    shutil.move(second, out / "_noise")
    third.unlink()
    assert cli.main([*words, "--quiet"]) == 1, "the folder stays as it is"
    capfd.readouterr()
    assert cli.main(["review", str(out)]) == 0
    shown = capfd.readouterr()
    assert "no clip of these labels was moved" not in shown.err
    lines = shown.out.splitlines()
    assert lines[0] == (
        f"{out}: 11 clips: 8 where they were cut, 1 in the folder of another label, 1 in _noise, 1 deleted"
    )
    row = next(line.split() for line in lines if line.startswith("dog"))
    assert row[:6] == ["dog", "all", "5", "5", "2", "0.400"]

    thresholds, table = tmp_path / "thresholds.csv", tmp_path / "corrected.csv"
    thresholds.write_text("label,threshold\nrain,0.7\ndog,0.2\n")
    flags = ["--thresholds", str(thresholds), "--out", str(table), "--min-clips", "2", "--precision", "0.8", "--json"]
    assert cli.main(["review", str(out), *flags]) == 0
    captured = capfd.readouterr()
    assert cli.main(["review", str(out), "--out", str(out / "manifest.csv")]) == 2
    assert "would be lost" in capfd.readouterr().err
    facts = json.loads(captured.out)
    assert (facts["n_confirmed"], facts["n_corrected"], facts["n_noise"], facts["n_deleted"]) == (8, 1, 1, 1)
    dog = next(label for label in facts["labels"] if label["label"] == "dog")
    assert (dog["n_right"], dog["precision"], dog["proposal"]["threshold"]) == (2, 0.4, pytest.approx(0.65))
    assert thresholds.read_text() == "label,threshold\nrain,0.7\ndog,0.65\na/b,0.3\n"
    assert f"{table}: 8 confirmed, 1 corrected, 1 noise, 1 deleted" in captured.err
    data = open_data(f"csv:{table}")
    assert len(data) == 11 and data.labels.names == ("a/b", "cat", "dog")


def test_only_labels_that_were_listened_to_count(
    events: Path, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "clips"
    cli.main(["clips", str(events), str(out), "--audio-root", str(recordings), "--per-label", "2", "-q"])
    capfd.readouterr()
    assert cli.main(["review", str(out), "--labels", "dog", "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert [(label["label"], label["n_events"], label["n_clips"]) for label in facts["labels"]] == [("dog", 2, 2)]
    assert cli.main(["review", str(out), "--labels", "dog"]) == 0
    shown = capfd.readouterr()
    assert "none: no threshold with at least 10 judged clips above it has a precision of 0.9" in " ".join(
        shown.out.split()
    )
    assert "note: no clip of these labels was moved or deleted, so all count as right" in shown.err
    thresholds = tmp_path / "thresholds.csv"
    thresholds.write_text("label,threshold\nrain,0.7\ndog,0.2\n")
    assert cli.main(["review", str(out), "--labels", "dog", "--thresholds", str(thresholds)]) == 0
    assert "has a precision of 0.9: dog; the model's own thresholds stay for these" in capfd.readouterr().err
    assert thresholds.read_text() == "label,threshold\nrain,0.7\n", "no threshold of dog is right"
    thresholds.write_text("label,threshold\ndog,0.2\n")
    assert cli.main(["review", str(out), "--labels", "dog", "--thresholds", str(thresholds)]) == 0
    assert "thresholds.csv: not kept, since no label has a threshold" in capfd.readouterr().err
    assert not thresholds.exists()
    assert cli.main(["review", str(out), "--labels", "dog,owl"]) == 1
    assert "no clip was cut for owl; the labels are a/b, dog" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["review", "out"], 1, "earmark clips"),
        (["review", "out", "--precision", "0"], 2, "above 0"),
        (["review", "out", "--out", "corrected"], 2, "a .csv file was expected"),
        (["review", "out", "--out", "new.csv", "--thresholds", "new.csv"], 2, "itself, which would be lost"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], status: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == status
    error = capfd.readouterr().err
    assert reason in error and error.count("\n") == 1
