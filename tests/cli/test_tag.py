"""`earmark tag`."""

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import earmark
from earmark import cli, hub
from earmark.audio.recording import Audio, save_audio
from earmark.audio.time_limit import VARIABLE
from earmark.cli.recordings import ResultsJournal
from earmark.cli.results import FileResult
from earmark.inference import torch_engine
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
    assert told[2].startswith("tagged 3 of 5 files, 6.0 s of sound, in ")
    assert told[2].endswith(", 2 could not be read")


def test_tag_prints_the_scores_of_the_library(model: str, recordings: Path, capfd: Capture) -> None:
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


def test_tag_takes_only_the_chosen_labels(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model, "--json", "--labels"]
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\n")
    for given, expected in ((f"dog,{LABELS[2]}", {"dog", LABELS[2]}), (str(labels), {"dog"})):
        assert cli.main([*words, given, "--top", "2"]) == 0
        assert {tag["label"] for tag in json.loads(capfd.readouterr().out)["tags"]} == expected
    assert cli.main([*words, "dgo"]) == 1
    assert "unknown label 'dgo': did you mean 'dog'" in capfd.readouterr().err


def test_tag_reports_that_nothing_reaches_the_threshold(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model, "--threshold", "1"]) == 0
    assert "nothing reaches the threshold" in capfd.readouterr().out


@pytest.mark.parametrize(("name", "form"), [("t.csv", "csv"), ("t.jsonl", "json"), ("t.txt", "table")])
def test_the_suffix_of_out_decides_the_format(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, name: str, form: str
) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model]
    assert cli.main([*words, "--format", form]) == 0
    printed = capfd.readouterr().out
    assert cli.main([*words, "--out", str(tmp_path / "new" / name)]) == 0
    assert (tmp_path / "new" / name).read_text(encoding="utf-8") == printed
    assert capfd.readouterr().out == ""
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / name]


def test_tag_of_a_folder_with_an_unreadable_sub_folder(
    model: str, tmp_path: Path, recordings: Path, refuse_folder: Callable[[Path], None], capfd: Capture
) -> None:
    shutil.copytree(recordings, tmp_path / "all" / "some")
    (tmp_path / "all" / "secret").mkdir()
    refuse_folder(tmp_path / "all" / "secret")
    assert cli.main(["tag", str(tmp_path / "all"), "--model", model]) == 1
    out, err = capfd.readouterr()
    assert f"{tmp_path / 'all' / 'secret'}: Permission denied" in err
    assert "3 of 5 files" in err and "some" in out


def test_tag_of_a_folder_without_recordings(model: str, tmp_path: Path, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(tmp_path), str(recordings / "c.flac"), "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    assert [set(json.loads(line)) for line in captured.out.splitlines()] == [
        {"file", "error"},
        {"file", "duration", "tags"},
    ]
    assert captured.err.startswith(f"error: {tmp_path}: no recording in this folder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_tag_of_names_with_undecodable_bytes(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
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
def test_tag_does_not_overwrite_its_inputs(
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


def test_tag_reports_recordings_in_unreadable_formats(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.audio.media.is_installed", lambda: False)
    (tmp_path / "c.flac").write_bytes((recordings / "c.flac").read_bytes())
    for name in ("1.m4a", "2.M4A", "v.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert cli.main(["tag", str(tmp_path), "--model", model]) == 0
    told = capfd.readouterr().err
    assert told.startswith(f"note: {tmp_path}: 3 files skipped, 2 .m4a, 1 .mp4: they need the extra")
    assert cli.main(["tag", str(tmp_path), "--model", model, "--quiet"]) == 0
    assert capfd.readouterr().err == ""


def test_threshold_auto_takes_those_of_the_model(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    path = str(recordings / "c.flac")
    assert cli.main(["tag", path, "--model", model, "--threshold", "auto"]) == 1
    assert "no thresholds of its own for 'auto'" in capfd.readouterr().err
    network = earmark.hub.load_network(model)
    network.thresholds = (0.0, 1.0, 0.0)
    network.save(tmp_path / "m.safetensors")
    assert cli.main(["tag", path, "--model", str(tmp_path / "m.safetensors"), "--threshold", "auto", "--json"]) == 0
    assert {tag["label"] for tag in json.loads(capfd.readouterr().out)["tags"]} == {LABELS[0], LABELS[2]}
    for wrong in ("1.1", "-0.1", "nan", "most"):
        assert cli.main(["tag", path, "--model", model, f"--threshold={wrong}"]) == 2
        assert "--threshold" in capfd.readouterr().err


def test_tag_in_parallel_keeps_the_order(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    folders = [str(shutil.copytree(recordings, tmp_path / name)) for name in "cadbe"]
    words = ["tag", *folders, "--model", model, "--json", "--quiet"]
    outputs = []
    for jobs in ("1", "3"):
        assert cli.main([*words, "--jobs", jobs]) == 1
        outputs.append(capfd.readouterr().out)
    assert outputs[0] == outputs[1] and len(outputs[0].splitlines()) == 20


def test_tag_of_standard_input(exported: Path, recordings: Path, capfd: Capture) -> None:
    words = [sys.executable, "-m", "earmark", "tag", "-", "--model", str(exported), "--json"]
    for name, status in (("c.flac", 0), ("b.wav", 1), (None, 1)):
        data = b"" if name is None else (recordings / name).read_bytes()
        done = subprocess.run(words, input=data, capture_output=True, check=False)
        assert done.returncode == status
        told = json.loads(done.stdout)
        assert told["file"] == "-" and ("error" in told) == (status == 1)
        assert b"Traceback" not in done.stderr
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", str(exported), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["duration"] == 2.0


def test_tag_writes_parquet(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "tags.parquet"
    assert cli.main(["tag", str(recordings), "--model", model, "--out", str(out)]) == 1
    rows = parquet.read_table(out).to_pylist()
    assert cli.main(["tag", str(recordings), "--model", model, "--json"]) == 1
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [{key: value for key, value in row.items() if value is not None} for row in rows] == lines
    assert cli.main(["tag", str(recordings), "--model", model, "--format", "parquet"]) == 2
    assert "--format parquet is for files: name one by --out" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_resume_tags_only_files_without_results(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, name: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    out, folder = tmp_path / name, tmp_path / "r"
    folder.mkdir()
    for number in (1, 3):
        (folder / f"{number}.flac").write_bytes((recordings / "c.flac").read_bytes())
    (folder / "4.wav").write_bytes((recordings / "b.wav").read_bytes())
    words = ["tag", str(folder), "--model", model, "--out", str(out)]
    assert cli.main(words) == 1
    (folder / "2.flac").write_bytes((recordings / "c.flac").read_bytes())
    (folder / "4.wav").write_bytes((recordings / "a.wav").read_bytes())
    capfd.readouterr()
    assert cli.main([*words, "--resume"]) == 0
    told = capfd.readouterr().err
    assert told.startswith("tagged 2 of 2 files, 4.0 s of sound") and told.endswith("; 2 had results already\n")
    resumed = out.read_bytes()
    assert cli.main(["tag", str(recordings / "c.flac"), *words[2:], "--resume"]) == 0  # the others stay
    assert cli.main(words) == 0
    assert resumed == out.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["r", name])


def test_a_recording_given_twice_keeps_its_tags(model: str, recordings: Path, tmp_path: Path) -> None:
    out, given = tmp_path / "t.csv", [str(recordings / "d"), str(recordings / "d" / "e.ogg")]
    words = ["tag", *given, "--model", model, "--out", str(out), "-q"]
    assert cli.main(words) == 0
    written = out.read_bytes()
    assert len(written.splitlines()) == 4, "the names of the columns and three labels"
    assert cli.main([*words, "--resume"]) == 0
    assert out.read_bytes() == written


def test_resume_after_a_kill_loses_nothing(
    exported: Path, recordings: Path, tmp_path: Path, capfd: Capture, wait_until: Callable[..., None]
) -> None:
    """A killed command continues with the remaining files, and its result is complete."""
    folder, out = tmp_path / "r", tmp_path / "t.jsonl"
    folder.mkdir()
    # a recording of a day takes minutes
    save_audio(folder / "5.wav", Audio(np.zeros(100 * 3600 * 24, np.float32), 100))
    for number in (1, 2, 3, 4, 6):
        (folder / f"{number}.flac").write_bytes((recordings / "c.flac").read_bytes())
    words = ["tag", str(folder), "--model", str(exported), "--out", str(out), "--jobs", "1"]
    journal = tmp_path / ".t.jsonl.part"

    def is_at_the_long_one(before: int) -> bool:
        is_new = journal.exists() and journal.stat().st_ino != before
        return is_new and journal.read_text().count("\n") >= 5

    for kill in (signal.SIGKILL, signal.SIGINT):
        before = journal.stat().st_ino if journal.exists() else 0
        process = subprocess.Popen([sys.executable, "-m", "earmark", *words, "--resume"], stderr=subprocess.PIPE)
        wait_until(lambda before=before: is_at_the_long_one(before), process)
        process.send_signal(kill)
        told = process.communicate()[1].decode()
        assert not out.exists() and journal.read_text().count('"file"') == 4
    assert process.returncode == 130
    assert told == "error: interrupted; results are kept, the same command with --resume continues\n"
    for other in (["--top", "1"], ["--labels", "dog"]):
        assert cli.main([*words, "--resume", *other]) == 1
        assert "had another model or other settings" in capfd.readouterr().err
    (folder / "5.wav").unlink()
    (folder / "5.flac").write_bytes((recordings / "c.flac").read_bytes())
    assert cli.main([*words, "--resume"]) == 0
    assert capfd.readouterr().err.startswith("tagged 2 of 2 files")
    assert [json.loads(line)["file"][-6] for line in out.read_text().splitlines()] == list("123456")
    assert not journal.exists()


@pytest.mark.parametrize(("precision", "suffix"), [("bf16", ".safetensors"), ("float32", ".onnx")])
def test_results_are_kept_with_the_checksum_of_the_file_that_runs(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, suffix: str
) -> None:
    kept = []

    def journal(out: Path, command: str, settings: dict[str, object], parse: Any) -> ResultsJournal[FileResult]:
        kept.append(settings["model"])
        return ResultsJournal(out, command, settings, parse)

    monkeypatch.setattr("earmark.cli.tag.ResultsJournal", journal)
    words = ["tag", str(recordings / "c.flac"), "--out", str(tmp_path / "tags.csv"), "--precision", precision]
    assert cli.main([*words, "--quiet"]) == 0
    shipped = Path(hub.__file__).with_name(f"earmark-esc50{suffix}")
    assert kept == [hashlib.sha256(shipped.read_bytes()).hexdigest()]


def test_resume_needs_a_file_that_can_be_read_again(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model, "--resume"]
    assert cli.main(words) == 2
    assert cli.main([*words, "--out", str(tmp_path / "t.txt")]) == 2
    (tmp_path / "t.json").write_text("no results\n")
    assert cli.main([*words, "--out", str(tmp_path / "t.json")]) == 1
    told = capfd.readouterr().err.splitlines()
    assert "--out, which is missing" in told[0] and "choose another --format" in told[1]
    assert "results of `earmark tag` were expected, they cannot be read" in told[2]
    assert (tmp_path / "t.json").read_text() == "no results\n"


def test_a_long_recording_does_not_hold_up_the_others(
    model: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """While the first file is scored, the results of the files after it are kept."""
    from earmark.inference.tagger import Tagger

    out, kept = tmp_path / "t.jsonl", 0
    score = Tagger.score

    def slow(self: Tagger, audio: object, **more: object) -> object:
        nonlocal kept
        if str(audio).endswith("a.wav"):
            wait_until(lambda: (tmp_path / ".t.jsonl.part").read_text().count('"file"') == 12)
            kept = 12
        return score(self, audio, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Tagger, "score", slow)
    words = [str(recordings / "a.wav")]
    words += [str(shutil.copy(recordings / "c.flac", tmp_path / f"{number}.flac")) for number in range(12)]
    assert cli.main(["tag", *words, "--model", model, "--jobs", "2", "--out", str(out), "--quiet"]) == 0
    assert kept == 12
    assert [json.loads(line)["file"] for line in out.read_text().splitlines()] == words


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_resume_recognises_names_with_undecodable_bytes(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    pytest.importorskip("pyarrow")
    folder, out = tmp_path / "r", tmp_path / "t.parquet"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.flac")).write_bytes((recordings / "c.flac").read_bytes())
    words = ["tag", str(folder), "--model", model, "--out", str(out)]
    assert cli.main(words) == 0
    assert cli.main([*words, "--resume"]) == 0
    assert "tagged 0 of 0 files" in capfd.readouterr().err
    assert len(pytest.importorskip("pyarrow.parquet").read_table(out)) == 1


def test_errors_name_files_as_they_are(
    model: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tag", "window", "n_heads extra.wav", "--model", model]) == 1
    told = capfd.readouterr().err.splitlines()
    assert told[:2] == ["error: window: no such file", "error: n_heads extra.wav: no such file"]
    assert cli.main(["tag", "x.wav", "--model", model, "--out", str(tmp_path)]) == 1
    assert capfd.readouterr().err == f"error: {tmp_path}: Is a directory\n"
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_decoder_hangs_fails_and_the_others_are_tagged(
    model: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    hung = tmp_path / "hung.wav"
    shutil.copy(recordings / "a.wav", hung)
    gate, read = threading.Event(), soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda file, *values, **options: (
            gate.wait() if str(hung) in os.fsdecode(file.name) else read(file, *values, **options)
        ),
    )
    monkeypatch.setenv(VARIABLE, "300")  # restored after the test
    words = ["tag", str(hung), str(recordings / "c.flac"), "--model", model, "--json", "--decode-timeout", "4"]
    assert cli.main(words) == 1
    gate.set()
    failed, tagged = map(json.loads, capfd.readouterr().out.splitlines())
    assert failed["error"].startswith(f"{hung}: no sound came for 4 s, so it is given up")
    assert tagged["file"] == str(recordings / "c.flac") and tagged["tags"]


def test_tracks_of_a_file_with_one(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model, "--json", "--quiet"]
    printed = []
    for track in ([], ["--track", "1"], ["--track", "mix"]):
        assert cli.main([*words, *track]) == 0
        printed.append(capfd.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    assert cli.main([*words, "--track", "2"]) == 1
    assert "it has one sound track, and track 2 was asked for" in capfd.readouterr().err
    assert cli.main([*words, "--track", "0"]) == 2


def test_a_url_is_named_and_the_files_beside_it_are_tagged(model: str, recordings: Path, capfd: Capture) -> None:
    url = "https://example.org/a.wav"
    assert cli.main(["tag", url, str(recordings / "c.flac"), "--model", model, "--json", "--quiet"]) == 1
    captured = capfd.readouterr()
    assert (
        captured.err.startswith(f"error: {url}: a local file was expected, not a URL") and captured.err.count("\n") == 1
    )
    assert [json.loads(line)["file"] for line in captured.out.splitlines()] == [url, str(recordings / "c.flac")]
    with pytest.raises(earmark.AudioError, match=r"https://example\.org/a\.wav: a local file was expected"):
        hub.load(model).tag(url)


def test_a_file_is_found_in_either_unicode_form(model: str, recordings: Path, tmp_path: Path) -> None:
    shutil.copy(recordings / "c.flac", tmp_path / unicodedata.normalize("NFD", "für.flac"))
    assert cli.main(["tag", str(tmp_path / "für.flac"), "--model", model]) == 0
    assert cli.main(["timeline", str(tmp_path / "für.flac"), "--model", model]) == 0


@pytest.mark.parametrize("command", [["tag"], ["timeline"], ["evidence"]])
def test_a_device_is_used_or_refused_in_one_line(
    command: list[str], model: str, recordings: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    words = [*command, str(recordings / "a.wav"), *(["dog"] if command == ["evidence"] else []), "--model", model]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for device, message in (
        ("cuda", "but PyTorch finds 0 CUDA devices"),
        ("gpu", "auto, cpu, cuda, cuda:N or mps was"),
    ):
        assert cli.main([*words, "--device", device]) == 2
        error = capfd.readouterr().err
        assert error.startswith("error: --device: ") and message in error and len(error.splitlines()) == 1
    assert cli.main([*words, "--device", "cpu", "--quiet"]) == 0


def test_contradictory_engines_are_wrong_usage(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["tag", str(recordings / "c.flac")]
    assert cli.main([*words, "--model", model, "--engine", "onnx"]) == 2
    assert cli.main([*words, "--engine", "onnx", "--precision", "bf16"]) == 2
    assert capfd.readouterr().err.count("error: --") == 2


def test_without_pyarrow_a_parquet_file_is_refused_before_the_work(
    model: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    out = tmp_path / "tags.parquet"
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model, "--out", str(out)]) == 1
    assert "pip install 'earmark[parquet]'" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_bf16_without_instructions_is_noted(
    model: str, recordings: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model, "--precision", "bf16"]
    for has_bf16 in (True, False):
        monkeypatch.setattr(torch_engine, "has_bf16", lambda has=has_bf16: has)
        assert cli.main(words) == 0
        assert ("note: PyTorch finds no instructions for bf16" in capfd.readouterr().err) != has_bf16


def test_the_summary_begins_on_its_own_line_where_both_outputs_are_one_file(
    model: str, recordings: Path, tmp_path: Path
) -> None:
    words = [sys.executable, "-m", "earmark", "tag", str(recordings), "--model", model]
    with (tmp_path / "log.txt").open("wb") as log:
        subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=False)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[-1].startswith("tagged 3 of 4 files, ")
    assert [line for line in lines if line.startswith("error: ")], "errors begin a line too"
    assert lines.index(next(line for line in lines if line.startswith("error: "))) > 0
