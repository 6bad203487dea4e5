"""`earmark summarize`."""

import csv
import io
import json
from pathlib import Path

import pytest

from earmark import cli
from earmark.annotations.summary import Count, Summary

Capture = pytest.CaptureFixture[str]
EVENTS = """file,onset,offset,label,score,time
a.wav,0,2,dog,0.9,2024-05-01T23:59:30+00:00
a.wav,40,41,dog,0.8,2024-05-02T00:00:10+00:00
a.wav,41,45,rain,0.5,2024-05-02T00:00:11+00:00
b.wav,,,,,
c.wav,5,6,dog,0.7,
"""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    (tmp_path / "e.csv").write_text(EVENTS)
    return tmp_path / "e.csv"


def test_by_hour_for_people_spreadsheets_and_programs(events: Path, capfd: Capture) -> None:
    assert cli.main(["summarize", str(events)]) == 0
    captured = capfd.readouterr()
    assert captured.out.split()[:6] == ["hour", "label", "events", "seconds", "files", "best_score"]
    assert captured.out.splitlines()[1].split() == ["00", "dog", "1", "1", "1", "0.8"]
    assert captured.err == "note: 1 event without a time of day left out\n3 events in 3 files\n"
    assert cli.main(["summarize", str(events), "--format", "csv", "--quiet"]) == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [(row["hour"], row["label"], row["events"]) for row in rows] == [
        ("00", "dog", "1"),
        ("00", "rain", "1"),
        ("23", "dog", "1"),
    ]
    assert cli.main(["summarize", str(events), "--by", "label", "--json", "--quiet"]) == 0
    assert json.loads(capfd.readouterr().out)[0] == {
        "label": "dog",
        "events": 3,
        "seconds": 4.0,
        "files": 2,
        "best_score": 0.9,
    }


def test_large_counts_are_whole_numbers(events: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = Summary((Count("", "dog", 1_234_567, 2.5, 3_000_000, 0.9),), 0)
    monkeypatch.setattr("earmark.cli.summarize.count_events", lambda files, by, zone: summary)
    assert cli.main(["summarize", str(events), "--by", "label", "--quiet"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split() == ["dog", "1234567", "2.5", "3000000", "0.9"]


def test_days_in_a_zone_and_a_picture(events: Path, tmp_path: Path, capfd: Capture) -> None:
    pytest.importorskip("matplotlib")
    words = ["summarize", str(events), "--by", "day", "--quiet", "--out", str(tmp_path / "days.csv")]
    assert cli.main([*words, "--time-zone", "America/New_York", "--plot", str(tmp_path / "d.png")]) == 0
    assert {line.split(",")[0] for line in (tmp_path / "days.csv").read_text().splitlines()[1:]} == {"2024-05-01"}
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["summarize", str(events), "--quiet", "--plot", str(tmp_path / "h.svg")]) == 0
    assert (tmp_path / "h.svg").exists()


def test_annotations_of_other_programs_are_counted(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "20240501_053000.txt").write_text("1.0\t2.0\tdog\n")
    words = ["summarize", str(tmp_path / "20240501_053000.txt"), "--json", "--quiet"]
    assert cli.main(words) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["hour"], row["best_score"]) == ("05", None)
    (tmp_path / "e").write_text(EVENTS)
    assert cli.main(["summarize", str(tmp_path / "e"), "--events-format", "csv"]) == 0


def test_a_text_file_may_be_a_table_of_raven(tmp_path: Path, capfd: Capture) -> None:
    table = tmp_path / "t.txt"
    table.write_text("Begin Time (s)\tEnd Time (s)\tBird\n1\t2\twren\n")
    assert cli.main(["summarize", str(table)]) == 1
    assert "name yours (--label-column bird)" in capfd.readouterr().err
    words = ["summarize", str(table), "--by", "label", "--label-column", "bird", "--json", "--quiet"]
    assert cli.main(words) == 0
    assert json.loads(capfd.readouterr().out)[0]["label"] == "wren"
    table.write_text("1\t2\twren\n")
    assert cli.main(words) == 2
    assert "--label-column is for tables of Raven" in capfd.readouterr().err


def test_errors_in_one_line(events: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "none.csv").write_text("file,onset,offset,label,score\nb.wav,,,,\n")
    (tmp_path / "e.csv2").write_text("")
    for words, status, message in (
        ([str(events), "--by", "file", "--plot", str(tmp_path / "f.png")], 2, "give --by hour or --by day"),
        ([str(events), "--plot", str(tmp_path / "f.gif")], 2, "a file that ends in"),
        ([str(events), "--time-zone", "Mars"], 2, "--time-zone: the name of a time zone"),
        ([str(tmp_path / "e.csv2")], 2, "--events-format: "),
        ([str(tmp_path / "e.id.csv")], 2, "Kaleidoscope table, which earmark writes but does not read"),
        ([str(tmp_path / "gone.csv")], 1, "gone.csv: cannot be read"),
        ([str(tmp_path / "none.csv"), "--plot", str(tmp_path / "f.png")], 1, "no event to draw"),
        ([str(events), "--out", str(events)], 2, "itself, which would be lost"),
    ):
        assert cli.main(["summarize", *words, "--quiet"]) == status, words
        assert message in capfd.readouterr().err
