"""`earmark clips` and `earmark review`, from detections to a data set."""

import json
import shutil
from pathlib import Path

import pytest

from earmark import cli
from earmark.data import open_data

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def events(recordings: Path, tmp_path: Path) -> Path:
    """A table of twelve events of three labels in a recording, and one in a damaged one."""
    rows = [f"a.wav,{n * 0.1:.1f},{n * 0.1 + 0.5:.1f},{'dog' if n % 2 else 'a/b'},{0.3 + n / 20}" for n in range(11)]
    table = tmp_path / "events.csv"
    table.write_text("\n".join(["file,onset,offset,label,score", *rows, "b.wav,0.0,1.0,rain,0.5", ""]))
    return table


def test_from_detections_to_a_data_set(events: Path, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "clips"
    words = ["clips", str(events), str(out), "--audio-root", str(recordings), "--pad", "0.2"]
    assert cli.main(words) == 1, "a recording cannot be read"
    captured = capfd.readouterr()
    assert captured.out == f"{out}: 11 clips (a/b 6, dog 5)\n"
    errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "b.wav" in errors[0] and errors[0].endswith("(1 clip missing)")
    assert f"earmark review {out}" in captured.err

    cat = out / "cat"
    cat.mkdir()
    first, second, third, *_ = sorted((out / "dog").iterdir())
    shutil.move(first, cat)
    (out / "_noise").mkdir()
    shutil.move(second, out / "_noise")
    third.unlink()
    assert cli.main([*words, "--quiet"]) == 1 and cli.main(["review", str(out)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1] == (
        f"{out}: 11 clips: 8 where they were cut, 1 in the folder of another label, 1 in _noise, 1 deleted"
    )
    row = next(line.split() for line in lines if line.startswith("dog"))
    assert row[:6] == ["dog", "all", "5", "5", "2", "0.400"]

    thresholds, table = tmp_path / "thresholds.csv", tmp_path / "corrected.csv"
    thresholds.write_text("label,threshold\nrain,0.7\ndog,0.2\n")
    flags = ["--thresholds", str(thresholds), "--out", str(table), "--min-clips", "2", "--precision", "0.8", "--json"]
    assert cli.main(["review", str(out), *flags]) == 0
    captured = capfd.readouterr()
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
    assert cli.main(["review", str(out), "--labels", "dog,owl"]) == 1
    assert "no clip was cut for owl; the labels are a/b, dog" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["clips", "none.csv", "out"], 1, "none.csv"),
        (["clips", "events.xyz", "out"], 1, "--events-format"),
        (["clips", "events.csv", "out", "--pad", "-1"], 2, "at least 0"),
        (["review", "out"], 1, "earmark clips"),
        (["review", "out", "--precision", "0"], 2, "above 0"),
        (["review", "out", "--out", "corrected"], 2, "a .csv file was expected"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], status: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == status
    error = capfd.readouterr().err
    assert reason in error and error.count("\n") == 1
