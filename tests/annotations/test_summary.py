"""Events counted by hour, day, file and label."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.summary import Count, summarize
from earmark.errors import DataError

NIGHT = datetime(2024, 5, 1, 23, 59, 30, tzinfo=UTC)
FILES = [
    FileEvents(
        "a.wav",
        (
            Annotation(0.0, 2.0, "dog", 0.9, NIGHT),
            Annotation(40.0, 41.0, "dog", 0.8, NIGHT + timedelta(seconds=40)),
            Annotation(41.0, 45.0, "rain", None, NIGHT + timedelta(seconds=41)),
        ),
    ),
    FileEvents("20240501_235000.WAV", (Annotation(5.0, 6.5, "dog", 0.95), Annotation(700.0, 701.0, "dog", 0.7))),
    FileEvents("c.wav", (Annotation(5.0, 6.0, "bell", 0.5),)),
    FileEvents("d.wav"),
]


def test_by_hour_of_the_day() -> None:
    summary = summarize(FILES, "hour")
    assert summary.n_without_time == 1  # of c.wav; the name of the second file has a time stamp
    assert summary.counts == (
        Count("00", "dog", 2, 2.0, 2, 0.8),
        Count("00", "rain", 1, 4.0, 1, None),
        Count("23", "dog", 2, 3.5, 2, 0.95),
    )


def test_by_day_in_a_zone() -> None:
    days = [(count.group, count.label, count.n_events) for count in summarize(FILES, "day").counts]
    assert days == [("2024-05-01", "dog", 2), ("2024-05-02", "dog", 2), ("2024-05-02", "rain", 1)]
    local = summarize(FILES, "day", ZoneInfo("America/New_York")).counts
    assert [(count.group, count.n_events) for count in local] == [("2024-05-01", 4), ("2024-05-01", 1)]


def test_times_without_a_zone_count_as_they_are() -> None:
    files = [FileEvents("POND_20240501_053000.wav", (Annotation(0.0, 1.0, "dog"),))]
    (count,) = summarize(files, "hour", ZoneInfo("Asia/Tokyo")).counts
    assert count.group == "05"


def test_by_file_names_those_without_events() -> None:
    counts = summarize(FILES, "file").counts
    assert [(count.group, count.label, count.n_events) for count in counts] == [
        ("20240501_235000.WAV", "dog", 2),
        ("a.wav", "dog", 2),
        ("a.wav", "rain", 1),
        ("c.wav", "bell", 1),
        ("d.wav", "", 0),
    ]


def test_by_label_the_most_frequent_first() -> None:
    summary = summarize(FILES, "label")
    assert [(count.label, count.n_events, count.n_files) for count in summary.counts] == [
        ("dog", 4, 2),
        ("bell", 1, 1),
        ("rain", 1, 1),
    ]
    assert summary.n_without_time == 0


def test_without_any_time_of_day_hours_are_refused() -> None:
    with pytest.raises(DataError, match="no event has a time of day"):
        summarize(FILES[2:], "hour")
    assert summarize([], "hour").counts == ()
