"""Calls of several threads merged into one, for devices that a single call does not fill."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np


class MergedCalls:
    """A function of rows, one call of which runs at a time; calls that arrive meanwhile are merged into the next.

    Only calls whose rows have the same shape are merged. Nothing waits for further calls.

    Args:
        function: Gives a row of results for each row.
        n_rows: Maximum number of rows of a merged call; a call with more rows runs alone.
    """

    def __init__(self, function: Callable[[np.ndarray], np.ndarray], n_rows: int) -> None:
        self._function, self._n_rows = function, n_rows
        self._waiting: list[_Call] = []
        self._adding, self._running = threading.Lock(), threading.Lock()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The results of these rows."""
        call = _Call(rows)
        with self._adding:
            self._waiting.append(call)
        with self._running:
            # another thread may have run this call together with its own
            if call.result is None and call.error is None:
                self._run(self._taken(call))
        if call.error is not None:
            raise call.error
        if call.result is None:
            raise RuntimeError("a merged call ended without a result")
        return call.result

    def _taken(self, first: _Call) -> list[_Call]:
        """The call with those that can be merged with it, in the order of their arrival."""
        with self._adding:
            self._waiting.remove(first)
            taken, n_rows = [first], len(first.rows)
            for call in list(self._waiting):
                is_alike = call.rows.shape[1:] == first.rows.shape[1:] and call.rows.dtype == first.rows.dtype
                if is_alike and n_rows + len(call.rows) <= self._n_rows:
                    self._waiting.remove(call)
                    taken.append(call)
                    n_rows += len(call.rows)
        return taken

    def _run(self, calls: list[_Call]) -> None:
        try:
            results = self._function(np.concatenate([call.rows for call in calls]))
            ends = np.cumsum([len(call.rows) for call in calls])[:-1]
            for call, result in zip(calls, np.split(results, ends), strict=True):
                call.result = result
        except BaseException as error:
            for call in calls:
                call.error = error


class _Call:
    """A call with its result or error, once there is one."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.result: np.ndarray | None = None
        self.error: BaseException | None = None
