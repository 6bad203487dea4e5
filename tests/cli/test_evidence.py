"""`earmark evidence`."""

import json
from pathlib import Path

import numpy as np
import pytest

import earmark
from earmark import cli
from earmark.audio.recording import Audio, save_audio

Capture = pytest.CaptureFixture[str]


def test_evidence_is_printed_as_json_and_as_a_table(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["evidence", str(recordings / "c.flac"), "/d", "--model", model]
    assert cli.main(words) == 0
    title, meaning, *rows = capfd.readouterr().out.splitlines()
    score = earmark.load(model).tag(recordings / "c.flac", threshold=0.0)
    score = next(tag.score for tag in score if tag.label == "dog")
    assert title == f"{recordings / 'c.flac'}  dog  score {score:.3f} in 0.0 - 2.0 s"
    assert meaning.startswith("Effect of each segment on its logit")
    assert rows[-1].split()[:4] == ["1.6", "-", "2.0", "s"]
    for row in rows:  # without colour the sign is seen all the same
        assert ("━" in row, "---" in row) in {("+" in row, "+" not in row), (False, False)}
    assert any("━" in row for row in rows) and any("---" in row for row in rows)
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["label"] == "dog"
    assert told["score"] == pytest.approx(score, rel=1e-5)
    assert told["onsets"] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert len(told["weights"]) == len(told["errors"]) == 5
    assert np.shape(told["attention"]) == (2, 5)


def test_evidence_in_a_file(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ["evidence", str(recordings / "c.flac"), "/d", "--model", model, "--quiet"]
    for name, form in (("e.json", "json"), ("e.txt", "table")):
        assert cli.main([*words, "--out", str(tmp_path / name)]) == 0
        assert capfd.readouterr() == ("", "")
        assert cli.main([*words, "--format", form]) == 0
        assert capfd.readouterr().out == (tmp_path / name).read_text(encoding="utf-8")
    assert cli.main([*words, "--out", str(tmp_path / "e.csv")]) == 2
    assert "one of the formats table, json was expected" in capfd.readouterr().err
    assert cli.main([*words, "--out", str(recordings / "c.flac"), "--format", "json"]) == 2
    assert "itself, which would be lost" in capfd.readouterr().err


def test_evidence_of_a_single_segment_names_the_file(model: str, tmp_path: Path, capfd: Capture) -> None:
    short = tmp_path / "short.wav"
    save_audio(short, Audio(np.full(3200, 0.1, np.float32), 16000))
    assert cli.main(["evidence", str(short), "dog", "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    told = json.loads(captured.out)
    assert set(told) == {"file", "error"}
    assert told["file"] == str(short)
    assert captured.err == f"error: {told['error']}\n"
    assert told["error"].startswith(f"{short}: expected a recording of several segments")


def test_evidence_draws(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    pytest.importorskip("matplotlib")
    words = ["evidence", str(recordings / "a.wav"), "dog", "--model", model, "--plot"]
    assert cli.main([*words, str(tmp_path / "e.svg")]) == 0
    assert b"<svg" in (tmp_path / "e.svg").read_bytes()
    assert cli.main([*words, str(recordings / "a.wav")]) == 2
    assert "ends in .png, .svg, .pdf" in capfd.readouterr().err
