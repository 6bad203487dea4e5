"""Clips examined by processes side by side, some of which may not survive it."""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final

from earmark.errors import EarmarkError
from earmark.parallel.interrupts import held_back

if TYPE_CHECKING:
    # a worker puts standard error aside before it loads what may write there
    from earmark.data.clips import AudioReader
    from earmark.doctor.facts import Facts

CRASHED: Final = "crashed the decoder"
"""The reason of a clip that no worker survived."""
_DEATHS: Final = 2
"""Workers that a clip may take down: of one death something else may be the cause, such as a lack of memory."""


def examine_all(
    readers: Iterable[tuple[int, "AudioReader"]], n_jobs: int, n_at_a_time: int
) -> Generator[tuple[int, "Facts"], None, None]:
    """The facts of clips by their positions, as they come; what waits to be examined is taken when its turn comes.

    A worker that dies is replaced, and the clip that it was at is tried again by the next one; the second time, it is a
    clip that could not be read. The workers end with the generator, and when this process is killed.

    Args:
        readers: Positions and sounds.
        n_jobs: Processes.
        n_at_a_time: Clips that a process is given at a time. Those that lie side by side, as in a Parquet file, had
            better go to one.

    Raises:
        EarmarkError: A worker cannot be started.
    """
    from earmark.doctor.facts import Facts

    deaths: Counter[int] = Counter()
    following = iter(readers)
    workers: dict[Any, _Worker] = {}
    try:
        for _ in range(n_jobs):
            _employ(workers, deque())
        while workers:
            for connection in wait(list(workers)):
                worker = workers[connection]
                try:
                    answer = worker.answer()
                except (EOFError, OSError):
                    workers.pop(connection).end()
                    position = worker.blamed()
                    deaths[position] += 1
                    if deaths[position] >= _DEATHS:
                        worker.todo.popleft()
                        yield position, Facts(error=CRASHED)
                    _employ(workers, worker.todo)
                    continue
                if answer is not None:
                    yield answer
                if not worker.go_on(following, n_at_a_time):
                    workers.pop(connection).end()
    finally:
        for worker in workers.values():
            worker.end()


def _employ(workers: dict[Any, "_Worker"], todo: deque[tuple[int, "AudioReader"]]) -> None:
    worker = _Worker(todo)
    workers[worker.connection] = worker


class _Worker:
    """A process, and the clips that it has been given or will be and has not answered for.

    Args:
        todo: What another one has left.
    """

    def __init__(self, todo: deque[tuple[int, "AudioReader"]]) -> None:
        self.todo = todo
        self._is_ready = self._has_todo = False
        # a forked process would have the locks of this one's threads, and hold its pipes open when it is killed
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        with held_back():  # a Ctrl-C is for this process, the worker never hears it
            self._process.start()
        theirs.close()

    def answer(self) -> tuple[int, "Facts"] | None:
        """What it says next; None is that it is ready.

        Raises:
            EOFError: It has died.
        """
        answer: tuple[int, Facts] | None = self.connection.recv()
        if answer is None:
            self._is_ready = True
        else:
            self.todo.popleft()
        return answer

    def go_on(self, following: Iterator[tuple[int, "AudioReader"]], n_at_a_time: int) -> bool:
        """Gives it its next clips if it has none; False where there are no more."""
        if not self.todo:
            self.todo.extend(islice(following, n_at_a_time))
            self._has_todo = False
        if self.todo and not self._has_todo:
            self._has_todo = True
            with suppress(OSError):  # that it has died is noticed when it is asked for an answer
                self.connection.send(list(self.todo))
        return bool(self.todo)

    def blamed(self) -> int:
        """The position of the clip at which it has died.

        Raises:
            EarmarkError: It never came so far.
        """
        if not (self._is_ready and self.todo):
            raise EarmarkError("a process to decode clips in was expected to start, and has ended before its work")
        return self.todo[0][0]

    def end(self) -> None:
        """Ends it, whatever it is at."""
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection) -> None:
    """What a worker does: answers for each clip of what it is given, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # some decoders print there whatever they think
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from earmark.doctor.examination import examine

    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            for position, audio in connection.recv():
                connection.send((position, examine(audio)))
