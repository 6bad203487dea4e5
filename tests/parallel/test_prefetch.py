"""Prefetching of one item."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from earmark.parallel.prefetch import in_threads, one_ahead


def test_items_and_errors_are_passed_on_unchanged() -> None:
    def items() -> Iterator[int]:
        yield 0
        yield 1
        raise OSError("no more")

    found = []
    with pytest.raises(OSError, match="no more"):
        found.extend(one_ahead(items()))
    assert list(one_ahead(iter([]))) == []
    ahead = one_ahead(iter("abc"))
    assert list(ahead) == ["a", "b", "c"]


def test_the_next_item_is_computed_while_one_is_in_use() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    ahead = one_ahead(items())
    assert next(ahead) == 0 and made.wait(300)
    assert list(ahead) == [1]


def test_closing_it_closes_the_source() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    ahead = one_ahead(items())
    next(ahead)
    ahead.close()
    assert closed == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_ctrl_c_while_the_thread_starts_waits_for_the_item(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, closed = threading.Event(), []

    def items() -> Iterator[int]:
        try:
            begun.set()
            time.sleep(0.2)
            yield 0
        finally:
            closed.append(True)

    class Interrupted(ThreadPoolExecutor):
        def submit(self, *words: Any) -> Any:
            super().submit(*words)
            assert begun.wait(60)
            self._threads.clear()  # the thread was started but not noted
            raise KeyboardInterrupt

    monkeypatch.setattr("earmark.parallel.prefetch.ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(one_ahead(items()))
    assert closed == [True]


def test_threads_keep_the_order_and_stay_within_their_window():
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    values = in_threads(lambda number: 2 * number, items(), n_threads=3, n_ahead=4)
    assert [next(values), next(values)] == [0, 2] and len(taken) == 5
    assert list(values) == list(range(4, 40, 2))
    assert list(in_threads(str, [], 1, 1)) == []
