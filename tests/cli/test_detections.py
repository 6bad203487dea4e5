"""Events as commands print and write them."""

import json
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import CycloptsError

from earmark.annotations.formats import FORMATS
from earmark.annotations.start_times import StartTimes
from earmark.cli.detections import READ_AGAIN, EventForm, FileDetections, event_form, write_detections
from earmark.inference.events import Event

RESULT = FileDetections(
    "20240501_235959.WAV", 9.5, (Event("dog", 1.25, 2.0, 0.123456789), Event("rain", 3.0, 4.0, 0.5))
)


def test_the_flag_names_every_format() -> None:
    assert set(get_args(EventForm)) == set(FORMATS)


def test_results_survive_a_journal_unrounded() -> None:
    for result in (RESULT, FileDetections.failed("b.wav", "b.wav: damaged"), FileDetections("c.wav", 1.0)):
        assert FileDetections.from_json(json.loads(json.dumps(result.to_json()))) == result


@pytest.mark.parametrize("form", READ_AGAIN)
def test_written_results_are_read_again_and_written_alike(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    results = [RESULT, FileDetections.failed("b.wav", "damaged"), FileDetections("c.wav", 1.0)]
    write_detections(results, form, tmp_path / "1", StartTimes(), True)
    read = [*map(FileDetections.from_annotations, FORMATS[form].read(tmp_path / "1"))]
    assert [(result.file, len(result.events)) for result in read] == [(RESULT.file, 2), ("c.wav", 0)]
    write_detections(read, form, tmp_path / "2", StartTimes(), True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_events_have_times_of_day() -> None:
    times = [event.time.isoformat() for event in RESULT.to_annotations(StartTimes()).events if event.time]
    assert times == ["2024-05-02T00:00:00.250000+00:00", "2024-05-02T00:00:02+00:00"]
    assert FileDetections("a.wav", 9.5, RESULT.events).to_annotations(StartTimes()).events[0].time is None


@pytest.mark.parametrize(
    ("out", "own", "form"),
    [
        (None, (), "table"),
        ("e", (), "table"),
        ("/dev/stdout", (), "table"),
        ("e.csv", (), "csv"),
        ("e.txt", (), "audacity"),
        ("e.selections.txt", (), "raven"),
        ("e.json", (), "label-studio"),
        ("e.json", ("json",), "json"),
        ("e.jsonl", ("json",), "jsonl"),
    ],
)
def test_the_suffix_decides_the_format(out: str | None, own: tuple[str, ...], form: str) -> None:
    assert event_form(None, None, None if out is None else Path(out), own) == form


def test_contradictions_are_refused() -> None:
    with pytest.raises(CycloptsError, match="--json means --format jsonl"):
        event_form("csv", "jsonl", None)
    with pytest.raises(CycloptsError, match=r"--out e\.xml: a file name that ends in one of"):
        event_form(None, None, Path("e.xml"))
