"""Runs side by side, in real processes."""

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from earmark.errors import DataError
from experiments import jobs as module
from experiments.jobs import failure, side_by_side, sigterm_as_interrupt
from experiments.table1.lines import Line
from experiments.table1.plan import Run
from experiments.table1.soundscapes import PARTS, render_part

RUNS = tuple(Run("sparse", cell, 0) for cell in ("max", "mean"))


def test_runs_side_by_side_end_in_lines_and_a_failed_one_in_its_reason(planned, out):
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


@pytest.fixture
def fake(monkeypatch):
    """Has processes run other code than a run's, the next with each start; returns the processes."""

    def faked(*codes):
        todo, started = iter(codes), []

        def start(out, run, n_jobs):
            words = [sys.executable, "-c", next(todo)]
            started.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            return started[-1]

        monkeypatch.setattr(module, "_start", start)
        return started

    return faked


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process was killed; is there memory"),
        ("raise SystemExit(3)", "its process ended with status 3 and no result"),
        ("print('no JSON')", "its process ended with status 0 and no result"),
        ('print(\'{"error": "no paper"}\')', "no paper"),
        ("print('{\"cell\": 1}')", "its process ended with status 0 and no result"),
    ],
)
def test_a_process_that_ends_without_a_line_is_told(fake, out, code, reason):
    fake(code, code)
    results = list(side_by_side(out, RUNS, 1))
    assert [run for run, _ in results] == list(RUNS)
    assert all(result.startswith(reason) for _, result in results)


def test_closing_asks_every_process_to_stop_and_waits(fake, out, tmp_path):
    # the first has a result; the others save when their input ends
    saving = f"import os; os.read(0, 1); open({str(tmp_path / 'saved')!r} + str(os.getpid()), 'w').close()"
    started = fake('print(\'{"error": "done"}\')', saving, saving)
    with closing(side_by_side(out, (*RUNS, Run("dense", "max", 0)), 2)) as results:
        assert next(results) == (RUNS[0], "done")
    assert 1 < len(started) == 1 + len(list(tmp_path.glob("saved*")))
    assert {process.returncode for process in started} == {0}


def test_a_second_interrupt_ends_the_processes(fake, out, monkeypatch):
    started = fake("import time; time.sleep(3600)")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", interrupted)
    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(side_by_side(out, RUNS[:1], 1))
    monkeypatch.undo()
    assert started[0].wait() == -signal.SIGKILL


def test_sigterm_is_an_interrupt_for_a_while():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_failure_is_one_line_and_names_what_was_not_meant_for_people():
    assert failure(DataError("no clip\nat all")) == "no clip"
    assert failure(RuntimeError("out of memory\nsomewhere")) == "RuntimeError: out of memory"
    assert failure(ValueError()) == "ValueError: "
