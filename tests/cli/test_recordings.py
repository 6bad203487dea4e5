"""Commands on many recordings: found, worked on in parallel, in order, and kept in a journal."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from earmark import hub
from earmark.cli.recordings import (
    GivenRecording,
    ResultsJournal,
    Tally,
    Work,
    find_recordings,
    fingerprint,
    in_order,
    jobs_for,
    known_results,
)
from earmark.cli.results import FileResult
from earmark.errors import AudioError, ConfigError, DataError
from earmark.inference.tagger import Tag

RESULTS = [
    FileResult("a.wav", 1.5, (Tag("dog", 0.5),)),
    FileResult("b.wav", error="b.wav: damaged"),
    FileResult("c, \udcff.wav", 2.0, (Tag("dog", 0.75),)),
]


def journal_of(folder: Path, **settings: Any) -> ResultsJournal[FileResult]:
    return ResultsJournal(folder / "r.csv", "tag", settings, FileResult.from_json)


def test_a_journal_keeps_results_until_the_command_succeeds(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, top=3)
    assert journal.read() == []
    with pytest.raises(KeyboardInterrupt), journal.appending(RESULTS[:1]) as keep:
        keep(RESULTS[1])
        raise KeyboardInterrupt
    assert journal.read() == RESULTS[:2]
    with journal.path.open("a") as stream:
        stream.write('{"file": "cut o')  # a kill truncates a line
    assert journal.read() == RESULTS[:2]
    with pytest.raises(ConfigError, match="had another model or other settings"):
        journal_of(tmp_path, top=4).read()
    with journal.appending(journal.read()) as keep:
        keep(RESULTS[2])
        assert journal.read() == RESULTS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"\xff\xfe", b"[]\n{}\n"])
def test_a_damaged_journal_is_reported(tmp_path: Path, content: bytes) -> None:
    journal = journal_of(tmp_path)
    journal.path.write_bytes(content)
    with pytest.raises(DataError, match=r"\.r\.csv\.part: results of `earmark tag` were expected"):
        journal.read()


def test_recordings_of_folders_keep_their_path_below_the_folder(recordings: Path, tmp_path: Path) -> None:
    found = find_recordings([recordings, recordings / "c.flac", tmp_path, Path("https://example.org/a.wav")])
    assert [(recording.file, str(recording.within)) for recording in found[:4]] == [
        (str(recordings / name), name) for name in ("a.wav", "b.wav", "c.flac", "d/e.ogg")
    ], "c.flac counts once"
    assert [recording.error is None for recording in found] == [True] * 4 + [False] * 2
    assert "no recording in this folder" in str(found[4].error) and "not a URL" in str(found[5].error)


def test_the_fingerprint_is_of_the_file_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    for precision, device, engine in (
        ("float32", "cpu", "onnx"),
        ("float32", "cuda", "torch"),
        ("bf16", "cpu", "torch"),
    ):
        expected = hashlib.sha256(hub.find_checkpoint("earmark-esc50", engine).read_bytes()).hexdigest()
        assert fingerprint("earmark-esc50", precision, "auto", device) == expected


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_results_have_the_order_of_the_recordings_and_errors_are_results(tmp_path: Path, n_jobs: int) -> None:
    names = [str(tmp_path / name) for name in "abcd"]
    kept = []

    def run(path: Path, recording: GivenRecording, cancel: threading.Event) -> FileResult:
        if path.name == "b":
            raise AudioError("damaged")
        if path.name == "c":
            raise MemoryError
        return FileResult(recording.file, 1.0)

    work = Work(run, FileResult.failed, kept.append)
    recordings = [*map(GivenRecording, names), GivenRecording("e", error="e: Permission denied")]
    results = list(work.results(recordings, n_jobs))
    assert [result.file for result in results] == [*names, "e"]
    assert [result.error for result in results] == [
        None,
        f"{names[1]}: damaged",
        f"{names[2]}: out of memory; fewer --jobs need less",
        None,
        "e: Permission denied",
    ]
    assert sorted(result.file for result in kept) == sorted(result.file for result in results)


def test_known_results_leave_out_what_is_done_again() -> None:
    recordings = [GivenRecording(name) for name in ("a.wav", "-", "b.wav")]
    earlier = [*RESULTS, FileResult("-", 1.0)]
    known = known_results(recordings, earlier)
    assert list(known) == ["a.wav", "c, \\xff.wav"]
    fresh = iter([FileResult("-", 9.0), FileResult("b.wav", 9.0)])
    assert [(result.file, result.duration) for result in in_order(recordings, known, fresh)] == [
        ("c, \udcff.wav", 2.0),
        ("a.wav", 1.5),
        ("-", 9.0),
        ("b.wav", 9.0),
    ]


def test_a_tally_counts_and_reports_errors(capfd: pytest.CaptureFixture[str]) -> None:
    tally, shown = Tally("tagged", 3, 2), []
    assert list(tally.counted(RESULTS, lambda done, total: shown.append((done, total)))) == RESULTS
    assert capfd.readouterr().err == "error: b.wav: damaged\n"
    assert shown == [(1, 3), (2, 3), (3, 3)]
    assert tally.n_failed == 1
    summary = tally.summary()
    assert summary.startswith("tagged 2 of 3 files, 3.5 s of sound, in ")
    assert summary.endswith(", 1 could not be read; 2 had results already")


def test_no_more_jobs_than_files() -> None:
    assert jobs_for(8, 3)[0] == 3 and jobs_for(None, 0)[0] == 1
