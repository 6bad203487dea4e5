"""The CSV of BirdNET-Analyzer, which tools for its detections read."""

from collections.abc import Iterable
from typing import IO, Any, Final

from earmark.annotations.events import FileEvents
from earmark.storage.text_files import row_writer

_COLUMNS: Final = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


def write_birdnet(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a header and a row an event; the label stands for both names of the species. Times of day are left out."""
    write = row_writer(stream)
    write(_COLUMNS)
    for recording in files:
        for event in recording.events:
            score = "" if event.score is None else f"{event.score:.6g}"
            times = (round(event.onset, 6), round(event.offset, 6))
            write((*times, event.label, event.label, score, recording.file))
