"""Events as rows of a table, and tables' rows as events."""

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from earmark.annotations.events import Annotation, FileEvents
from earmark.errors import DataError

COLUMNS: Final = ("file", "onset", "offset", "label", "score", "time")
"""Columns of earmark's own tables; `time` only where it is wanted."""


def row_of(file: str, event: Annotation) -> dict[str, Any]:
    """An event's row: seconds to the microsecond, the score with six significant digits, the time as ISO 8601."""
    return {
        "file": file,
        "onset": round(event.onset, 6),
        "offset": round(event.offset, 6),
        "label": event.label,
        "score": None if event.score is None else float(f"{event.score:.6g}"),
        "time": None if event.time is None else event.time.isoformat(),
    }


def grouped(rows: Iterable[tuple[str, Annotation | None]]) -> list[FileEvents]:
    """The events of each file, in the order of the first rows; None states that a file has no event."""
    files: dict[str, list[Annotation]] = {}
    for file, event in rows:
        events = files.setdefault(file, [])
        if event is not None:
            events.append(event)
    return [FileEvents(file, tuple(events)) for file, events in files.items()]


def parse_number(text: str, place: str) -> float:
    """The number in a cell.

    Raises:
        DataError: The cell holds no finite number; the text begins with `place`.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: expected a number, got {text!r}")
    return value


def parse_time(text: str, place: str) -> datetime:
    """The time of day in a cell.

    Raises:
        DataError: The cell holds no ISO 8601 time; the text begins with `place`.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{place}: expected a time such as 2024-05-01T05:30:00, got {text!r}") from None
