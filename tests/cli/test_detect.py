"""`earmark detect`."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import earmark
from earmark import cli
from earmark.annotations.formats import FORMATS, format_of
from earmark.audio.recording import Audio, save_audio
from earmark.inference.events import EventSettings

Capture = pytest.CaptureFixture[str]
LABELS = ("dog", "[bold]rain[/bold]", "Male speech, man speaking")


@pytest.fixture
def folder(recordings: Path, tmp_path: Path) -> Path:
    """Recordings with and without time stamps in two sub-folders, and a damaged one."""
    folder = tmp_path / "r"
    for name, source in (
        ("night/20240501_235959.WAV", "a.wav"),
        ("night/POND_20240502_010000.flac", "c.flac"),
        ("b.wav", "b.wav"),
        ("street.ogg", "d/e.ogg"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(recordings / source, folder / name)
    return folder


def test_one_table_of_all_files_in_their_order(model: str, folder: Path, capfd: Capture) -> None:
    words = ["detect", str(folder), "--model", model, "--window", "0.8", "--threshold", "0.0", "--format", "csv"]
    assert cli.main(words) == 1
    captured = capfd.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert list(rows[0]) == ["file", "onset", "offset", "label", "score", "time"]
    names = ["night/20240501_235959.WAV", "night/POND_20240502_010000.flac", "street.ogg"]
    assert list(dict.fromkeys(row["file"] for row in rows)) == [str(folder / name) for name in names]
    assert list(dict.fromkeys(row["time"] for row in rows)) == ["2024-05-01T23:59:59+00:00", "2024-05-02T01:00:00", ""]
    tagger = earmark.load(model)
    expected = [tagger.timeline(folder / name, window=0.8).events(0.0) for name in names]
    assert [row["label"] for row in rows] == [event.label for events in expected for event in events]
    told = captured.err.splitlines()
    assert told[0].startswith("note: no time stamp is known in 2 file names")
    assert told[1].startswith("error: ") and "b.wav" in told[1]
    assert told[2].startswith("scored 3 of 4 files, 6.0 s of sound, in ")
    assert told[2].endswith(", 1 could not be read; 9 events") and len(told) == 3


def test_rules_are_those_of_the_library(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "labels.txt").write_text("/s\ndog\n")
    (tmp_path / "t.csv").write_text("label;threshold\n/d;0,47\n")
    words = ["detect", str(recordings / "a.wav"), "--model", model, "--json", "--quiet", "--window", "0.8"]
    words += ["--labels", str(tmp_path / "labels.txt"), "--threshold", str(tmp_path / "t.csv"), "--release", "1"]
    words += ["--max-gap", "0.4", "--min-duration", "0.3", "--pad", "0.1", "--per-hour", "4"]
    assert cli.main(words) == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    settings = EventSettings(("dog", LABELS[2]), {"dog": 0.47}, 1.0, 0.3, 0.4, 0.1, 4)
    timeline = earmark.load(model).timeline(recordings / "a.wav", window=0.8)
    expected = timeline.events(settings=settings)
    assert [(row["label"], row["onset"], row["offset"]) for row in found if row["label"]] == [
        (event.label, pytest.approx(event.onset), pytest.approx(event.offset)) for event in expected
    ]
    assert cli.main([*words[:-1], "0"]) == 2
    assert "--per-hour: at least 1 was expected, not 0" in capfd.readouterr().err


def test_the_suffix_of_out_decides_the_format(model: str, folder: Path, tmp_path: Path) -> None:
    words = ["detect", str(folder / "night"), "--model", model, "--threshold", "0", "--quiet", "--out"]
    tables = []
    for name in ("e.csv", "e.jsonl", "e.parquet", "e.tsv", "e.selections.txt", "e.json"):
        if name == "e.parquet":
            pytest.importorskip("pyarrow")
        assert cli.main([*words, str(tmp_path / name)]) == 0
        read = format_of(tmp_path / name).read(tmp_path / name)
        tables.append([(recording.file, [event.label for event in recording.events]) for recording in read])
    assert all(len(table) == 2 for table in tables)
    assert all([labels for _, labels in table] == [list(LABELS)] * 2 for table in tables)
    assert cli.main(["detect", str(folder), "--model", model, "--out", str(tmp_path / "e.xml")]) == 2
    assert cli.main([*words[:-1], "--format", "table"]) == 0


@pytest.mark.parametrize("is_beside", [True, False])
def test_a_file_for_each_recording(model: str, folder: Path, tmp_path: Path, capfd: Capture, is_beside: bool) -> None:
    where = [] if is_beside else ["--out", str(tmp_path / "labels")]
    words = ["detect", str(folder), "--model", model, "--threshold", "0", "--per-file", "--format", "audacity", *where]
    assert cli.main(words) == 1
    root = folder if is_beside else tmp_path / "labels"
    names = ["night/20240501_235959.txt", "night/POND_20240502_010000.txt", "street.txt"]
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*.txt")) == names
    assert (root / "street.txt").read_text().startswith("0.000000\t2.000000\tdog\n")
    capfd.readouterr()
    assert cli.main(words) == 2  # the files may have been corrected by hand
    assert "exists already (3 such files); --resume keeps these files" in capfd.readouterr().err
    (root / "street.txt").write_text("0.5\t1.0\tcat\n")
    (root / names[0]).unlink()
    shutil.copy(folder / "street.ogg", folder / "b.wav")
    assert cli.main([*words, "--resume"]) == 0
    assert "scored 2 of 2 files" in capfd.readouterr().err
    assert (root / "street.txt").read_text() == "0.5\t1.0\tcat\n"
    assert len(list(root.rglob("*.txt"))) == 4


def test_invalid_flags_are_refused_before_the_work(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    shutil.copy(recordings / "c.flac", tmp_path / "a.flac")
    shutil.copy(recordings / "a.wav", tmp_path / "a.wav")
    words = ["detect", str(tmp_path), "--model", model]
    for wrong, message in (
        (["--format", "audacity"], "holds one recording, not 2: give --per-file"),
        (["--format", "parquet"], "--format parquet is for files"),
        (["--per-file"], "a.flac and "),  # both would be a.csv
        (["--per-file", "--format", "table"], "choose another --format"),
        (["--per-file", "--out", model], "a folder was expected"),
        (
            ["--per-file", "--out", str(tmp_path / "night.csv")],
            "a folder was expected with --per-file, not the name of",
        ),
        (["--resume"], "--out, which is missing"),
        (["--resume", "--out", str(tmp_path / "t")], "cannot read a table again"),
        (["--json", "--format", "csv"], "give one of them"),
        (["--threshold", "most"], "a score from 0 to 1, auto or a file of thresholds was expected, not 'most'"),
        (["--threshold", "1.5"], "--threshold"),
        (["--max-gap", "-1"], "--max-gap: from 0 to 3600 was expected"),
        (["--time-zone", "Mars"], "--time-zone: the name of a time zone"),
        (["--time-format", "%H"], "--time-format: a date with its year and a time"),
    ):
        assert cli.main([*words, *wrong]) == 2, wrong
        assert message in capfd.readouterr().err
    assert cli.main(["detect", "-", "--model", model, "--per-file"]) == 2
    assert "not standard input" in capfd.readouterr().err
    assert cli.main([*words, "--out", str(tmp_path)]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.wav"]


def test_times_of_other_stamps_in_a_zone(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    shutil.copy(recordings / "c.flac", tmp_path / "x_010524_0530.flac")
    words = ["detect", str(tmp_path), "--model", model, "--threshold", "0", "--json"]
    assert cli.main([*words, "--time-format", "%d%m%y_%H%M", "--time-zone", "Europe/Berlin"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[0])["time"] == "2024-05-01T05:30:00+02:00"
    assert cli.main([*words, "--time-zone", "Europe/Berlin"]) == 0
    captured = capfd.readouterr()
    assert "time" not in json.loads(captured.out.splitlines()[0])
    assert "no time stamp is known in 1 file name" in captured.err


def test_a_recording_given_twice_counts_once(model: str, folder: Path, capfd: Capture) -> None:
    words = ["detect", str(folder / "street.ogg"), str(folder), "--model", model, "--threshold", "0", "--format", "csv"]
    assert cli.main(words) == 1
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert sum(row["file"].endswith("street.ogg") for row in rows) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_a_name_that_the_format_cannot_hold_is_an_error_of_its_file(
    model: str, recordings: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "r").mkdir()
    shutil.copy(recordings / "c.flac", os.fsdecode(os.fsencode(tmp_path) + b"/r/\xff.flac"))
    shutil.copy(recordings / "c.flac", tmp_path / "r" / "a.flac")
    words = ["detect", str(tmp_path / "r"), "--model", model, "--threshold", "0", "--out"]
    assert cli.main([*words, str(tmp_path / "e.parquet")]) == 1
    error = capfdbinary.readouterr().err
    assert b"cannot hold this file name" in error and b"scored 1 of 2 files" in error
    assert cli.main([*words, str(tmp_path / "e.csv")]) == 0
    assert b"\xff.flac" in (tmp_path / "e.csv").read_bytes()
    capfdbinary.readouterr()
    assert cli.main([*words[:-1], "--format", "csv", "--quiet"]) == 0
    assert capfdbinary.readouterr().out == (tmp_path / "e.csv").read_bytes()


def test_resume_adds_only_the_missing_files(model: str, folder: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ["detect", str(folder), "--model", model, "--threshold", "0", "--out", str(tmp_path / "e.csv")]
    assert cli.main(words) == 1
    shutil.copy(folder / "street.ogg", folder / "b.wav")
    capfd.readouterr()
    assert cli.main([*words, "--resume"]) == 0
    captured = capfd.readouterr()
    assert "scored 1 of 1 file, 2.0 s of sound" in captured.err
    assert f"note: {tmp_path / 'e.csv'} keeps its events of 3 files, whatever the settings" in captured.err
    resumed = (tmp_path / "e.csv").read_bytes()
    assert cli.main(words) == 0
    assert resumed == (tmp_path / "e.csv").read_bytes()
    shutil.copy(tmp_path / "e.csv", tmp_path / "e.tsv")
    assert cli.main([*words[:-1], str(tmp_path / "e.tsv"), "--resume"]) == 2
    assert "only csv, jsonl, parquet can be read again" in capfd.readouterr().err
    (tmp_path / "e.csv").write_text("nonsense\n")
    assert cli.main([*words, "--resume"]) == 1
    assert "results of `earmark detect` were expected, they cannot be read" in capfd.readouterr().err


def test_a_killed_command_resumes_to_the_table_of_an_undisturbed_one(
    recordings: Path, tmp_path: Path, capfd: Capture, wait_until: Callable[..., None]
) -> None:
    """Three of 20 files are damaged; the command is killed while it is at a long one in the middle."""
    pytest.importorskip("pyarrow")
    folder, out, other = tmp_path / "r", tmp_path / "e.parquet", tmp_path / "undisturbed.parquet"
    folder.mkdir()
    for number in range(20):
        source = "b.wav" if number in (2, 9, 17) else "c.flac"
        shutil.copy(recordings / source, folder / f"20240501_{number:02d}0000.wav")
    middle = folder / "20240501_120000.wav"
    save_audio(middle, Audio(np.zeros(100 * 3600 * 24, np.float32), 100))  # a day takes minutes
    words = ["detect", str(folder), "--threshold", "0.001", "--jobs", "2", "--out"]
    journal = tmp_path / ".e.parquet.part"
    process = subprocess.Popen([sys.executable, "-m", "earmark", *words, str(out)], stderr=subprocess.DEVNULL)

    def n_written() -> int:
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        return sum('"file"' in line and line.endswith("\n") for line in lines)  # the last line may be cut

    wait_until(lambda: n_written() == 19, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    shutil.copy(recordings / "c.flac", middle)
    assert cli.main([*words, str(out), "--resume", "--max-gap", "1"]) == 1
    assert "had another model or other settings" in capfd.readouterr().err
    assert cli.main([*words, str(out), "--resume"]) == 1
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 4 and all(line.startswith("error: ") for line in told[:3])
    assert told[3].startswith("scored 1 of 4 files") and "; 16 had results already" in told[3]
    assert cli.main([*words, str(other), "--quiet"]) == 1
    assert out.read_bytes() == other.read_bytes()
    read = FORMATS["parquet"].read(out)
    assert len(read) == 17 and all(recording.events for recording in read)
    assert not journal.exists()


def test_ctrl_c_keeps_the_files_so_far(recordings: Path, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    shutil.copy(recordings / "c.flac", tmp_path / "1.flac")
    save_audio(tmp_path / "2.wav", Audio(np.zeros(100 * 3600 * 24, np.float32), 100))
    words = ["detect", str(tmp_path), "--per-file", "--jobs", "1"]
    process = subprocess.Popen([sys.executable, "-m", "earmark", *words], stderr=subprocess.PIPE)
    wait_until((tmp_path / "1.csv").exists, process)
    process.send_signal(signal.SIGINT)
    told = process.communicate()[1].decode()
    assert process.returncode == 130
    assert told == "error: interrupted; the files so far are kept, the same command with --resume continues\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.csv", "1.flac", "2.wav"]
