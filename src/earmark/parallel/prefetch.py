"""Prefetching: the next items are computed while one is in use."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import TypeVar

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


def one_ahead(items: Generator[_Item] | Iterator[_Item]) -> Generator[_Item]:
    """The same items, each computed in a thread while the one before is in use. No item may be None.

    When closed, it waits for the item that is being computed and closes `items` if they can be closed.
    """
    lock = Lock()

    def following() -> _Item | None:
        with lock:
            return next(items, None)

    with ThreadPoolExecutor(1, "ahead") as pool:
        try:
            coming = pool.submit(following)
            while (item := coming.result()) is not None:
                coming = pool.submit(following)
                yield item
        finally:
            pool.shutdown()
            if isinstance(items, Generator):
                with lock:  # Ctrl-C while the thread starts leaves a thread that the pool does not wait for
                    items.close()


def in_threads(
    task: Callable[[_Item], _Value], items: Iterable[_Item], n_threads: int, n_ahead: int
) -> Generator[_Value]:
    """The task's value for each item, in order; threads compute at most `n_ahead` values ahead."""
    todo, pending = iter(items), deque[Future[_Value]]()
    pool = ThreadPoolExecutor(n_threads, "ahead")
    try:
        while True:
            pending.extend(pool.submit(task, item) for item in islice(todo, n_ahead - len(pending)))
            if not pending:
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
