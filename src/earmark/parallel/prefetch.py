"""Prefetching: the next item is computed while one is in use."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

_Item = TypeVar("_Item")


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
