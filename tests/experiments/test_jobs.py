"""Parallel runs in real processes."""

import os
from functools import partial

import pytest

from earmark.errors import DataError
from earmark.parallel.pool import Death, Pool
from experiments import jobs as module
from experiments.jobs import failure, side_by_side

RUNS = (2.0, 0.0)
"""Numbers to divide by."""


def test_parallel_runs_give_values_and_a_failed_run_its_reason():
    results = dict(side_by_side(partial(divmod, 5.0), RUNS, 2))
    assert results == {2.0: (2.0, 1.0), 0.0: "ZeroDivisionError: float divmod()"}


@pytest.mark.parametrize("is_renewed", [True, False])
def test_runs_share_a_process_unless_each_needs_a_new_one(is_renewed):
    # each worker is the leader of a session
    results = list(side_by_side(os.getsid, [0, 0, 0], 1, is_renewed=is_renewed))
    assert len({session for _, session in results}) == (3 if is_renewed else 1)


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [(-9, "its process was killed by signal 9; is there enough memory"), (3, "its process ended with status 3")],
)
def test_a_run_whose_process_dies_is_given_with_its_reason(monkeypatch, exit_code, reason):
    class DyingPool(Pool):
        def run(self, task, runs, on_stop):
            yield from ((run, Death(exit_code)) for run in runs)

    monkeypatch.setattr(module, "Pool", DyingPool)
    results = list(side_by_side(partial(divmod, 5.0), RUNS, 1))
    assert [run for run, _ in results] == list(RUNS)
    assert all(result.startswith(reason) for _, result in results)


def test_a_failure_is_one_line_and_names_the_class_of_internal_errors():
    assert failure(DataError("no clip\nat all")) == "no clip"
    assert failure(RuntimeError("out of memory\nsomewhere")) == "RuntimeError: out of memory"
    assert failure(ValueError()) == "ValueError: "
