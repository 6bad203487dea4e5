"""Calls in a thread of their own, with a time limit."""

import threading
from collections.abc import Callable

import pytest

from earmark.parallel.watched_thread import WatchedThread


def test_calls_run_in_order_in_one_thread() -> None:
    thread = WatchedThread()
    threads = {thread.call(threading.get_ident, 60.0) for _ in range(3)}
    assert len(threads) == 1 and threads != {threading.get_ident()}
    assert thread.call(lambda: 7, float("inf")) == 7
    closed = []
    thread.finish(lambda: closed.append(True), 60.0)
    assert closed == [True]
    with pytest.raises(ZeroDivisionError):
        WatchedThread().finish(lambda: 1 // 0, 60.0)


def test_errors_of_a_call_are_raised_and_the_thread_goes_on() -> None:
    thread = WatchedThread()
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0, 60.0)
    assert thread.call(lambda: 7, 60.0) == 7
    thread.finish(lambda: None, 60.0)


def test_a_call_that_hangs_is_left_alone_and_ends_when_it_can(wait_until: Callable[..., None]) -> None:
    thread, gate, closed = WatchedThread(), threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        thread.call(gate.wait, 0.05)
    thread.finish(closed.set, 0.05)
    assert not closed.is_set()
    gate.set()
    wait_until(closed.is_set)
