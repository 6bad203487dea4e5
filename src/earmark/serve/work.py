"""The queue of requests: a few threads compute; when a client leaves, its work stops."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_Value = TypeVar("_Value")
Task = Callable[[threading.Event], _Value]
"""Function that raises CancelledError soon after the event is set."""


class Work:
    """Runs tasks in threads, each task for one request.

    Args:
        n_jobs: Number of threads.
        n_waiting: Maximum number of tasks that wait for a thread.
        seconds: Time limit of a task, its wait included.
    """

    def __init__(self, n_jobs: int, n_waiting: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(n_jobs, "job")
        self._n_jobs, self._n_waiting, self._seconds = n_jobs, n_waiting, seconds
        self._lock = threading.Lock()
        self._stops: set[threading.Event] = set()

    @property
    def n_running(self) -> int:
        """Number of tasks in threads."""
        return min(len(self._stops), self._n_jobs)

    @property
    def n_waiting(self) -> int:
        """Number of tasks that wait for a thread."""
        return len(self._stops) - self.n_running

    def start(self, task: Task[_Value]) -> tuple[Future[_Value], threading.Event]:
        """Queues a task; returns its future and the event that stops it.

        Raises:
            HTTPException: Too many tasks wait.
        """
        stop = threading.Event()
        with self._lock:
            if len(self._stops) >= self._n_jobs + self._n_waiting:
                text = "too many requests wait already; try again later"
                raise HTTPException(503, text, {"Retry-After": "2"})
            self._stops.add(stop)
        future = self._pool.submit(task, stop)
        future.add_done_callback(lambda _: self._forget(stop))
        return future, stop

    async def run(self, request: Request, task: Task[_Value]) -> _Value:
        """The value of a task. The task is stopped when the client leaves and at the time limit.

        Raises:
            HTTPException: Too many tasks wait, or the task takes too long.
            ClientDisconnect: The client has left.
        """
        future, stop = self.start(task)
        answer = asyncio.wrap_future(future)
        left = asyncio.ensure_future(_left(request))
        both: set[asyncio.Future[Any]] = {answer, left}
        try:
            await asyncio.wait(both, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return _result(answer)
            if left.done():
                left.result()  # a refused body has an error of its own
                raise ClientDisconnect
            raise HTTPException(503, f"no result after {self._seconds:g} s; send a shorter recording, or try later")
        finally:
            stop.set()
            left.cancel()
            answer.cancel()

    def close(self) -> None:
        """Stops all tasks."""
        with self._lock:
            for stop in self._stops:
                stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _forget(self, stop: threading.Event) -> None:
        with self._lock:
            self._stops.discard(stop)


def _result(answer: asyncio.Future[_Value]) -> _Value:
    try:
        return answer.result()
    except asyncio.CancelledError as error:  # of the task: if the request itself is cancelled, nobody waits here
        text = "the work was stopped, because the recording was removed or the server ends; send the recording again"
        raise HTTPException(503, text) from error


async def _left(request: Request) -> None:
    """Returns when the client has left."""
    with suppress(RuntimeError):  # a server without this message
        while (await request.receive())["type"] != "http.disconnect":
            pass
