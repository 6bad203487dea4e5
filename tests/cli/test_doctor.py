"""`earmark doctor`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data
from earmark.errors import DataError

Capture = pytest.CaptureFixture[str]
EARMARK = [sys.executable, "-c", "import sys; from earmark.cli import main; sys.exit(main())"]
RATE = 16000


def made(folder: Path, n_clips: int = 8, seconds: float = 0.3) -> str:
    """A folder of two labels; the last recording is silent, the one before it a copy of the first, as flac."""
    rng = np.random.default_rng(0)
    for number in range(n_clips - 2):
        waveform = rng.uniform(-0.5, 0.5, round(seconds * RATE))
        save_audio(folder / ("dog", "rain")[number % 2] / f"{number:05d}.wav", Audio(waveform, RATE))
        if number == 0:
            save_audio(folder / "dog" / "copy.flac", Audio(waveform, RATE))
    save_audio(folder / "rain" / "silent.wav", Audio(np.zeros(RATE), RATE))
    return f"folder:{folder}"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_findings_for_people(tmp_path: Path, capfd: Capture) -> None:
    data, out = made(tmp_path / "data"), tmp_path / "report"
    (tmp_path / "data" / "dog" / "text.wav").write_text("no sound")
    assert cli.main(["doctor", data, "--out", str(out), "--min-clips", "3", "--jobs", "1"]) == 0
    captured = capfd.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].startswith("data: 9 of 9 listed clips found (100.0%); SHA-256 of their ids ")
    assert lines[1] == "0.00 h of sound in 8 readable clips of 0.30 to 1.00 s, median 0.30 s"
    assert lines[2] == "sample rates: 16000 Hz (8); 100.0% are below 32000 Hz; channels: 1 (8)"
    assert [line.split()[:2] for line in lines[5:8]] == [["unreadable", "1"], ["silent", "1"], ["duplicate", "1"]]
    assert "dog/00000.wav = dog/copy.flac" in lines[7]
    assert lines[-1] == "clean list: 6 of 9 clips, without clips found unreadable, silent, duplicate"
    assert captured.err == f"{out}: report.json, clips.csv; the clean list: earmark train clips:{out / 'clean.txt'}\n"


def test_findings_for_machines(tmp_path: Path, capfd: Capture) -> None:
    data, out = made(tmp_path / "data"), tmp_path / "report"
    assert cli.main(["doctor", data, "--out", str(out), "--json", "-q", "--jobs", "1"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out) == json.loads((out / "report.json").read_text())
    assert captured.err == ""


def test_missing_files_are_a_finding(tmp_path: Path, capfd: Capture) -> None:
    made(tmp_path / "data")
    rows = "path,labels\ndog/00000.wav,dog\nrain/gone.wav,rain\n"
    (tmp_path / "data" / "clips.csv").write_text(rows)
    words = ["doctor", f"csv:{tmp_path / 'data' / 'clips.csv'}", "--out", str(tmp_path / "report"), "--jobs", "1"]
    assert cli.main([*words, "--json", "-q"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert {f["kind"]: f["items"] for f in told["findings"]}["missing"] == [{"id": "rain/gone.wav"}]
    assert told["coverage"]["share"] == 0.5


def test_data_without_readable_files_are_an_error(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "clips.csv").write_text("path,labels\ngone.wav,dog\n")
    assert cli.main(["doctor", f"csv:{tmp_path / 'clips.csv'}", "--out", str(tmp_path / "report"), "-q"]) == 1
    assert capfd.readouterr().err.endswith(f"1 of 1 audio files are missing: {tmp_path / 'gone.wav'}\n")
    words = ["train", f"csv:{tmp_path / 'clips.csv'}", "--out", str(tmp_path / "run"), "-q"]
    assert cli.main(words) == 1
    assert "gone.wav; `earmark doctor` finds all faults" in capfd.readouterr().err


def test_damaged_rows_are_a_finding(tmp_path: Path, capfd: Capture) -> None:
    made(tmp_path / "data")
    rows = "path,labels,onset\ndog/00000.wav,dog,\n,rain,\ndog/00001.wav,dog,soon\n"
    (tmp_path / "data" / "clips.csv").write_text(rows)
    words = ["doctor", f"csv:{tmp_path / 'data' / 'clips.csv'}", "--out", str(tmp_path / "report"), "--jobs", "1"]
    assert cli.main([*words, "-q"]) == 0
    told = capfd.readouterr().out
    assert "damaged" in told and "clips.csv, row 3: no path" in " ".join(told.split())
    assert told.splitlines()[-1] == "clean list: 1 of 1 clip, without clips found damaged"
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    reason = "expected onset in seconds, 0 or more, got 'soon'"
    assert report["findings"][0]["items"][1] == {"part": "clips.csv, row 4", "reason": reason}


def test_strict_ends_with_1_unless_all_findings_are_kept(tmp_path: Path, capfd: Capture) -> None:
    data = made(tmp_path / "data")
    words = ["doctor", data, "--out", str(tmp_path / "report"), "--jobs", "1", "--min-clips", "0", "-q", "--strict"]
    assert cli.main(words) == 1
    assert capfd.readouterr().err == (
        "error: there are findings, which --strict does not allow; --keep allows kinds of them\n"
    )
    assert (tmp_path / "report" / "clean.txt").exists()
    assert cli.main([*words, "--keep", "silent, duplicate"]) == 0
    assert "clean list: 8 of 8 clips" in capfd.readouterr().out


def test_nothing_clean_is_an_error(tmp_path: Path, capfd: Capture) -> None:
    save_audio(tmp_path / "data" / "dog" / "silent.wav", Audio(np.zeros(RATE), RATE))
    out = tmp_path / "report"
    assert cli.main(["doctor", f"folder:{tmp_path / 'data'}", "--out", str(out), "--jobs", "1"]) == 1
    captured = capfd.readouterr()
    assert captured.err == f"error: none of 1 clip is clean; the findings are in {out}\n"
    assert "silent" in captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--min-seconds -1", "--min-seconds: at least 0 was expected, not -1"),
        ("--keep unreadable", "--keep: some of unlabelled, short, silent, duplicate, contradicting, ends-early"),
        ("--drop leaking", "--drop: some of ends-early, clipped, warned were expected, not leaking"),
        ("--jobs 0", "Expected at least 1, got 0"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: str, message: str, capfd: Capture) -> None:
    assert cli.main(["doctor", "folder:none", "--out", str(tmp_path / "report"), *words.split()]) == 2
    assert message in capfd.readouterr().err
    (tmp_path / "file").touch()
    assert cli.main(["doctor", "folder:none", "--out", str(tmp_path / "file")]) == 2
    assert "Only directory is allowed" in capfd.readouterr().err


def test_splits_and_labels(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    words = ["doctor", f"folder:{clips}", "--split", "train", "--labels", "bell", "--jobs", "1", "-q"]
    assert cli.main([*words, "--out", str(tmp_path / "report")]) == 0
    clean = open_data(f"clips:{tmp_path / 'report' / 'clean.txt'}")
    assert (clean.splits, clean.labels.names, len(clean)) == (("train",), ("bell",), 3)


def test_train_and_evaluate_take_the_clean_list(tmp_path: Path, clips: Path, model: str, capfd: Capture) -> None:
    data = tmp_path / "data"
    for path in clips.rglob("*.wav"):
        (data / path.relative_to(clips)).parent.mkdir(parents=True, exist_ok=True)
        (data / path.relative_to(clips)).write_bytes(path.read_bytes())
    (data / "train" / "bell" / "broken.wav").write_text("no sound")
    assert cli.main(["doctor", f"folder:{data}", "--out", str(tmp_path / "report"), "--jobs", "1", "-q"]) == 0
    small = "--width 2 --n-heads 2 --sample-rate 16000 --n-workers 0 --device cpu --n-clips-seen 4 --batch-size 2 -q"
    clean = f"clips:{tmp_path / 'report' / 'clean.txt'}"
    run = tmp_path / "run"
    words = ["train", clean, "--split", "train", "--valid-split", "test", "--out", str(run)]
    assert cli.main([*words, *small.split()]) == 0
    capfd.readouterr()
    assert cli.main(["evaluate", str(run / "best.safetensors"), clean, "--split", "test", "--json", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["n_clips"] == 3


def save_damaged(tiny, source: str, folder: Path) -> str:
    """A tiny AudioSet: the second clip has no label, the third also has an unknown one, and the last has no sound."""
    damaged = type(tiny)()
    first, second, third, *others = tiny.rows
    damaged.rows = (first, second._replace(label_ids=()), third._replace(label_ids=("/m/09x0r", "/m/none")), *others)
    if source == "audioset":
        damaged.save_folder(folder)
        (folder / "audio" / "eval" / f"{others[-1].video_id}.wav").unlink()
    elif source == "fsd50k":
        damaged.save_fsd50k(folder)
        (folder / "FSD50K.eval_audio" / f"{others[-1].video_id}.wav").unlink()
    else:
        damaged.save_parquet(folder)
        path = folder / "data" / "eval" / "00.parquet"
        table = parquet.read_table(path)
        rows = table.to_pylist()
        rows[-1]["audio"]["bytes"] = None
        parquet.write_table(pa.Table.from_pylist(rows, table.schema), path)
    return f"{source}:{folder}"


@pytest.mark.parametrize("source", ["audioset", "parquet", "fsd50k"])
def test_published_data_sets_with_faulty_clips_are_examined(
    tmp_path: Path, source: str, tiny_audioset, capfd: Capture
) -> None:
    data, report = save_damaged(tiny_audioset, source, tmp_path / "data"), tmp_path / "report"
    with pytest.raises(DataError):
        open_data(data)
    assert cli.main(["doctor", data, "--out", str(report), "--jobs", "1", "--min-clips", "0", "--json", "-q"]) == 0
    found = {f["kind"]: f["items"] for f in json.loads(capfd.readouterr().out)["findings"] if f["n"]}
    first, second, third, *others = (row.video_id for row in tiny_audioset.rows)
    no_sound = {"missing": [{"id": others[-1]}]}
    if source == "parquet":  # the report names no folders
        reason = f"the file, row 1 ({others[-1]}): this row has no audio"
        no_sound = {"unreadable": [{"id": others[-1], "reason": reason}]}
    assert found == {
        **no_sound,
        "outside": [{"id": third, "labels": ["/m/none"]}],
        "unlabelled": [{"id": second}],
    }
    clean = f"clips:{report / 'clean.txt'}"
    assert {clip.id: len(clip.labels) for clip in open_data(clean)} == {first: 4, third: 1, others[0]: 2}
    small = "--width 2 --n-heads 2 --sample-rate 16000 --n-workers 0 --device cpu --n-clips-seen 2 --batch-size 2"
    assert cli.main(["train", clean, "--out", str(tmp_path / "run"), *small.split(), "-q"]) == 0
    assert capfd.readouterr().err == ""


# the process

DYING = """
import multiprocessing, os, signal, sys
from earmark.doctor import journal
from earmark.doctor.report import Report
from earmark.cli import main
from earmark.storage.journal import Journal

n_left = int(sys.argv.pop(1))
append, save = Journal.append, Report.save
journal._SECONDS = 0.0

def die():
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

def append_or_die(self, value):
    global n_left
    n_left -= 1
    if n_left == 0:
        die()
    append(self, value)

def last_words(self, folder):
    save(self, folder)
    if n_left > 0:
        die()

Journal.append, Report.save = append_or_die, last_words
sys.exit(main())
"""


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
def test_a_killed_and_resumed_doctor_writes_the_same_bytes(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    data = made(tmp_path / "data", n_clips=200, seconds=0.25)
    words = ["doctor", data, "--jobs", "2"]
    assert cli.main([*words, "--out", str(tmp_path / "alone"), "-q"]) == 0
    words += ["--out", str(tmp_path / "report")]
    journal = tmp_path / "report" / "journal.jsonl"
    for n_lines, tail in ((1, b""), (60, b"[199, 0.25, 160"), (70, b""), (10_000, b"")):
        process = subprocess.run([sys.executable, "-c", DYING, str(n_lines), *words], capture_output=True, text=True)
        assert process.returncode == -signal.SIGKILL, process.stderr
        workers = [int(pid) for pid in process.stdout.split()]
        wait_until(lambda workers=workers: all(map(has_ended, workers)))
        with journal.open("ab") as stream:
            stream.write(tail)
    assert set(files(tmp_path / "report")) == {"journal.jsonl", "report.json", "clips.csv"}
    assert journal.read_bytes().count(b"\n") == 201
    assert cli.main([*words, "-q"]) == 0
    assert files(tmp_path / "report") == files(tmp_path / "alone")


@pytest.mark.parametrize("n_lines", [0, 2], ids=["while the workers start", "while they work"])
def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path, wait_until: Callable[..., None], n_lines: int) -> None:
    data = made(tmp_path / "data", n_clips=3, seconds=60.0)
    for number in range(4000):  # more work than any machine can do in that time
        (tmp_path / "data" / "dog" / f"{number}.wav").hardlink_to(tmp_path / "data" / "dog" / "00000.wav")
    out = tmp_path / "report"
    process = subprocess.Popen(
        [*EARMARK, "doctor", data, "--out", str(out), "--jobs", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # tests in the background of a shell ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    journal = out / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= n_lines, process)
    # as a terminal sends it, to the workers too
    os.killpg(process.pid, signal.SIGINT)
    printed, told = process.communicate()
    assert (process.returncode, printed) == (130, "")
    assert told == "error: interrupted; finished work is kept, and the same command continues\n"
