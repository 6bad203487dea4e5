"""`earmark clips`."""

from pathlib import Path

import pytest

from earmark import cli

Capture = pytest.CaptureFixture[str]


def test_a_bad_recording_is_one_line_and_the_others_are_cut(
    events: Path, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "clips"
    words = ["clips", str(events), str(out), "--audio-root", str(recordings), "--pad", "0.2"]
    for _ in range(2):
        assert cli.main(words) == 1, "also if all the rest was there"
        captured = capfd.readouterr()
        assert captured.out == f"{out}: 11 clips (a/b 6, dog 5)\n"
        errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1 and "b.wav" in errors[0] and errors[0].endswith("(1 clip missing)")
        assert f"earmark review {out}" in captured.err
    assert sorted(path.name for path in out.iterdir()) == [
        "_clips.jsonl",
        *("a%2Fb", "clips.json", "dog", "manifest.csv"),
    ]


def test_no_clip_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.csv").write_text("file,onset,offset,label\ngone.wav,0,1,dog\n")
    assert cli.main(["clips", "events.csv", "out", "--quiet"]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert "--audio-root" in lines[0] and lines[-1].startswith("error: events.csv: no clip could be cut")


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["clips", "none.csv", "out"], 1, "none.csv"),
        (["clips", "events.xyz", "out"], 2, "--events-format"),
        (["clips", "events.csv", "out", "--jobs", "0"], 2, "at least 1"),
        (["clips", "events.csv", "out", "--audio-root", "gone"], 2, "gone"),
        (["clips", "e.id.csv", "out"], 2, "Kaleidoscope table, which earmark writes but does not read"),
        (["clips", "events.csv", "out", "--pad", "-1"], 2, "at least 0"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], status: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == status
    error = capfd.readouterr().err
    assert reason in error and error.count("\n") == 1
