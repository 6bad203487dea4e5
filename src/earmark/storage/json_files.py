"""JSON files, written atomically, with null for nan and infinities."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earmark.storage.files import atomic_write


def json_value(value: Any) -> Any:
    """The value with None for nan and infinities, at any depth; tuples become lists.

    >>> json_value({"d_prime": float("inf"), "interval": (0.1, 0.2)})
    {'d_prime': None, 'interval': [0.1, 0.2]}
    """
    if isinstance(value, Mapping):
        return {key: json_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path | str, value: Any) -> None:
    """Writes an indented JSON file atomically.

    Raises:
        OSError: The file cannot be written.
        ValueError: The value holds nan or infinities (`json_value`).
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        # file names may hold bytes that are not UTF-8: they are written as JSON escapes
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
