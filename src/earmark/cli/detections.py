"""Events of recordings as commands print and write them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, Literal, TextIO, get_args

from cyclopts import CycloptsError

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.formats import FORMATS, Format, format_of
from earmark.annotations.raven import is_raven, raven_rows
from earmark.annotations.start_times import StartTimes, later
from earmark.cli import screen
from earmark.errors import ConfigError
from earmark.inference.events import Event
from earmark.storage.files import is_stream

EventForm = Literal["csv", "jsonl", "parquet", "audacity", "raven", "dcase", "birdnet", "kaleidoscope", "label-studio"]
"""Names of `FORMATS`."""
ReadForm = Literal["csv", "jsonl", "parquet", "audacity", "raven", "dcase", "label-studio"]
"""Names of the formats that are read."""
READ_AGAIN: Final = ("csv", "jsonl", "parquet")
"""Formats that keep all of an event, so that --resume can read them again."""


@dataclass(frozen=True)
class FileDetections:
    """Events of one file, or the error that prevented them."""

    file: str
    duration: float = 0.0
    """Seconds; 0 where it is unknown."""
    events: tuple[Event, ...] = ()
    error: str | None = None

    @classmethod
    def failed(cls, file: str, error: str) -> "FileDetections":
        """The result of a file that an error prevented."""
        return cls(file, error=error)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values; times and scores are not rounded."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "duration": self.duration, "events": [asdict(event) for event in self.events]}

    @classmethod
    def from_json(cls, values: Any) -> "FileDetections":
        """The result that `to_json` converted."""
        events = tuple(Event(**event) for event in values.get("events") or ())
        return cls(str(values["file"]), float(values.get("duration") or 0.0), events, values.get("error"))

    @classmethod
    def from_annotations(cls, recording: FileEvents) -> "FileDetections":
        """The result that was written as annotations; raises TypeError where an event has no score."""
        events = tuple(
            Event(event.label, event.onset, event.offset, float(event.score))  # type: ignore[arg-type]
            for event in recording.events
        )
        return cls(recording.file, recording.duration or 0.0, events)

    def to_annotations(self, times: StartTimes) -> FileEvents:
        """The events as annotations, with times of day where the file name has one."""
        start = times.of(self.file)
        events = tuple(
            Annotation(
                event.onset,
                event.offset,
                event.label,
                event.score,
                None if start is None else later(start, event.onset),
            )
            for event in self.events
        )
        return FileEvents(self.file, events, self.duration or None)


def event_form(
    form: str | None, json: str | None, out: Path | None, own: Sequence[str] = (), per_file: bool = False
) -> str:
    """The format of events: from --format or --json, else from the suffix of --out, else a table.

    Args:
        form: Value of --format.
        json: The format that --json stands for; None without --json.
        out: Value of --out.
        own: Formats of the command that are no annotations; `.json` is the suffix of `json` if it is among them.
        per_file: Whether each recording has a file of its own, so that a format is named.

    Raises:
        CycloptsError: --json contradicts --format, the suffix belongs to no format, or the format needs a file.
        ModuleNotFoundError: A package that the format needs is not installed.
    """
    if json is not None and form not in (None, json):
        raise CycloptsError(f"--json means --format {json}, which contradicts --format {form}: give one of them")
    chosen = form or json or _form_of_suffix(out, own)
    if chosen in FORMATS and FORMATS[chosen].is_binary:
        if out is None and not per_file:
            raise CycloptsError(f"--format {chosen} is for files: name one by --out")
        import_module("pyarrow.parquet")  # a missing package is an error before the work
    return chosen


def reader_of(events: Path, form: ReadForm | None, label_column: str | None = None) -> Format:
    """The format of a table of events: from --events-format, else from its suffix; a `.txt` may be Raven's.

    Args:
        events: The table.
        form: Value of --events-format.
        label_column: Column of the labels in a table of Raven.

    Raises:
        ConfigError: The suffix belongs to no format that is read, or the format has no column of labels to choose.
        DataError: The table cannot be read.
    """
    names = get_args(ReadForm)
    try:
        found = format_of(events) if form is None else FORMATS[form]
        if form is None and found is FORMATS["audacity"] and is_raven(events):
            found = FORMATS["raven"]
        if label_column is not None:
            if found is not FORMATS["raven"]:
                raise CycloptsError(f"--label-column is for tables of Raven; {events} is {found.title}")
            return replace(found, rows=partial(raven_rows, label_column=label_column))
        if found.rows is not None:
            return found
        reason = f"{events}: {found.title}, which earmark writes but does not read"
    except ConfigError:
        ends = ", ".join(FORMATS[name].suffixes[0] for name in names)
        reason = f"{events}: a file name that ends in one of {ends} was expected"
    raise ConfigError(f"{reason}; name the format if it is {', '.join(names[:-1])} or {names[-1]}", "events_format")


def _form_of_suffix(out: Path | None, own: Sequence[str]) -> str:
    if out is None or not out.suffix or is_stream(out):
        return "table"
    if out.suffix.lower() == ".json" and "json" in own:
        return "json"
    try:
        form = format_of(out)
    except ConfigError as error:
        raise CycloptsError(f"--out {error.args[0]}") from error
    return next(name for name, other in FORMATS.items() if other is form)


def write_table(file: str, duration: float, events: Iterable[Event], stream: TextIO) -> None:
    """Writes the events of a recording for people."""
    rows = [
        ("", f"{event.onset:.1f} - {event.offset:.1f} s", f"{event.score:.3f}", screen.bar(event.score), event.label)
        for event in events
    ]
    screen.print_tags(stream, f"{file}  {duration:.1f} s", rows)


def write_detections(
    results: Iterable[FileDetections], form: str, out: Path | None, times: StartTimes, with_time: bool
) -> None:
    """Writes results as they come, to standard output or to a file that appears when it is complete.

    Unreadable files are left out.

    Raises:
        OSError: The file cannot be written.
    """
    read = (result for result in results if result.error is None)
    if form == "table":
        with screen.destination(out) as stream:
            for result in read:
                write_table(result.file, result.duration, result.events, stream)
        return
    annotated = (result.to_annotations(times) for result in read)
    if out is None and isinstance(sys.stdout, TextIOWrapper):
        # as in a file: the bytes of file names stay, so that other commands find the recordings
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    FORMATS[form].write(out or sys.stdout, _flushed(annotated) if out is None else annotated, with_time)


def _flushed(recordings: Iterable[FileEvents]) -> Iterator[FileEvents]:
    for recording in recordings:
        yield recording
        sys.stdout.flush()
