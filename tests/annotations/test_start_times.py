"""Time stamps in file names."""

from datetime import datetime

import pytest

from earmark.annotations.start_times import StartTimes, later
from earmark.errors import ConfigError


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("20240501_053000.WAV", "2024-05-01T05:30:00+00:00"),  # AudioMoth
        ("card/20240501_053000T.WAV", "2024-05-01T05:30:00+00:00"),
        ("SITE_20240501_053000.wav", "2024-05-01T05:30:00"),  # Song Meter
        ("ARIZONA-1_20161023$195550.wav", "2016-10-23T19:55:50"),
        ("S3_0+1_20240501_053000_000.wav", "2024-05-01T05:30:00"),
        ("2024-05-01T05-30-00.flac", "2024-05-01T05:30:00"),
        ("2024-05-01 05.30.00 garden.flac", "2024-05-01T05:30:00"),
        ("2024-05-01T05:30:00+02:00.flac", "2024-05-01T05:30:00+02:00"),
        ("REC_20240501_053000.mp3", "2024-05-01T05:30:00"),
        ("REC20240501053000.mp3", "2024-05-01T05:30:00"),
        ("20240501T053000+1000_REC.flac", "2024-05-01T05:30:00+10:00"),  # Frontier Labs
        ("20240501T053000Z.wav", "2024-05-01T05:30:00+00:00"),
        (r"C:\cards\20240501_053000.WAV", "2024-05-01T05:30:00+00:00"),
        ("20241399_250000.wav", None),  # no date
        ("20241399_250000_20240501_053000.wav", "2024-05-01T05:30:00"),  # the second one is valid
        ("120240501_0530001.wav", None),
        ("20240501_053000/a.wav", None),  # the folder's
        ("street.wav", None),
        ("-", None),
        ("20240501_053000-1234.wav", "2024-05-01T05:30:00"),  # a number, not an offset from UTC
    ],
)
def test_stamps_of_recorders(file: str, expected: str | None) -> None:
    time = StartTimes().of(file)
    assert (None if time is None else time.isoformat()) == expected


def test_a_zone_is_that_of_the_recorders_clock() -> None:
    times = StartTimes(time_zone="Europe/Berlin")
    for file in ("20240501_053000.WAV", "SITE_20240501_053000.wav"):
        assert str(times.of(file)) == "2024-05-01 05:30:00+02:00"
    assert str(times.of("SITE_20241201_053000.wav")) == "2024-12-01 05:30:00+01:00"
    assert str(times.of("20240501T053000+1000_REC.flac")) == "2024-05-01 05:30:00+10:00"  # the name knows better


@pytest.mark.parametrize(
    ("time_format", "file", "expected"),
    [
        ("%d%m%y_%H%M", "site7/pond_010524_0530_x.wav", "2024-05-01 05:30:00"),
        ("SITE_%Y-%j-%H.%M.%S", "SITE_2024-122-05.30.15.wav", "2024-05-01 05:30:15"),
        ("%Y-%m-%d/%H%M%S", "pond/2024-05-01/053000.wav", "2024-05-01 05:30:00"),
        ("%d%b%Y-%I%M%p", "01May2024-0530PM.wav", "2024-05-01 17:30:00"),
        ("%Y%m%d_%H%M%S", "20240501_053000.wav", "2024-05-01 05:30:00"),
        ("%d%m%y_%H%M", "20240501_053000.wav", None),
    ],
)
def test_other_stamps_by_a_format(time_format: str, file: str, expected: str | None) -> None:
    time = StartTimes(time_format).of(file)
    assert (None if time is None else str(time)) == expected


@pytest.mark.parametrize("time_format", ["%H%M", "%m%d_%H%M", "%Y%m%d", "%Y%m%d_%H%Q", "%Y%m%d_%H%", ""])
def test_a_format_without_date_and_time_is_refused(time_format: str) -> None:
    with pytest.raises(ConfigError, match=r"^time_format: "):
        StartTimes(time_format)


@pytest.mark.parametrize("zone", ["Berlin", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ConfigError, match="time_zone: the name of a time zone"):
        StartTimes(time_zone=zone)


def test_later_times_respect_summer_time() -> None:
    start = StartTimes(time_zone="Europe/Berlin").of("SITE_20240331_013000.wav")
    assert start is not None
    assert later(start, 3600.5).isoformat() == "2024-03-31T03:30:00.500000+02:00"
    assert later(datetime(2024, 3, 31, 1, 30), 3600.0).isoformat() == "2024-03-31T02:30:00"
