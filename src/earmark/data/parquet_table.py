"""The footer and the columns without audio of a Parquet file with recordings."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from earmark.data import packs
from earmark.data.damage import DamageError
from earmark.data.dataset_card import DatasetCards, class_names
from earmark.data.joined_labels import split_cell
from earmark.data.parquet_audio import Shard
from earmark.errors import DataError
from earmark.storage.files import utf8_name
from earmark.storage.remote import RemotePath

AUDIOSET: Final = "a file of AudioSet"
PACK: Final = "a file of `earmark pack`"
OWN: Final = "a table of your own"
_ACCEPTED: Final = (
    "audio, labels or label, and either path or id (and optionally onset, offset or duration, split, group), or "
    "AudioSet's video_id, audio and labels"
)
_AUDIO_PATH: Final = "audio.path"
"""Column of the ids of Hugging Face's audio data sets that have no other."""
TIMES: Final = ("onset", "offset", "duration")


class Table(NamedTuple):
    """A shard without its audio. Columns are Arrow arrays, None if the file lacks the column."""

    shard: Shard
    kind: str
    about: dict[str, Any]
    """The description of the data set by `earmark pack`."""
    id_column: str
    ids: Any
    labels: Any
    """Lists of texts."""
    splits: Any
    groups: Any
    known: Any
    """Lists of texts, of packs only; null where all labels are known."""
    times: dict[str, Any]
    rows_per_group: list[int]
    ranges: tuple[list[int], list[int]] | None
    """First byte and number of bytes of each recording; None if the file does not state them."""
    largest_group: int
    """Compressed bytes of audio in the largest row group; 0 for packs."""

    def row(self, number: int) -> str:
        """File and row, for errors."""
        return f"{self.shard.url}, row {number} ({self.ids[number].as_py()})"

    def damaged(self, number: int, reason: str) -> DamageError:
        """The error for a faulty row."""
        return DamageError(self.row(number), f"{self.shard.name}, row {number}", reason)


def read_parquet_table(folder: str, name: str, cards: DatasetCards | None = None) -> Table:
    """A file without its recordings.

    Args:
        folder: Path or URL.
        name: Name of the file, relative to the folder.
        cards: Descriptions of the data set that other files share.

    Raises:
        DamageError: The file cannot be read as Parquet or has other columns.
    """
    from pyarrow import parquet

    url = Shard(folder, name, "audio").url
    place = RemotePath(url)
    try:
        # Arrow reads local files directly
        with utf8_name(place.path) if place.is_local else place.open() as source, parquet.ParquetFile(source) as file:
            return _read_columns(folder, name, file, cards or DatasetCards())
    except DataError as error:
        raise DamageError(url, name, str(error).removeprefix(f"{url}: ")) from error
    except Exception as error:  # Arrow and remote file systems raise errors of any type
        if place.is_local and not os.path.exists(place.path):  # noqa: PTH110
            raise DamageError(url, name, "no such file, or a broken link") from error
        reason = getattr(error, "strerror", None) or " ".join(str(error).replace(place.path, name).split())
        raise DamageError(url, name, f"cannot be read as Parquet, damaged or cut off: {reason}") from error


def _read_columns(folder: str, name: str, file: Any, cards: DatasetCards) -> Table:
    import pyarrow as pa

    schema, footer = file.schema_arrow, file.metadata
    url = Shard(folder, name, "audio").url
    about = packs.read_description(url, (schema.metadata or {}).get(b"earmark"))
    kind, id_column = _kind(url, schema, about)
    shard = Shard(folder, name, audio_column(url, schema))
    times = [time for time in TIMES if kind == OWN and time in schema.names]
    group = "group" if "group" in schema.names else "path" if times and "path" in schema.names else None
    label_column = "labels" if "labels" in schema.names else "label"
    known = "known" if kind == PACK else None
    wanted = {name for name in (label_column, "split", group, known, *times) if name and name in schema.names} | {
        id_column
    }
    rows = (footer.metadata or {}).get(packs.ROWS) if kind == PACK else None
    if rows is None:
        read = file.read(columns=sorted(wanted))
    else:
        read = packs.read_parquet_rows(url, rows, schema, footer.num_rows, wanted)

    def column(column: str | None, type_: Any) -> Any:
        if column not in wanted:
            return None
        with _expected_as(url, schema, str(column), type_):
            found = read.column(str(column).partition(".")[0]).combine_chunks()
            return (found.field("path") if column == _AUDIO_PATH else found).cast(type_)

    with _expected_as(url, schema, label_column, pa.list_(pa.string())):
        column_of_labels = read.column(label_column).combine_chunks()
        labels = _labels(url, column_of_labels, schema.metadata or {}, label_column, cards)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    largest = 0
    if kind != PACK and groups:  # the row groups of a pack are small and many
        paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
        audio = paths.index(shard.column)
        largest = max(of_group.column(audio).total_compressed_size for of_group in groups)
    return Table(
        shard,
        kind,
        about,
        id_column,
        ids=column(id_column, pa.string()),
        labels=labels,
        splits=column("split", pa.string()),
        groups=None if kind == AUDIOSET else column(group, pa.string()),
        known=column(known, pa.list_(pa.string())),
        times={time: column(time, pa.float64()) for time in times},
        rows_per_group=[of_group.num_rows for of_group in groups],
        ranges=packs.read_ranges(url, rows, footer.num_rows),
        largest_group=largest,
    )


@contextmanager
def _expected_as(url: str, schema: Any, column: str, type_: Any) -> Iterator[None]:
    """Turns an error of Arrow's conversion into a DataError with both types."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{url}: expected column {column} as {type_}, got {schema.field(column).type}") from error


def audio_column(url: str, schema: Any) -> str:
    """The column that holds the bytes of the recordings.

    Raises:
        DataError: There is none.
    """
    from pyarrow import types

    if "audio" not in schema.names:
        raise DataError(f"{url}: expected the bytes of recordings in column audio, got {', '.join(schema.names)}")
    type_ = schema.field("audio").type
    names = [field.name for field in type_] if types.is_struct(type_) else []
    bytes_ = type_.field("bytes").type if "bytes" in names else type_
    if not (types.is_binary(bytes_) or types.is_large_binary(bytes_)):
        raise DataError(f"{url}: expected the bytes of recordings in column audio, got {type_}")
    return "audio.bytes" if names else "audio"


def _kind(url: str, schema: Any, about: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of a file by its columns, and the column of the ids."""
    columns: Sequence[str] = schema.names
    if "audio" in columns and ("labels" in columns or "label" in columns):
        if about and "id" in columns:
            return PACK, "id"
        if "video_id" in columns:
            return AUDIOSET, "video_id"
        for name in ("id", "path"):
            if name in columns:
                return OWN, name
        type_ = schema.field("audio").type
        if hasattr(type_, "get_field_index") and type_.get_field_index("path") >= 0:
            return OWN, _AUDIO_PATH
    raise DataError(f"{url}: expected the columns {_ACCEPTED}, got {', '.join(columns) or 'none'}")


def _labels(url: str, column: Any, metadata: Mapping[bytes, bytes], name: str, cards: DatasetCards) -> Any:
    """Label lists from lists of texts, from texts that `split_cell` splits, or from numbers that have names.

    The names stand in the footer, or in the description of the data set.
    """
    import pyarrow as pa
    from pyarrow import types

    type_, texts = column.type, pa.list_(pa.string())
    if types.is_string(type_) or types.is_large_string(type_):
        words = column.dictionary_encode()
        return pa.array([split_cell(text) for text in words.dictionary.to_pylist()], texts).take(words.indices)
    is_list = types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)
    names = None
    if types.is_integer(type_.value_type if is_list else type_):
        names = _class_names(metadata, name) or cards.class_names(url, name)
    if names is None:
        return column.cast(texts)
    rows = column.to_pylist() if is_list else [None if number is None else [number] for number in column.to_pylist()]
    # -1 stands for an unknown label
    numbers = [None if row is None else [n for n in row if n is not None and n != -1] for row in rows]
    if strange := {n for row in numbers if row is not None for n in row if not 0 <= n < len(names)}:
        raise DataError(f"{url}: column {name} has {min(strange)}, but its {len(names)} labels are numbered from 0")
    return pa.array([None if row is None else [names[n] for n in row] for row in numbers], texts)


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> list[str] | None:
    """The names that Hugging Face's `datasets` gives the numbers in a column; None if the footer has none."""
    try:
        return class_names(json.loads(metadata.get(b"huggingface", b"null"))["info"]["features"][column])
    except (ValueError, KeyError, TypeError):
        return None
