"""What the footer of a file of `earmark pack` says: its data set, its rows without sound, where each recording lies."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from earmark.errors import DataError
from earmark.labels import LabelSet

FORMAT: Final = 1
"""Of earmark's own files, in the metadata of their schema under `earmark`."""
ROWS: Final = b"earmark_rows"
"""Where the metadata of a whole file may repeat its columns without audio, by name, as JSON: with a row group for each
clip they lie all over the file, and far away each is a request. `start` and `n_bytes` beside them are where in the file
the recordings are."""


MANIFEST: Final = "pack.json"
"""Beside the files of a whole pack: which they are."""
JOURNAL: Final = "_pack.jsonl"
"""There while a pack is made."""
_NUMBERED: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


def missing_files(names: Sequence[str], manifest: bytes | None) -> list[str]:
    """Files of a pack that others of it, by their numbers, or its manifest say there should be."""
    series = {(match[1], int(match[3])) for match in map(_NUMBERED.fullmatch, names) if match}
    expected = {f"{stem}-{number:05d}-of-{n:05d}.parquet" for stem, n in series for number in range(n)}
    # whether a manifest is damaged is for `earmark pack --check` to say
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        expected.update(str(shard["file"]) for shard in json.loads(manifest or b"{}").get("shards", ()))
    return sorted(expected - set(names))


def about(url: str, text: bytes | None) -> dict[str, Any]:
    """What `earmark pack` says of the data set; nothing where it is not its file."""
    try:
        about = json.loads(text or b"{}")
        if about.get("kind") != "pack":
            return {}
        if about["format"] != FORMAT:
            raise DataError(f"{url}: format {FORMAT} of `earmark pack` was expected, got {about['format']}")
        label_set(url, about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{url}: the description of its data set is damaged: {error!r}") from error
    return dict(about)


def label_set(url: str, about: Mapping[str, Any]) -> LabelSet:
    try:
        return LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
    except DataError as error:
        raise DataError(f"{url}: {error}") from error


def rows(url: str, text: bytes, schema: Any, n_rows: int, wanted: Iterable[str]) -> Any:
    """The table that a footer repeats."""
    import pyarrow as pa

    try:
        columns = json.loads(text)
        table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in wanted})
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{url}: the rows that its footer repeats are damaged: {error!r}") from error
    if len(table) != n_rows:
        raise DataError(f"{url}: {n_rows} rows were expected, its footer repeats {len(table)}")
    return table


def ranges(url: str, text: bytes | None, n_rows: int) -> tuple[list[int], list[int]] | None:
    """Where in the file a footer says that the recordings are."""
    columns = json.loads(text or b"{}")
    if "start" not in columns:
        return None
    ranges = columns["start"], columns.get("n_bytes")
    for column in ranges:
        is_sound = isinstance(column, list) and all(isinstance(value, int) and value > 0 for value in column)
        if not is_sound or len(column) != n_rows:
            raise DataError(
                f"{url}: the rows that its footer repeats are damaged: {n_rows} ranges of bytes were expected"
            )
    return ranges
