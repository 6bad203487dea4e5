"""Events counted by hour of the day, day, file or label."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final, Literal

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.start_times import StartTimes, later
from earmark.errors import DataError

By = Literal["hour", "day", "file", "label"]
HOURS: Final = tuple(f"{hour:02d}" for hour in range(24))


@dataclass(frozen=True)
class Count:
    """Events of a label in a group."""

    group: str
    """Hour from 00 to 23, day as 2024-05-01, or file; the label itself where labels are counted."""
    label: str
    """Empty for a file without events."""
    n_events: int
    seconds: float
    """Sum of the events' durations."""
    n_files: int
    """Number of files with such an event."""
    best_score: float | None
    """Highest score; None where no event has a score."""


@dataclass(frozen=True)
class Summary:
    """Result of `summarize`."""

    counts: tuple[Count, ...]
    """By group; in a group by falling number of events, then by label."""
    n_without_time: int
    """Number of events left out because their time of day is unknown."""


@dataclass
class _Sum:
    n_events: int = 0
    seconds: float = 0.0
    files: set[str] = field(default_factory=set)
    best_score: float | None = None

    def add(self, file: str, event: Annotation) -> None:
        self.n_events += 1
        self.seconds += event.offset - event.onset
        self.files.add(file)
        if event.score is not None:
            self.best_score = event.score if self.best_score is None else max(self.best_score, event.score)


def summarize(files: Iterable[FileEvents], by: By, zone: tzinfo | None = None) -> Summary:
    """Counts events. An event counts in the hour and day of its onset.

    Where an event states no time of day, the time stamp in the file's name gives it (`StartTimes`).

    Args:
        files: The events.
        by: The groups.
        zone: Time zone of hours and days. Times without a zone count as they are stated; without `zone`, all do.

    Raises:
        DataError: Hours or days are wanted, and no event has a time of day.
    """
    sums: dict[tuple[str, str], _Sum] = {}
    n_without_time, times = 0, StartTimes()
    for recording in files:
        start = times.of(recording.file) if by in ("hour", "day") else None
        if not recording.events and by == "file":
            sums.setdefault((recording.file, ""), _Sum())
        for event in recording.events:
            group = _group(recording.file, event, by, start, zone)
            if group is None:
                n_without_time += 1
            else:
                sums.setdefault((group, event.label), _Sum()).add(recording.file, event)
    if n_without_time and not sums:
        raise DataError(
            "no event has a time of day, which hours and days need; `earmark detect` writes it where file names have "
            "time stamps"
        )
    ordered = sorted(sums.items(), key=lambda item: (item[0][0], -item[1].n_events, item[0][1]))
    if by == "label":
        ordered.sort(key=lambda item: -item[1].n_events)
    counts = tuple(
        Count(group, label, total.n_events, total.seconds, len(total.files), total.best_score)
        for (group, label), total in ordered
    )
    return Summary(counts, n_without_time)


def _group(file: str, event: Annotation, by: By, start: datetime | None, zone: tzinfo | None) -> str | None:
    """The group of an event; None where its time of day is unknown."""
    if by == "file":
        return file
    if by == "label":
        return event.label
    time = event.time or (None if start is None else later(start, event.onset))
    if time is None:
        return None
    local = time.astimezone(zone) if zone is not None and time.tzinfo is not None else time
    return HOURS[local.hour] if by == "hour" else local.date().isoformat()
