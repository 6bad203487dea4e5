"""Parallel runs in real processes."""

import pytest

from earmark.errors import DataError
from earmark.parallel.pool import Death, Pool
from experiments import jobs as module
from experiments.jobs import failure, side_by_side
from experiments.table1.lines import Line
from experiments.table1.plan import Run
from experiments.table1.soundscapes import PARTS, render_part

RUNS = tuple(Run("sparse", cell, 0) for cell in ("max", "mean"))


def test_parallel_runs_give_lines_and_a_failed_run_its_reason(planned, out):
    plan, bank = planned()
    plan.claim(out)
    for part in PARTS:
        render_part(plan, bank, out, "sparse", part)
    broken = RUNS[1].folder(out)
    broken.mkdir(parents=True)
    (broken / "resume.ckpt").touch()
    results = dict(side_by_side(out, RUNS, 2))
    line = results[RUNS[0]]
    assert isinstance(line, Line)
    assert (line.run, line.n_beside) == (RUNS[0], 2)
    assert RUNS[0].scores(out).is_file()
    reason = results[RUNS[1]]
    assert isinstance(reason, str)
    assert "there are files of a run (resume.ckpt) without its run.json" in reason


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [(-9, "its process was killed by signal 9; is there enough memory"), (3, "its process ended with status 3")],
)
def test_a_run_whose_process_dies_is_given_with_its_reason(out, monkeypatch, exit_code, reason):
    class DyingPool(Pool):
        def run(self, task, runs, on_stop):
            yield from ((run, Death(exit_code)) for run in runs)

    monkeypatch.setattr(module, "Pool", DyingPool)
    results = list(side_by_side(out, RUNS, 1))
    assert [run for run, _ in results] == list(RUNS)
    assert all(result.startswith(reason) for _, result in results)


def test_a_failure_is_one_line_and_names_the_class_of_internal_errors():
    assert failure(DataError("no clip\nat all")) == "no clip"
    assert failure(RuntimeError("out of memory\nsomewhere")) == "RuntimeError: out of memory"
    assert failure(ValueError()) == "ValueError: "
