"""The next item made while one is in use."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def one_ahead(items: Generator[_Item] | Iterator[_Item]) -> Generator[_Item]:
    """The same items, none of them None, the next of which is made in a thread while one is in use.

    Closed, it waits for the one that is being made, and closes `items` if they can be.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        try:
            coming = pool.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = pool.submit(next, items, None)
                yield item
        finally:
            pool.shutdown()
            if isinstance(items, Generator):
                items.close()
