"""One part: its recordings are read and scored, and the results written as one Parquet file."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from earmark.audio.recording import Audio, decode_audio
from earmark.audio.tracks import Track
from earmark.bulk.job import Done, Settings, footer
from earmark.bulk.parts import Part
from earmark.errors import AudioError, DataError, describe_error
from earmark.inference.tagger import Tagger
from earmark.parallel.prefetch import in_threads
from earmark.storage.files import as_text
from earmark.storage.remote import RemotePath, join_path

_IDS: Final = ("video_id", "id", "file", "path")
"""Columns with the names of a table's rows; the first that it has is used."""
_ROWS_AT_ONCE: Final = 16
_AHEAD: Final = 4
"""Number of remote recordings that are downloaded while another is scored."""
_BUFFER: Final = 1 << 20
"""Bytes of a Parquet column that are read at a time; without a limit a whole row group is read into memory."""


@dataclass(frozen=True)
class _Recording:
    """A recording that has not been read yet."""

    name: str
    open: Callable[[], AbstractContextManager[Path | Audio]]
    """Context in which a tagger can read the recording; its errors concern this recording only."""


def do_part(
    part: Part, tagger: Tagger, settings: Settings, out: RemotePath, fingerprint: str, n_at_once: int = 1
) -> Done:
    """Scores the recordings of a part and writes the results to `out`, completely or not at all.

    A recording that cannot be read or scored becomes a row with an error. The job's fingerprint is kept in the file.
    `n_at_once` threads score recordings.

    Raises:
        DataError: The part's table cannot be read.
        OSError: The results cannot be written.
    """
    recordings = _of_files(part) if part.table is None else _of_table(part, tagger.sample_rate, settings.track)
    score = partial(_scored, tagger=tagger, settings=settings)
    rows = list(map(score, recordings) if n_at_once == 1 else in_threads(score, recordings, n_at_once, n_at_once))
    errors = [row["error"] for row in rows if "error" in row]
    done = Done(
        part=part.name,
        n_files=len(rows),
        n_failed=len(errors),
        seconds=sum(row.get("duration", 0.0) for row in rows),
        first_error=errors[0] if errors else None,
    )
    out.child(part.name).write(_as_parquet(rows, settings, footer(done, fingerprint)))
    return done


def _scored(recording: _Recording, tagger: Tagger, settings: Settings) -> dict[str, Any]:
    """A row of the output: a recording's tags, or its error."""
    file = as_text(recording.name)
    try:
        with recording.open() as source:
            track = None if isinstance(source, Audio) else settings.track
            if settings.n_features is None:
                scores, embedding = tagger.score(source, track=track), None
            else:
                scores, embedding = tagger.score_and_embed(source, track=track)
            tags = [asdict(tag) for tag in scores.tags(top=settings.top, threshold=settings.threshold)]
        return {"file": file, "duration": scores.duration, "tags": tags, "embedding": embedding}
    except Exception as error:  # no recording may keep the others from being scored
        return {"file": file, "error": as_text(describe_error(error))}


def _of_files(part: Part) -> Iterator[_Recording]:
    with ThreadPoolExecutor(_AHEAD) as fetcher:
        waiting: deque[_Recording] = deque()
        for name in part.files:
            place = RemotePath(join_path(part.folder, name))
            waiting.append(_Recording(name, partial(_opened, place, fetcher.submit(_fetch, place))))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


def _fetch(place: RemotePath) -> tuple[ExitStack, Path]:
    """A recording on a local disk, and the context that removes it if it is a copy."""
    stack = ExitStack()
    return stack, stack.enter_context(place.local_file())


@contextmanager
def _opened(place: RemotePath, fetched: "Future[tuple[ExitStack, Path]]") -> Iterator[Path | Audio]:
    stack, path = fetched.result()
    with stack:
        try:
            yield path
        except AudioError as error:  # the user does not know the path of the copy
            raise AudioError(str(error).replace(str(path), place.url)) from error


def _of_table(part: Part, sample_rate: int, track: Track) -> Iterator[_Recording]:
    from pyarrow import ArrowInvalid, parquet

    place = RemotePath(join_path(part.folder, str(part.table)))
    try:
        with place.open() as stream:
            table = parquet.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False)
            ids = next((name for name in _IDS if name in table.schema_arrow.names), None)
            columns = ["audio"] if ids is None else ["audio", ids]
            batches = table.iter_batches(_ROWS_AT_ONCE, row_groups=list(part.row_groups), columns=columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, part.first_row):
                data, path = _bytes_and_path(row["audio"])
                named = path if ids is None else row[ids]
                name = f"{part.table}:{number}" if named is None else str(named)
                yield _Recording(name, partial(_decoded, data, sample_rate, name, track))
    except ArrowInvalid as error:
        raise DataError(
            f"{place.url}: cannot be read as Parquet, damaged or cut off: {describe_error(error)}"
        ) from error


def _bytes_and_path(audio: Any) -> tuple[bytes | None, str | None]:
    return (audio.get("bytes"), audio.get("path")) if isinstance(audio, dict) else (audio, None)


@contextmanager
def _decoded(data: bytes | None, sample_rate: int, name: str, track: Track) -> Iterator[Path | Audio]:
    if data is None:
        raise AudioError(f"{name}: no bytes of audio in this row")
    yield decode_audio(data, sample_rate, name, track=track)


def _as_parquet(rows: list[dict[str, Any]], settings: Settings, metadata: dict[bytes, bytes]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = [
        ("file", pa.string()),
        ("duration", pa.float64()),
        ("tags", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))),
        ("error", pa.string()),
    ]
    if settings.n_features is not None:
        # a fixed length, so that readers get a matrix without checking each row
        columns.append(("embedding", pa.list_(pa.float32(), settings.n_features)))
    stream = BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, pa.schema(columns, metadata)), stream)
    return stream.getvalue()
