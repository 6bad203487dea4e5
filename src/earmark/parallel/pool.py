"""The pool of worker processes.

A pipe connects the parent with each worker. The parent sends items; the worker sends back what it reports about an
item, its warnings, and the item's result or error. From this follow:

- the parent knows which item each worker is at, and so which item killed a worker;
- a closed pipe is the sign to stop, and the pipe is also closed when the parent is killed;
- Ctrl-C interrupts the parent only: workers ignore it, and the parent stops them.
"""

import os
import signal
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import inf
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from threading import Event, Lock, Thread, main_thread
from typing import Any, Final, Generic, TypeVar

from earmark.errors import EarmarkError, EarmarkWarning
from earmark.parallel.interrupts import held_back, sigterm_as_interrupt
from earmark.parallel.silence import silence_process

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

Reporter = Callable[[Any], None]
"""Sends the parent a message about the current item."""

_THREADS: Final = "OMP_NUM_THREADS"
"""Environment variable that PyTorch, MKL and OpenBLAS read when they are loaded."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_READY, _REPORT, _WARNING, _VALUE, _ERROR, _DEATH = range(6)


@dataclass(frozen=True)
class Death:
    """A worker process that ended while it worked on an item."""

    exit_code: int
    """Negative: the number of the signal that killed the process."""
    last_report: Any = None
    """The last report about the item, if any."""

    @property
    def reason(self) -> str:
        """How the process ended, as a clause whose subject is the process."""
        return (
            f"was killed by signal {-self.exit_code}" if self.exit_code < 0 else f"ended with status {self.exit_code}"
        )


@dataclass(frozen=True)
class Pool:
    """Settings of worker processes, which `run` starts and stops."""

    n_processes: int
    n_items_at_a_time: int = 1
    """Items sent to a worker together, for neighbouring items that are cheaper in one process."""
    n_attempts: int = 1
    """Workers that an item may kill before it is given up."""
    n_threads: int | None = None
    """Threads of numerical libraries in each worker; their default when None."""
    is_silent: bool = False
    """Whether the workers' standard error is discarded."""
    is_renewed: bool = False
    """Whether each item gets a new process."""
    grace: float | None = 0.0
    """Seconds that workers have to end when the pool stops; then they are killed.

    Unless it is 0, the pool first interrupts their tasks with KeyboardInterrupt, as Ctrl-C would. None waits as long as
    they need to save their work; such workers may start processes of their own.
    """
    patience: float | None = None
    """For items that need each other, one a worker: seconds that the others have to end after one has failed.

    They have as long when the pool stops, but after Ctrl-C as long as they need to save their work: until one of them
    ends without a KeyboardInterrupt that says in its text what was saved. Errors are yielded as values are.
    """

    def run(
        self,
        task: Callable[[_Item, Reporter], _Value],
        items: Iterable[_Item],
        on_report: Callable[[_Item, Any], None] = lambda item, report: None,
        on_stop: Callable[[int], None] = lambda n_items: None,
    ) -> Generator[tuple[_Item, _Value | Death]]:
        """Yields each item with the value of `task(item, report)`, in the order in which they finish.

        Items are taken from `items` when a worker is free. A worker that dies is replaced; its item yields a `Death`
        after `n_attempts`. Warnings of class EarmarkWarning are repeated in this process. The workers stop when the
        generator is closed or raises.

        Args:
            task: Must pickle, like items, reports and values.
            items: The work.
            on_report: Called with an item and each report about it.
            on_stop: Called with the number of unfinished items if the pool has to stop workers.

        Raises:
            EarmarkError: A worker cannot start.
            Exception: The first exception that the task raises, without `patience`.
            KeyboardInterrupt: Ctrl-C; with `patience`, after the outcomes of all items that had begun.
        """
        pickled = bytes(ForkingPickler.dumps(task))
        workers: list[_Worker[_Item]] = []
        try:
            try:
                yield from self._results(pickled, iter(items), workers, on_report)
            except KeyboardInterrupt:
                if self.patience is None:
                    raise
                n_begun = sum(worker.ask_to_stop() for worker in workers)
                deadline = inf if n_begun == self.n_processes else time.monotonic() + self.patience
                yield from self._results(pickled, iter(()), workers, on_report, deadline)
                raise
        finally:
            if workers:
                on_stop(sum(len(worker.todo) for worker in workers))
            self._stop(workers)

    def _results(
        self,
        pickled: bytes,
        items: Iterator[_Item],
        workers: "list[_Worker[_Item]]",
        on_report: Callable[[_Item, Any], None],
        deadline: float = inf,
    ) -> Generator[tuple[_Item, Any]]:
        """Yields results until all workers have ended, or kills those that are left at the deadline."""
        while True:
            while len(workers) < self.n_processes and (todo := self._next(items)):
                with held_back(_SIGNALS):
                    workers.append(_Worker(self, pickled, todo))
            if not workers:
                return
            for worker in _with_messages(workers, deadline):
                kind, content = worker.receive()
                if kind == _READY:
                    worker.send_items()
                elif kind == _REPORT:
                    worker.last_report = content
                    on_report(worker.todo[0], content)
                elif kind == _WARNING:
                    warnings.warn(content, stacklevel=2)
                elif kind == _ERROR:
                    if self.patience is None:
                        raise content
                    if not (isinstance(content, KeyboardInterrupt) and str(content)):
                        deadline = min(deadline, time.monotonic() + self.patience)
                    yield worker.finish_item(), content
                elif kind == _VALUE:
                    yield worker.finish_item(), content
                    if not worker.todo and not self.is_renewed:
                        worker.todo = self._next(items)
                        worker.send_items()
                    if not worker.todo:
                        workers.remove(worker)
                        self._stop([worker])
                else:
                    workers.remove(worker)
                    worker.n_deaths += 1
                    if worker.todo and worker.n_deaths >= self.n_attempts:
                        deadline = min(deadline, time.monotonic() + (self.patience or inf))
                        yield worker.finish_item(), content
                    if worker.todo:
                        with held_back(_SIGNALS):
                            workers.append(_Worker(self, pickled, worker.todo, worker.n_deaths))
            if time.monotonic() > deadline:
                for worker in workers:
                    worker.process.kill()

    def _next(self, items: Iterator[_Item]) -> deque[_Item]:
        return deque(islice(items, self.n_items_at_a_time))

    def _stop(self, workers: "Sequence[_Worker[_Item]]") -> None:
        for worker in workers:
            worker.connection.close()
        grace = self.grace if self.patience is None else self.patience
        deadline = None if grace is None else time.monotonic() + grace
        try:
            for worker in workers:
                worker.process.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        finally:  # also after a second Ctrl-C
            for worker in workers:
                worker.process.kill()
                worker.process.join()


class _Worker(Generic[_Item]):
    """A process and its unfinished items, at least one, the first of which has killed `n_deaths` workers."""

    def __init__(self, pool: Pool, task: bytes, todo: deque[_Item], n_deaths: int = 0) -> None:
        self.todo, self.n_deaths = todo, n_deaths
        self.last_report: Any = None
        self._is_ready = False
        context = get_context("spawn")  # a fork would copy the locks of threads in an unknown state
        self.connection, theirs = context.Pipe()
        # a daemon process cannot have children, but does not keep this process from ending
        self.process = context.Process(target=_work, args=(theirs, task, pool), daemon=pool.grace is not None)
        with _thread_limit(pool.n_threads):
            self.process.start()
        theirs.close()

    def send_items(self) -> None:
        """Sends all unfinished items to the process."""
        if self.todo:
            with suppress(OSError):  # `receive` reports a process that has died
                self.connection.send(list(self.todo))

    def ask_to_stop(self) -> bool:
        """Interrupts the task, which can still answer; kills a process without a task and returns False."""
        if not self._is_ready:
            self._is_ready = True  # its death is expected
            self.process.kill()
            return False
        with suppress(OSError):
            self.connection.send(None)
        return True

    def finish_item(self) -> _Item:
        """Removes and returns the item that the process is at."""
        self.n_deaths, self.last_report = 0, None
        return self.todo.popleft()

    def receive(self) -> tuple[int, Any]:
        """The next message: its kind and its content.

        Raises:
            EarmarkError: The process died before it was ready.
        """
        with suppress(EOFError, OSError):
            message = self.connection.recv()
            self._is_ready = True
            return message
        self.connection.close()
        self.process.join()
        death = Death(self.process.exitcode or 0, self.last_report)
        if not self._is_ready:
            raise EarmarkError(f"a worker process {death.reason} before it could start its work")
        return _DEATH, death


def _with_messages(workers: "Sequence[_Worker[_Item]]", deadline: float) -> "list[_Worker[_Item]]":
    """Waits until workers have sent something or have died, and returns those; none after the deadline."""
    timeout = None if deadline == inf else max(0.0, deadline - time.monotonic())
    # a dead worker's children may hold its end of the pipe open, so that the pipe alone does not show the death
    ready = wait([thing for worker in workers for thing in (worker.connection, worker.process.sentinel)], timeout)
    return [worker for worker in workers if worker.connection in ready or _is_dead(worker, ready)]


def _is_dead(worker: "_Worker[_Item]", ready: Sequence[object]) -> bool:
    if worker.process.sentinel not in ready:
        return False
    if not worker.connection.poll():
        worker.connection.close()
    return True


@contextmanager
def _thread_limit(n_threads: int | None) -> Iterator[None]:
    """Limits the threads of numerical libraries in processes started in the block."""
    before = os.environ.get(_THREADS)
    if n_threads is not None:
        os.environ[_THREADS] = str(n_threads)
    try:
        yield
    finally:
        os.environ.pop(_THREADS, None)
        if before is not None:
            os.environ[_THREADS] = before


def _work(connection: Connection, pickled: bytes, pool: Pool) -> None:
    """Runs in the worker process: works on items until the parent closes the pipe, which may interrupt the task."""
    is_interrupted = pool.grace != 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # the parent held it back until here
    if hasattr(os, "setsid"):
        os.setsid()  # a terminal's Ctrl-C then misses the children of this process too
    if pool.is_silent:
        silence_process()
    with suppress(OSError):  # there is no standard error
        os.dup2(2, 1)  # the parent prints results to standard output, which nothing else may mix with
    parent = _Parent(connection)
    report = partial(parent.send, _REPORT)
    with sigterm_as_interrupt() if is_interrupted else nullcontext():
        try:
            task = ForkingPickler.loads(pickled)  # after silencing: modules of the task may load noisy libraries
            parent.listen(is_interrupted)
            parent.send(_READY, None)
            while (items := parent.inbox.get()) is not None:
                if isinstance(items, Exception):
                    raise items
                for item in items:
                    parent.is_waiting.set()
                    value = task(item, report)
                    parent.is_waiting.clear()
                    parent.send(_VALUE, value)
        except KeyboardInterrupt as interrupt:
            if pool.patience is not None:
                parent.send(_ERROR, interrupt)
            raise SystemExit(130) from None
        except Exception as error:
            parent.send(_ERROR, _portable(error))


class _Parent:
    """The parent process at the other end of a pipe, seen from the worker."""

    def __init__(self, connection: Connection) -> None:
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        """Lists of items; None as the sign to stop. An exception stands for items that cannot be unpickled."""
        self.is_waiting = Event()
        """Set while the parent waits for the value of an item."""
        self._connection = connection
        self._lock = Lock()

    def listen(self, interrupts: bool) -> None:
        """Receives items in a thread; at the sign to stop it interrupts a running task, if `interrupts`."""
        warnings.simplefilter("always", EarmarkWarning)
        show = warnings.showwarning

        def repeat(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            if issubclass(category, EarmarkWarning):
                with suppress(SystemExit):  # a task that saves its work may still warn when the parent is gone
                    self.send(_WARNING, message)
            else:
                show(message, category, *where, **options)

        warnings.showwarning = repeat
        Thread(target=self._receive, args=(interrupts,), daemon=True).start()

    def send(self, kind: int, content: Any) -> None:
        """Sends a message, from any thread.

        Raises:
            SystemExit: The parent has closed the pipe or is dead.
        """
        try:
            with self._lock:
                self._connection.send((kind, content))
        except OSError as error:
            raise SystemExit(1) from error

    def _receive(self, interrupts: bool) -> None:
        try:
            while (items := self._connection.recv()) is not None:
                self.is_waiting.set()
                self.inbox.put(items)
        except (EOFError, OSError):
            pass
        except Exception as error:  # unpickling calls code of the items' classes, which may raise anything
            self.inbox.put(error)
            return
        self.inbox.put(None)
        if interrupts and self.is_waiting.is_set():
            _interrupt_main_thread()


def _interrupt_main_thread() -> None:
    thread = main_thread().ident
    if hasattr(signal, "pthread_kill") and thread is not None:
        signal.pthread_kill(thread, signal.SIGTERM)  # wakes the thread from a system call
    else:
        signal.raise_signal(signal.SIGTERM)


def _portable(error: Exception) -> Exception:
    """The error if it can be pickled, else one with its text; with the traceback if it is not meant for users."""
    if not isinstance(error, EarmarkError | OSError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:  # pickling calls code of the exception's class, which may raise anything
        return EarmarkError(f"{type(error).__name__}: {error}")
    return error
