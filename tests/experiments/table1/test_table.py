"""Tables from start to end: made, interrupted, resumed and refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from earmark.errors import ConfigError, DataError
from earmark.model.network import Network
from experiments.table1 import runs as runs_module
from experiments.table1.lines import read_lines
from experiments.table1.plan import Run
from experiments.table1.table import make_table, write_tables

CELLS = ("gmap", "max")


@pytest.fixture
def make(planned, out):
    """Makes the tiny table; returns the outcome and the printed text."""

    def made(cells=CELLS, n_seeds=2, n_jobs=1, **changes):
        plan, bank = planned(n_seeds=n_seeds, **changes)
        printed = []
        runs = plan.runs(cells)
        outcome = make_table(out, plan, bank, runs, n_jobs=n_jobs, report=printed.append, report_failure=printed.append)
        return outcome, printed

    return made


@pytest.fixture
def performed(monkeypatch):
    """Records the runs that are performed, in order; `stop` names one to interrupt, `fail` one to fail."""
    real, calls, plan = runs_module.perform, [], {"stop": None, "fail": None}

    def perform(out, table, run, **options):
        if run == plan["stop"]:
            raise KeyboardInterrupt
        if run == plan["fail"]:
            raise RuntimeError("out of paper\nand ink")
        calls.append(run)
        return real(out, table, run, **options)

    monkeypatch.setattr(runs_module, "perform", perform)
    return calls, plan


def test_a_finished_table_is_not_computed_again(make, out, performed):
    calls, _ = performed
    outcome, printed = make()
    assert (outcome.n_done, outcome.failed, len(printed)) == (4, (), 4)
    assert printed[0].startswith("sparse max seed 0: mAP 0.") and printed[-1].endswith("0 runs left")
    assert calls == [Run("sparse", cell, seed) for seed in (0, 1) for cell in ("max", "gmap")]
    lines = read_lines(out / "runs.jsonl")
    assert [line.run for line in lines] == calls
    for line in lines:
        assert line.n_parameters == Network.load(line.run.folder(out) / "best.safetensors").n_parameters
        assert (line.n_clips_seen, line.n_test_clips, line.n_train_clips, line.n_beside) == (16, 16, 12, 1)
        assert line.config["seed"] == line.seed and line.seconds > 0 and line.clips_per_second > 0
        assert str(out) not in json.dumps(line.to_json())
        with np.load(line.run.scores(out)) as arrays:
            assert arrays["scores"].dtype == np.float32 and arrays["target"].dtype == np.uint8
            assert arrays["scores"].shape == arrays["target"].shape == (16, 5) and len(arrays["ids"]) == 16
    assert len({line.test_ids_sha256 for line in lines}) == 1
    assert len(list((out / "features").glob("*.npy"))) == 2, "the log-mels of train and valid, once for all runs"

    tables = [path.read_bytes() for path in outcome.tables]
    again, printed = make()
    assert (again.n_done, printed, len(calls)) == (4, [], 4)
    assert [path.read_bytes() for path in again.tables] == tables
    page = outcome.tables[0].read_text()
    assert "| max | 0.396 | 0." in page and " recordings of fold 5, mixed into 16 sparse soundscapes, " in page
    scores = Run("sparse", "max", 0).scores(out)
    kept, weights = scores.read_bytes(), Run("sparse", "max", 0).folder(out) / "best.safetensors"
    trained = weights.stat().st_mtime_ns
    scores.unlink()
    assert make()[0].n_done == 4 and len(calls) == 5
    assert scores.stat().st_size == len(kept) and weights.stat().st_mtime_ns == trained, "measured, not trained again"


def test_an_interrupted_table_resumes(make, out, performed):
    calls, plan = performed
    plan["stop"] = Run("sparse", "max", 1)
    with pytest.raises(KeyboardInterrupt, match="the same command resumes"):
        make(("max",))
    assert [line.seed for line in read_lines(out / "runs.jsonl")] == [0]
    first = (out / "runs.jsonl").read_bytes()
    assert not (out / "table1.md").exists()
    plan["stop"] = None
    outcome, _ = make(("max",))
    assert outcome.n_done == 2
    assert calls == [Run("sparse", "max", 0), Run("sparse", "max", 1)], "nothing is done twice"
    assert (out / "runs.jsonl").read_bytes().startswith(first)


def test_a_run_interrupted_before_its_line_is_not_trained_again(make, out, monkeypatch):
    real = runs_module.evaluate

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs_module, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(("max",), n_seeds=1)
    checkpoint = Run("sparse", "max", 0).folder(out) / "last.safetensors"
    trained = checkpoint.stat().st_mtime_ns
    monkeypatch.setattr(runs_module, "evaluate", real)
    assert make(("max",), n_seeds=1)[0].n_done == 1
    assert checkpoint.stat().st_mtime_ns == trained


def test_a_failed_run_is_reported_and_the_others_continue(make, out, performed):
    calls, plan = performed
    plan["fail"] = Run("sparse", "max", 0)
    outcome, printed = make(("max", "mean"), n_seeds=1)
    assert outcome.failed == ((Run("sparse", "max", 0), "RuntimeError: out of paper"),)
    assert printed[0] == "sparse max seed 0: RuntimeError: out of paper"
    assert (outcome.n_done, calls) == (1, [Run("sparse", "mean", 0)])
    plan["fail"] = None
    assert make(("max", "mean"), n_seeds=1)[0].n_done == 2


def test_parallel_runs_give_lines_and_a_failed_run_its_reason(make, out):
    broken = Run("sparse", "max", 0).folder(out)
    make(("gmap",), n_seeds=1)
    broken.mkdir(parents=True)
    (broken / "resume.ckpt").touch()
    outcome, _ = make(("max", "mean"), n_seeds=1, n_jobs=2)
    line = read_lines(out / "runs.jsonl")[-1]
    assert (line.run, line.n_beside) == (Run("sparse", "mean", 0), 2)
    ((run, reason),) = outcome.failed
    assert run.cell == "max" and "there are files of a run (resume.ckpt) without its run.json" in reason


def test_a_table_without_finished_runs_is_an_error(make, out, performed):
    performed[1]["fail"] = Run("sparse", "max", 0)
    outcome, _ = make(("max",), n_seeds=1)
    assert (outcome.n_done, outcome.tables) == (0, ())


def test_a_table_gets_more_seeds(make, out, performed):
    make(("max",), n_seeds=1)
    assert make(("max",), n_seeds=2)[0].n_done == 2
    assert performed[0] == [Run("sparse", "max", 0), Run("sparse", "max", 1)]


def test_another_table_is_refused_before_any_work(make, out, performed):
    make(("max",), n_seeds=1)
    with pytest.raises(ConfigError, match=r"holds another table, these differ: profile\.n_test 16 -> 17"):
        make(("max",), n_seeds=1, n_test=17)
    with pytest.raises(ConfigError, match="n_jobs: 1 or more"):
        make(n_jobs=0)
    assert len(performed[0]) == 1


PARENT = """
import sys
from pathlib import Path
from experiments.table1.plan import make_plan, read_plan
from experiments.table1.table import make_table

out = Path(sys.argv[1])
plan = read_plan(out)
_, bank = make_plan(sys.argv[2], plan.profile)
try:
    make_table(out, plan, bank, plan.runs(["max", "mean"]), n_jobs=3, report=lambda text: print(text, file=sys.stderr))
except KeyboardInterrupt as error:
    sys.exit(f"interrupted: {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_a_signal_saves_parallel_runs(planned, bank, out, wait_until):
    planned(training={"n_clips_seen": 1_000_000})[0].claim(out)
    words = [sys.executable, "-c", PARENT, str(out), bank]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    folders = [Run("sparse", cell, 0).folder(out) for cell in ("max", "mean")]
    # after the first epoch there is a state to save
    wait_until(lambda: all((folder / "metrics.csv").exists() for folder in folders), process)
    process.terminate()
    _, printed = process.communicate()
    # on a slow machine the runs have already printed a note about their time
    assert printed.splitlines()[-2:] == [
        "stopping; 2 runs under way are saved first",
        f"interrupted: stopped, all work is saved in {out}: the same command resumes",
    ]
    for folder in folders:
        assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
        assert (folder / "resume.ckpt").is_file()
    assert read_lines(out / "runs.jsonl") == []


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_two_calls_do_not_work_on_one_table(make, out):
    import fcntl

    make(("max",), n_seeds=1)
    before = (out / "plan.json").read_bytes()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is at work there"):
            make(("max",), n_seeds=2)
    assert (out / "plan.json").read_bytes() == before


def test_tables_depend_only_on_lines_and_scores(make, out, tmp_path):
    outcome, _ = make(("gmap", "max"), n_seeds=1)
    kept = tmp_path / "kept"
    kept.mkdir()
    (out / "runs.jsonl").rename(kept / "runs.jsonl")
    (out / "scores").rename(kept / "scores")
    (out / "plan.json").rename(kept / "plan.json")
    part = kept / "data" / "sparse" / "test"
    part.mkdir(parents=True)
    (out / "data" / "sparse" / "test" / "clips.csv").rename(part / "clips.csv")
    tables = write_tables(kept)
    assert [path.read_bytes() for path in tables] == [path.read_bytes() for path in outcome.tables]
    with pytest.raises(DataError, match=r"no finished run there \(runs.jsonl\)"):
        write_tables(out)
