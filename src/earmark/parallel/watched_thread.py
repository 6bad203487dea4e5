"""A thread for calls that may never return, such as those of decoders and of network disks."""

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

_Value = TypeVar("_Value")

_SLICE: Final = 1.0
"""Seconds of a wait. A process that was suspended wakes up in one slice, which is all that its sleep counts."""


class WatchedThread:
    """A thread that runs calls one after the other, each with a time limit.

    Nothing can interrupt a call into a C library. A call beyond its limit is left alone in its thread, which does not
    keep the process from ending.
    """

    def __init__(self) -> None:
        self._todo: SimpleQueue[tuple[Callable[[], object], SimpleQueue[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=_serve, args=(self._todo,), name="watched", daemon=True)
        self._thread.start()

    def call(self, task: Callable[[], _Value], seconds: float) -> _Value:
        """The value of `task()`, run in the thread.

        Raises:
            TimeoutError: It has not returned after `seconds`.
            Exception: Any exception of the task.
        """
        answer: SimpleQueue[tuple[_Value | None, BaseException | None]] = SimpleQueue()
        self._todo.put((task, answer))
        while True:
            wait = min(seconds, _SLICE)
            try:
                value, error = answer.get(timeout=wait)
            except Empty:
                seconds -= wait
                if seconds <= 0:
                    raise TimeoutError from None
                continue
            if error is not None:
                raise error
            return value  # type: ignore[return-value]

    def finish(self, last: Callable[[], object], seconds: float) -> None:
        """Ends the thread with a last call, for which it waits up to `seconds`; later calls are not allowed.

        Raises:
            Exception: Any exception of the last call, unless it takes longer.
        """
        with suppress(TimeoutError):
            try:
                self.call(last, seconds)
            finally:
                self._todo.put(None)
            self._thread.join()


def _serve(todo: "SimpleQueue[tuple[Callable[[], object], SimpleQueue[Any]] | None]") -> None:
    while (item := todo.get()) is not None:
        task, answer = item
        del item
        try:
            answer.put((task(), None))
        except BaseException as error:  # the caller raises it
            answer.put((None, error))
        del task, answer  # an open file must not live on while the thread waits
