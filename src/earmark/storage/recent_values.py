"""The most recently used values, kept in memory."""

import sys
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class RecentValues(Generic[_Key, _Value]):
    """Values by key, for several threads; the least recently used are dropped first, the last one stays.

    Args:
        n_values: Maximum number of values.
        n_bytes: Maximum size of all values together.
    """

    def __init__(self, n_values: int = sys.maxsize, n_bytes: int = sys.maxsize) -> None:
        self._n_values, self._limit = n_values, n_bytes
        self._n_bytes = 0
        self._kept: OrderedDict[_Key, tuple[_Value, int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        """The value of a key, if it is kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def add(self, key: _Key, value: _Value, n_bytes: int = 0) -> _Value:
        """Keeps a value of that size; returns it, or the value that another thread has added before."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value, n_bytes
                self._n_bytes += n_bytes
            value = self._kept[key][0]
            while len(self._kept) > 1 and (len(self._kept) > self._n_values or self._n_bytes > self._limit):
                _, (_, dropped) = self._kept.popitem(last=False)
                self._n_bytes -= dropped
            return value
