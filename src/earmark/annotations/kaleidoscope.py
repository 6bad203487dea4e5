"""The CSV of Kaleidoscope, which opens it to view and verify detections."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import IO, Any, Final

from earmark.annotations.events import FileEvents
from earmark.storage.text_files import row_writer

_COLUMNS: Final = ("INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION")
_TIME: Final = ("DATE", "TIME", "HOUR")
_MATCH: Final = ("TOP1MATCH", "TOP1DIST", "MANUAL ID")


def write_kaleidoscope(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a header and a row an event. TOP1DIST is a distance, small for a good match: 1 minus the score."""
    write = row_writer(stream)
    write((*_COLUMNS, *(_TIME if with_time else ()), *_MATCH))
    for recording in files:
        path = PurePosixPath(recording.file)
        folder = path.parent.name
        indir = str(path.parent.parent) if folder else str(path.parent)
        for event in recording.events:
            time: tuple[Any, ...] = ()
            if with_time:
                start = event.time
                time = ("", "", "") if start is None else (start.date(), start.strftime("%H:%M:%S"), start.hour)
            distance = "" if event.score is None else round(1.0 - event.score, 6)
            place = (indir, folder, path.name, 0, round(event.onset, 6), round(event.offset - event.onset, 6))
            write((*place, *time, event.label, distance, ""))
