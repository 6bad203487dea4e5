"""`earmark tag`."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

import earmark
from earmark import cli
from earmark.labels import LabelSet

Capture = pytest.CaptureFixture[str]
LABELS = ("dog", "[bold]rain[/bold]", "Male speech, man speaking")


def test_tag_prints_json_lines_in_order_and_fails_for_the_damaged_file(
    model: str, recordings: Path, capfd: Capture
) -> None:
    missing = str(recordings / "gone.wav")
    assert cli.main(["tag", missing, str(recordings), "--model", model, "--format", "json", "--top", "2"]) == 1
    captured = capfd.readouterr()
    results = [json.loads(line) for line in captured.out.splitlines()]
    names = [missing, *(str(recordings / name) for name in ("a.wav", "b.wav", "c.flac", "d/e.ogg"))]
    assert [result["file"] for result in results] == names
    assert [set(result) for result in results] == [
        {"file", "error"},
        {"file", "duration", "tags"},
        {"file", "error"},
        {"file", "duration", "tags"},
        {"file", "duration", "tags"},
    ]
    assert results[1]["duration"] == 2.0
    assert [set(tag) for tag in results[1]["tags"]] == [{"label", "score"}] * 2
    assert results[1]["tags"][0]["score"] >= results[1]["tags"][1]["score"]
    assert missing in results[0]["error"]
    told = captured.err.splitlines()
    assert [line.startswith("error: ") for line in told] == [True, True, False]
    assert "b.wav" in told[1]
    assert told[2].startswith("tagged 3 of 5 files in ")
    assert told[2].endswith(", 2 could not be read")


def test_tag_says_what_the_library_says(model: str, recordings: Path, capfd: Capture) -> None:
    path = recordings / "c.flac"
    assert cli.main(["tag", str(path), "--model", model, "--json", "--threshold", "0", "--quiet"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    tags = earmark.load(model).tag(path, threshold=0.0)
    expected = [{"label": tag.label, "score": pytest.approx(tag.score, rel=1e-5)} for tag in tags]
    assert json.loads(captured.out)["tags"] == expected


def test_tag_prints_csv(model: str, recordings: Path, capfd: Capture) -> None:
    words = [str(recordings / "b.wav"), str(recordings / "a.wav")]
    assert cli.main(["tag", *words, "--model", model, "--format", "csv"]) == 1
    header, failed, *rows = csv.reader(io.StringIO(capfd.readouterr().out))
    assert header == ["file", "label", "score", "error"]
    assert failed[:3] == [str(recordings / "b.wav"), "", ""]
    assert "cut off" in failed[3]
    assert {row[0] for row in rows} == {str(recordings / "a.wav")}
    assert {row[1] for row in rows} == set(LABELS)
    assert all(0 < float(row[2]) < 1 and row[3] == "" for row in rows)


def test_tag_prints_a_table_that_takes_labels_literally(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model]) == 0
    printed = capfd.readouterr().out
    assert printed.splitlines()[0] == f"{recordings / 'c.flac'}  2.0 s"
    assert all(label in printed for label in LABELS)
    assert "━━━" in printed


def test_tag_says_when_nothing_reaches_the_threshold(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model, "--threshold", "1"]) == 0
    assert "nothing reaches the threshold" in capfd.readouterr().out


@pytest.mark.parametrize(("name", "form"), [("t.csv", "csv"), ("t.jsonl", "json"), ("t.txt", "table")])
def test_tag_writes_a_file_whose_suffix_says_the_format(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, name: str, form: str
) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model]
    assert cli.main([*words, "--format", form]) == 0
    printed = capfd.readouterr().out
    assert cli.main([*words, "--out", str(tmp_path / "new" / name)]) == 0
    assert (tmp_path / "new" / name).read_text(encoding="utf-8") == printed
    assert capfd.readouterr().out == ""
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / name]


def test_tag_of_a_folder_without_recordings(model: str, tmp_path: Path, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(tmp_path), str(recordings / "c.flac"), "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    assert [set(json.loads(line)) for line in captured.out.splitlines()] == [
        {"file", "error"},
        {"file", "duration", "tags"},
    ]
    assert captured.err.startswith(f"error: {tmp_path}: no recording in this folder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_tag_of_names_that_are_no_text(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.flac")
    for form in ("json", "csv", "table"):
        assert cli.main(["tag", odd, str(recordings / "c.flac"), "--model", model, "--format", form]) == 1
        captured = capfd.readouterr()
        assert captured.err.splitlines()[0] == f"error: {tmp_path}/\\udcff [31m.flac: no such file"
        assert "c.flac" in captured.out


def test_tag_without_a_model_takes_the_shipped_one(recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--json", "--top", "3"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    tags = json.loads(line)["tags"]
    assert len(tags) == 3
    assert {tag["label"] for tag in tags} <= set(LabelSet.esc50().names)


@pytest.mark.parametrize("which", ["model", "recording", "in a folder", "link"])
def test_tag_does_not_write_over_what_it_reads(
    which: str, model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    (tmp_path / "r").mkdir()
    recording, own_model = tmp_path / "r" / "c.flac", tmp_path / "m.safetensors"
    recording.write_bytes((recordings / "c.flac").read_bytes())
    own_model.write_bytes(Path(model).read_bytes())
    (tmp_path / "link").symlink_to(recording)
    out = {"model": own_model, "link": tmp_path / "link"}.get(which, recording)
    files = tmp_path / "r" if which == "in a folder" else recording
    before = out.read_bytes()
    assert cli.main(["tag", str(files), "--model", str(own_model), "--out", str(out), "--format", "csv"]) == 2
    assert "itself, which would be lost" in capfd.readouterr().err
    assert out.read_bytes() == before


def test_tag_tells_of_recordings_in_formats_that_are_not_read(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.media.is_installed", lambda: False)
    (tmp_path / "c.flac").write_bytes((recordings / "c.flac").read_bytes())
    for name in ("1.m4a", "2.M4A", "v.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert cli.main(["tag", str(tmp_path), "--model", model]) == 0
    told = capfd.readouterr().err
    assert told.startswith(f"note: {tmp_path}: 3 files skipped, 2 .m4a, 1 .mp4: they are read with")
    assert cli.main(["tag", str(tmp_path), "--model", model, "--quiet"]) == 0
    assert capfd.readouterr().err == ""
