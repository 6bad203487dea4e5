"""Calls of several threads merged into one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from earmark.inference.merged_calls import MergedCalls


class Gate:
    """Doubles rows; the first call waits until others have arrived."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.opened = threading.Event()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.shapes.append(rows.shape)
        assert self.opened.wait(60)
        if np.isnan(rows).any():
            raise ValueError("not a number")
        return 2 * rows


def run(gate: Gate, merged: MergedCalls, calls: list[np.ndarray], wait_until: Callable[..., None]) -> list[object]:
    """Results of calls by threads: the first runs when the others arrive, one after the other."""
    with ThreadPoolExecutor(len(calls)) as pool:
        results = []
        for number, rows in enumerate(calls):
            results.append(pool.submit(merged, rows))
            wait_until(lambda number=number: len(gate.shapes) == 1 and len(merged._waiting) == number)
        gate.opened.set()
        return [result.exception() or result.result() for result in results]


def test_calls_that_arrive_meanwhile_are_merged(wait_until: Callable[..., None]) -> None:
    gate = Gate()
    calls = [np.full((1, n), i, np.float32) for i, n in enumerate([5, 5, 7, 5, 5, 5, 7])]
    results = run(gate, MergedCalls(gate, 3), calls, wait_until)
    for rows, result in zip(calls, results, strict=True):
        np.testing.assert_array_equal(result, 2 * rows)
    assert gate.shapes[0] == (1, 5)
    assert sorted(gate.shapes[1:]) == [(1, 5), (2, 7), (3, 5)], "at most three rows of the same length"


def test_a_call_with_many_rows_runs_alone(wait_until: Callable[..., None]) -> None:
    gate = Gate()
    results = run(gate, MergedCalls(gate, 2), [np.zeros((1, 5)), np.zeros((4, 5)), np.zeros((1, 5))], wait_until)
    assert [len(result) for result in results] == [1, 4, 1]
    assert sorted(gate.shapes[1:]) == [(1, 5), (4, 5)]


def test_an_error_reaches_the_callers_of_its_call_alone(wait_until: Callable[..., None]) -> None:
    gate = Gate()
    calls = [np.zeros((1, 5)), np.full((1, 5), np.nan), np.zeros((1, 7))]
    first, second, third = run(gate, MergedCalls(gate, 3), calls, wait_until)
    assert isinstance(second, ValueError)
    np.testing.assert_array_equal(first, calls[0])
    np.testing.assert_array_equal(third, calls[2])


def test_a_single_thread_gets_its_results() -> None:
    merged = MergedCalls(lambda rows: rows + 1, 3)
    for _ in range(3):
        np.testing.assert_array_equal(merged(np.zeros((2, 4))), np.ones((2, 4)))
    with pytest.raises(ZeroDivisionError):
        MergedCalls(lambda rows: rows[1 // 0], 3)(np.zeros((1, 1)))
