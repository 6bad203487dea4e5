"""The input of a job, cut into parts: the same input always has the same parts."""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from io import StringIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final

from earmark.audio.recording import AUDIO_SUFFIXES, scan_audio
from earmark.data.parquet_table import audio_column
from earmark.errors import ConfigError, DataError
from earmark.storage.files import text_encoding
from earmark.storage.remote import RemotePath

ROWS_PER_PART: Final = 256
_COLUMNS: Final = ("path", "file")
"""Columns with the paths in a .csv listing; the first that it has is used."""


@dataclass(frozen=True)
class Part:
    """Some recordings of the input, or rows of a Parquet file, whose results are one file."""

    name: str
    """Name of the file of its results."""
    n_rows: int
    folder: str
    """Local folder or URL that the names below are relative to."""
    files: tuple[str, ...] = ()
    """Recordings, if the input is a listing or a folder of recordings."""
    table: str | None = None
    """Parquet file with the bytes of the recordings."""
    row_groups: tuple[int, ...] = ()
    """Row groups of the table."""
    first_row: int = 0
    """Number of its first row in the table."""

    def to_json(self) -> str:
        """The part as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Part":
        """The part that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "files": tuple(values["files"]), "row_groups": tuple(values["row_groups"])})


@dataclass(frozen=True)
class Input:
    """All parts of an input."""

    parts: tuple[Part, ...]
    fingerprint: str
    """SHA-256 of the names, and of the sizes that are known without opening recordings."""
    unreadable: tuple[str, ...] = ()
    """Folders that cannot be read; each is a row with an error."""

    @property
    def n_rows(self) -> int:
        """Number of recordings in all parts."""
        return sum(part.n_rows for part in self.parts)


def read_input(url: str, rows_per_part: int = ROWS_PER_PART) -> Input:
    """Lists an input and cuts it into parts, without opening a recording.

    A part has up to `rows_per_part` recordings of a listing or folder, in order; or neighbouring row groups of one
    Parquet file with up to `rows_per_part` rows together, at least one row group.

    Args:
        url: Path or URL of a listing (.txt with a path or URL a line, .csv with a column `path` or `file`; relative
            ones are relative to the listing), of a folder of recordings, or of Parquet (file, folder, wildcards) with
            a column `audio`.
        rows_per_part: Maximum number of recordings of a part.

    Raises:
        DataError: The input has no recordings, or is of another kind.
        ConfigError: `rows_per_part` is below 1.
    """
    if rows_per_part < 1:
        raise ConfigError(f"1 or more was expected, not {rows_per_part}", "rows_per_part")
    place = RemotePath(url).absolute
    try:
        if place.has_wildcards or place.is_folder():
            return _read_folder(place, rows_per_part)
        if not place.is_file():
            raise DataError(f"{url}: no such file or folder")
        suffix = PurePosixPath(place.name.lower()).suffix
        if suffix in (".txt", ".csv"):
            # accepts LF, CRLF and CR as line ends, and no other character: names may hold them
            text = place.read()
            lines = StringIO(text.decode(text_encoding(text[:2]), "surrogateescape"), newline=None).readlines()
            names = _column(url, lines) if suffix == ".csv" else filter(None, map(str.strip, lines))
            return _cut_files(url, place.folder, ((name, None) for name in names), rows_per_part)
        if suffix == ".parquet":
            return _cut_tables(url, place.folder, {place.name: place.size()}, rows_per_part)
    except OSError as error:
        raise DataError(f"{url}: cannot be read: {error.strerror or error}") from error
    except UnicodeError as error:
        raise DataError(f"{url}: text in UTF-8 or UTF-16 was expected: {error}") from error
    raise DataError(f"{url}: a folder, a listing (.txt, .csv) or .parquet was expected; `earmark tag` takes recordings")


def _read_folder(place: RemotePath, rows_per_part: int) -> Input:
    folder = place.root
    unreadable: list[str] = []
    listed = place.files(lambda error: unreadable.append(str(error.filename)))
    visible = {name: size for name, size in listed.items() if not _is_hidden(name)}
    tables = {name: size for name, size in visible.items() if name.endswith(".parquet")}
    recordings = {name: size for name, size in visible.items() if PurePosixPath(name.lower()).suffix in AUDIO_SUFFIXES}
    if tables and recordings:
        raise DataError(
            f"{place.url}: {len(recordings)} recordings and {len(tables)} Parquet files were found; "
            f"one kind was expected: say which, for example by {place.url.rstrip('/')}/*.parquet"
        )
    if tables and unreadable:
        raise DataError(f"{unreadable[0]}: this folder cannot be read")
    if tables:
        return _cut_tables(place.url, folder.url, tables, rows_per_part)
    if place.is_local and folder is place:  # warns of the files that it skips
        found = scan_audio(Path(place.path), lambda error: None)[0]
        # a folder that cannot be read is a row with an error
        names = (file.relative_to(place.path).as_posix() for file in [*found, *map(Path, unreadable)])
        recordings = {name: listed.get(name, 0) for name in names}
    cut = _cut_files(place.url, folder.url, recordings.items(), rows_per_part)
    return replace(cut, unreadable=tuple(unreadable))


def _is_hidden(name: str) -> bool:
    # other programs leave _SUCCESS and _metadata beside their tables
    return any(word.startswith((".", "_")) for word in name.split("/"))


def _column(url: str, lines: list[str]) -> Iterator[str]:
    """The paths in a .csv listing."""
    head = lines[0] if lines else ""
    # a table of one column has no separator
    separator = next((mark for mark in ",;\t" if mark in head), ",")
    rows = csv.DictReader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        columns = [name.strip().lower() for name in rows.fieldnames or ()]
        rows.fieldnames = columns
        column = next((name for name in _COLUMNS if name in columns), None)
        if column is None:
            raise DataError(f"{url}: a column path or file was expected, it has {', '.join(columns) or 'none'}")
        for row in rows:
            if name := (row[column] or "").strip():
                yield name
    except csv.Error as error:
        raise DataError(f"{url}, line {rows.line_num}: not valid CSV: {error}") from error


def _cut_files(url: str, folder: str, files: Iterable[tuple[str, int | None]], rows_per_part: int) -> Input:
    digest = sha256()
    parts: list[Part] = []
    rest = iter(files)
    while piece := tuple(islice(rest, rows_per_part)):
        for entry in piece:
            digest.update(json.dumps(entry).encode())
        names = tuple(name for name, _ in piece)
        parts.append(Part(_name(len(parts)), len(names), folder, files=names))
    if not parts:
        looked_for = " ".join(sorted(AUDIO_SUFFIXES))
        raise DataError(f"{url}: no recording in it; looked for .parquet {looked_for}")
    return Input(tuple(parts), digest.hexdigest())


def _cut_tables(url: str, folder: str, tables: dict[str, int], rows_per_part: int) -> Input:
    from pyarrow import ArrowInvalid, parquet

    digest = sha256()
    parts: list[Part] = []
    for table, size in tables.items():
        place = RemotePath(folder).child(table)
        try:
            with place.open() as stream:
                footer = parquet.read_metadata(stream)
        except ArrowInvalid as error:
            raise DataError(f"{place.url}: cannot be read as Parquet, damaged or cut off: {error}") from error
        audio_column(place.url, footer.schema.to_arrow_schema())
        counts = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        digest.update(json.dumps([table, size, counts]).encode())
        first_row = 0
        for groups in _fitting(counts, rows_per_part):
            n_rows = sum(counts[group] for group in groups)
            part = Part(_name(len(parts)), n_rows, folder, table=table, row_groups=groups, first_row=first_row)
            parts.append(part)
            first_row += n_rows
    if not parts:
        raise DataError(f"{url}: no row in it")
    return Input(tuple(parts), digest.hexdigest())


def _fitting(counts: list[int], most: int) -> Iterator[tuple[int, ...]]:
    """Neighbouring groups with up to `most` rows together, at least one group.

    >>> list(_fitting([2, 2, 3, 9, 0], most=4))
    [(0, 1), (2,), (3, 4)]
    """
    groups: list[int] = []
    n_rows = 0
    for group, count in enumerate(counts):
        if groups and count and n_rows + count > most:
            yield tuple(groups)
            groups, n_rows = [], 0
        groups.append(group)
        n_rows += count
    if n_rows:
        yield tuple(groups)


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"
