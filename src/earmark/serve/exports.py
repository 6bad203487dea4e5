"""Export of events, which a page or a program sends, as a file in a format of annotations."""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.exceptions import HTTPException

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.formats import FORMATS
from earmark.errors import ConfigError
from earmark.serve.uploads import label

_MOST_EVENTS: Final = 200_000
_EXAMPLE: Final = '{"files": [{"name": "a.wav", "events": [{"label": "dog", "onset": 1.5, "offset": 2}]}]}'
_EVENT: Final = {
    "type": "object",
    "required": ["label", "onset", "offset"],
    "properties": {
        "label": {"type": "string"},
        "onset": {"type": "number"},
        "offset": {"type": "number"},
        "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
}
_FILE: Final = {
    "type": "object",
    "required": ["name", "events"],
    "properties": {
        "name": {"type": "string"},
        "duration": {"type": "number"},
        "events": {"type": "array", "items": _EVENT},
    },
}
_FILES: Final = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": _FILE}},
}
BODY: Final[Mapping[str, Any]] = {
    "description": "Recordings with their events.",
    "content": {"application/json": {"schema": _FILES}},
}
"""OpenAPI's description of the body."""


@dataclass(frozen=True)
class ExportQuery:
    """Choice of the format."""

    format: str = "csv"
    """Name of a format, as `/api/models` lists them."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"one of {', '.join(FORMATS)} was expected", "format")


def exported(value: Any, name: str) -> tuple[bytes, str, str]:
    """The content of the file, a name for it, and its media type.

    Args:
        value: The JSON body.
        name: Name of the format.

    Raises:
        HTTPException: The body is not as described, or has too many events.
        DataError: An event is invalid, or the format cannot hold the recordings.
    """
    try:
        files = [_file(entry) for entry in value["files"]]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise HTTPException(400, f"JSON such as {_EXAMPLE} was expected ({type(error).__name__}: {error})") from error
    if sum(len(entry.events) for entry in files) > _MOST_EVENTS:
        raise HTTPException(413, f"up to {_MOST_EVENTS} events were expected")
    form = FORMATS[name]
    stem = "events" if len(files) != 1 else "".join(c if c.isascii() and c.isalnum() else "-" for c in files[0].file)
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        path = Path(folder, f"events{form.suffixes[0]}")
        form.write(path, files)
        kind = "application/octet-stream" if form.is_binary else "text/plain"
        return path.read_bytes(), f"{stem}{form.suffixes[0]}", kind


def _file(value: Mapping[str, Any]) -> FileEvents:
    duration = value.get("duration")
    if duration is not None and not 0 <= float(duration) < math.inf:
        raise ValueError(f"a duration is a finite number of seconds, not {duration}")
    events = tuple(_event(entry) for entry in value["events"])
    return FileEvents(label(str(value["name"])), events, None if duration is None else float(duration))


def _event(value: Mapping[str, Any]) -> Annotation:
    score = value.get("score")
    return Annotation(
        float(value["onset"]), float(value["offset"]), str(value["label"]), None if score is None else float(score)
    )
