"""Footers of `earmark pack` files: the data set, the rows without audio, and the byte range of each recording."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from earmark.errors import DataError
from earmark.labels import LabelSet

FORMAT: Final = 1
"""Format number of packed files, stored in their schema's metadata under `earmark`."""
ROWS: Final = b"earmark_rows"
"""Metadata key under which a file repeats its columns without audio, by name, as JSON: with one row group per clip the
columns are scattered over the file, and remotely each would be a request. `start` and `n_bytes` are the byte ranges of
the recordings."""

MANIFEST: Final = "pack.json"
"""Name of the file that lists the files of a finished pack."""
JOURNAL: Final = "_pack.jsonl"
"""Name of the file that marks an unfinished pack."""
_NUMBERED: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.parquet")


def missing_files(names: Sequence[str], manifest: bytes | None) -> list[str]:
    """Files that a pack lacks, according to the numbers in its file names and its manifest."""
    series = {(match[1], int(match[3])) for match in map(_NUMBERED.fullmatch, names) if match}
    expected = {f"{stem}-{number:05d}-of-{n:05d}.parquet" for stem, n in series for number in range(n)}
    # `earmark pack --check` reports a damaged manifest
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        expected.update(str(shard["file"]) for shard in json.loads(manifest or b"{}").get("shards", ()))
    return sorted(expected - set(names))


def read_description(url: str, text: bytes | None) -> dict[str, Any]:
    """The description of the data set by `earmark pack`; empty for other files."""
    try:
        about = json.loads(text or b"{}")
        if about.get("kind") != "pack":
            return {}
        if about["format"] != FORMAT:
            raise DataError(f"{url}: expected format {FORMAT} of `earmark pack`, got {about['format']}")
        label_set(url, about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{url}: the description of its data set is damaged: {error!r}") from error
    return dict(about)


def label_set(url: str, about: Mapping[str, Any]) -> LabelSet:
    """The label set in a pack's description."""
    try:
        return LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
    except DataError as error:
        raise DataError(f"{url}: {error}") from error


def read_parquet_rows(url: str, text: bytes, schema: Any, n_rows: int, wanted: Iterable[str]) -> Any:
    """The table of columns without audio that the footer repeats."""
    import pyarrow as pa

    try:
        columns = json.loads(text)
        table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in wanted})
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{url}: the rows that its footer repeats are damaged: {error!r}") from error
    if len(table) != n_rows:
        raise DataError(f"{url}: expected {n_rows} rows, its footer repeats {len(table)}")
    return table


def read_ranges(url: str, text: bytes | None, n_rows: int) -> tuple[list[int], list[int]] | None:
    """Start and number of bytes of each recording, from the footer; None if it does not state them."""
    columns = json.loads(text or b"{}")
    if "start" not in columns:
        return None
    ranges = columns["start"], columns.get("n_bytes")
    for column in ranges:
        is_sound = isinstance(column, list) and all(isinstance(value, int) and value > 0 for value in column)
        if not is_sound or len(column) != n_rows:
            raise DataError(f"{url}: the rows that its footer repeats are damaged: expected {n_rows} byte ranges")
    return ranges
