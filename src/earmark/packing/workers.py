"""Shards made in worker processes, each shard by one process."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from earmark.errors import DataError, EarmarkError
from earmark.packing.plan import PackConfig, Packed, Shard
from earmark.packing.shard import measure, write_shard
from earmark.parallel.pool import Death, Pool, Reporter

_SECONDS_TO_END: Final = 10.0
"""Time that interrupted processes have to remove their unfinished shards."""


@dataclass(frozen=True)
class Task:
    """A shard to make unless its file is there and whole."""

    shard: Shard
    known: Packed | None
    """The file's facts if an earlier call has made it."""


@dataclass(frozen=True)
class Answer:
    """A finished task."""

    packed: Packed
    seconds: float | None
    """Time that the shard took; None if its file was there and whole."""


def make_shards(
    tasks: Sequence[Task],
    out: Path,
    config: PackConfig,
    schema: dict[str, Any],
    n_processes: int,
    begin: Callable[[str], None],
) -> Generator[Answer | str]:
    """Yields the outcome of each task, in the order in which they finish: its answer, or how its process died.

    `begin` is called with the id of each clip before it is read; other arguments are as for `write_shard`.

    Raises:
        OSError: A shard cannot be written.
        EarmarkError: A shard cannot be made, or a process cannot start.
    """
    pool = Pool(n_processes, is_silent=True, grace=_SECONDS_TO_END)
    work = partial(_make_shard, out=out, config=config, schema=schema)
    with closing(pool.run(work, tasks, lambda task, clip: begin(clip))) as results:
        for task, result in results:
            if isinstance(result, Death):
                place = "before its first clip" if result.last_report is None else f"at clip {result.last_report}"
                yield f"{task.shard.file}: the process that made it {result.reason} {place}"
            else:
                yield result


def _make_shard(task: Task, report: Reporter, out: Path, config: PackConfig, schema: dict[str, Any]) -> Answer:
    import_module("pyarrow.parquet")  # its load time is not that of a shard
    start = time.perf_counter()
    try:
        if task.known is not None and _is_whole(out / task.shard.file, task.known):
            return Answer(task.known, None)
        packed = write_shard(task.shard, out, config, schema, begin=report)
    except OSError as error:
        error.filename = error.filename or str(out / task.shard.file)
        raise
    except EarmarkError:
        raise
    except Exception as error:  # the user gets one line that names the file
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{task.shard.file}: cannot be made: {reason}") from error
    return Answer(packed, time.perf_counter() - start)


def _is_whole(path: Path, known: Packed) -> bool:
    try:
        return measure(path) == (known.n_bytes, known.sha256)
    except OSError:
        return False
