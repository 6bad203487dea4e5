"""Shards made side by side, each in a process of its own.

A pipe leads to each process: a shard goes in, the ids of its clips come out as they are begun, then what came of it.
When its parent closes the pipe, or dies, a process cannot tell its next clip, leaves its shard and ends. When a process
dies, its parent knows the shard and the clip that it was at.
"""

import os
import signal
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from earmark.errors import DataError, EarmarkError, EarmarkWarning
from earmark.packing.plan import PackConfig, Packed, Shard
from earmark.packing.shard import measure, write_shard
from earmark.parallel.interrupts import held_back

_SECONDS_TO_END: Final = 10.0


@dataclass(frozen=True)
class Task:
    """A shard to make, unless it is there."""

    shard: Shard
    known: Packed | None
    """What came out of it when it was made before."""


@dataclass(frozen=True)
class Answer:
    """What came out of a task."""

    packed: Packed
    seconds: float | None
    """That it took to make; None when the shard was there and whole."""


@dataclass(frozen=True)
class Death:
    """A process that ended in the middle of a task."""

    shard: Shard
    reason: str


@dataclass
class _Worker:
    pipe: Connection
    process: BaseProcess
    shard: Shard
    clip: str | None = None
    """The one that it was at when it was last heard of."""


def side_by_side(
    tasks: Sequence[Task],
    out: Path,
    config: PackConfig,
    said: dict[str, Any],
    n_processes: int,
    begun: Callable[[str], None],
) -> Generator[Answer | Death]:
    """What comes out of each task, as they end; a process that dies is replaced by another.

    Closed, or left by an error, it has the processes leave their shards.

    Args:
        tasks: What to do, in this order.
        out: The folder.
        config: How.
        said: What each shard says of itself.
        n_processes: How many tasks at a time.
        begun: Told the id of each clip when a process turns to it.

    Raises:
        OSError: A shard cannot be written.
        DataError: The processes cannot do their work at all.
    """
    waiting, working = deque(tasks), dict[Any, _Worker]()
    try:
        while waiting or working:
            while waiting and len(working) < n_processes:
                worker = _start(waiting.popleft(), out, config, said)
                working[worker.pipe] = worker
            for pipe in wait(list(working)):
                worker = working[pipe]
                message = _received(worker)
                if isinstance(message, str):
                    worker.clip = message
                    begun(message)
                elif isinstance(message, Warning):
                    warnings.warn(message, stacklevel=2)
                elif isinstance(message, Exception):
                    raise message
                else:
                    if waiting and isinstance(message, Answer):
                        _give(worker, waiting.popleft())
                    else:
                        _end([working.pop(pipe)])
                    yield message
    finally:
        _end(list(working.values()))


def _start(task: Task, out: Path, config: PackConfig, said: dict[str, Any]) -> _Worker:
    context = get_context("spawn")  # what threads and libraries have begun here is not carried along
    pipe, end = context.Pipe()
    process = context.Process(target=_work, args=(end, out, config, said), daemon=True)
    with held_back():  # a Ctrl-C reaches all processes of a terminal; this one tells the others what to do
        process.start()
    end.close()
    worker = _Worker(pipe, process, task.shard)
    _give(worker, task)
    return worker


def _give(worker: _Worker, task: Task) -> None:
    worker.shard, worker.clip = task.shard, None
    with suppress(OSError):  # that it has died is told when it is listened to
        worker.pipe.send(task)


def _received(worker: _Worker) -> str | Warning | Exception | Answer | Death:
    with suppress(EOFError, OSError):
        message: str | Warning | Exception | Answer = worker.pipe.recv()
        return message
    worker.process.join()
    status = worker.process.exitcode or 0
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    if worker.clip is None:
        return DataError(f"{worker.shard.file}: the process that was to make it {how} before its first clip")
    return Death(worker.shard, f"the process that made it {how} at clip {worker.clip}")


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.pipe.close()
    end = time.monotonic() + _SECONDS_TO_END
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
        worker.process.terminate()
        worker.process.join()


def _work(pipe: Connection, out: Path, config: PackConfig, said: dict[str, Any]) -> None:
    """What a process does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what libraries that are not Python print about damaged files
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", EarmarkWarning)
    warnings.showwarning = lambda message, *rest, **more: pipe.send(message)
    import_module("pyarrow.parquet")  # lest the first shard look slow
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(_done(pipe.recv(), pipe, out, config, said))


def _done(task: Task, pipe: Connection, out: Path, config: PackConfig, said: dict[str, Any]) -> Answer | Exception:
    start = time.perf_counter()
    try:
        if task.known is not None and _is_whole(out / task.shard.file, task.known):
            return Answer(task.known, None)
        packed = write_shard(task.shard, out, config, said, begin=pipe.send)
    except OSError as error:
        error.filename = error.filename or str(out / task.shard.file)
        return error
    except EarmarkError as error:
        return error
    except Exception as error:  # told by the parent, in a line
        return DataError(f"{task.shard.file}: cannot be made: {type(error).__name__}: {' '.join(str(error).split())}")
    return Answer(packed, time.perf_counter() - start)


def _is_whole(path: Path, known: Packed) -> bool:
    try:
        return measure(path) == (known.n_bytes, known.sha256)
    except OSError:
        return False
