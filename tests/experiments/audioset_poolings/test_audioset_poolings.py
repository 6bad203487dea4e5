"""The experiment from start to end: made, interrupted, resumed and refused; its pages."""

import dataclasses
import json

import pytest

from earmark.errors import ConfigError, DataError
from experiments.__main__ import main
from experiments.audioset_poolings import experiment as module
from experiments.audioset_poolings.experiment import make, remaining
from experiments.audioset_poolings.lines import read_lines
from experiments.audioset_poolings.measures import Figures
from experiments.audioset_poolings.pages import write_pages
from experiments.audioset_poolings.plan import Run, figures_file

CELLS = ("mean", "gmap")


@pytest.fixture
def performed(monkeypatch):
    """Records the runs that are performed, in order; `stop` names one to interrupt, `fail` one to fail."""
    real, calls, plan = module.perform, [], {"stop": None, "fail": None}

    def perform(task, bench):
        if task.run == plan["stop"]:
            raise KeyboardInterrupt
        if task.run == plan["fail"]:
            raise RuntimeError("out of paper\nand ink")
        calls.append(task.run)
        return real(task, bench)

    monkeypatch.setattr(module, "perform", perform)
    return calls, plan


def test_a_finished_experiment_is_not_done_again_and_its_pages_are(bench, performed):
    calls, plan = performed
    plan["stop"] = Run("search", "gmap", "fast", 0)
    with pytest.raises(KeyboardInterrupt, match=r"all work is saved in .*: the same command resumes"):
        make(bench, CELLS)
    n_before = len(calls)
    assert [run.stage for run in calls] == ["common"] * 4 + ["search"] * 3
    plan["stop"], printed = None, []
    outcome = make(bench, CELLS, report=printed.append)
    assert (outcome.n_done, outcome.failed) == (10, ())
    assert len(calls) == len(set(calls)) == 10, "nothing is done twice"
    assert len(printed) == 10 - n_before and printed[-1].startswith("final gmap seed 0: mAP 0.")
    assert not any((bench.out / "runs").iterdir()), "folders of runs are removed"

    searched, final = (read_lines(bench.out / f"{name}.jsonl") for name in ("search", "runs"))
    assert [line.run for line in final] == [Run("final", cell, "", 0) for cell in CELLS]
    assert len({line.n_clips for line in searched}) == 1 and {line.n_clips for line in final} == {40}
    best = max((line for line in searched if line.stage == "search" and line.cell == "gmap"), key=lambda line: line.mAP)
    assert final[1].settings["learning_rate"] == bench.protocol.trials[best.variant]["learning_rate"]
    assert final[0].localisation is not None and final[0].cpu_seconds > 0
    figures = Figures.read(figures_file(bench.out, "mean", 0))
    assert figures.moved.shape == (len(figures.groups), 10) and len(figures.precision) == 527

    pages = write_pages(bench.out)
    assert [path.name for path in pages] == ["README.md", "search.md", "mAP.png", "frequency.png", "localisation.png"]
    text = pages[0].read_text()
    assert "Too few" not in text and "GMAP is " in text and "Not measured yet: max" in text
    assert "| GMAP (4 heads) | embedding | 0.417 | 0." in text and "| power | embedding |  | missing |" in text
    before = [path.read_bytes() for path in pages]
    assert make(bench, CELLS).n_done == 10 and len(calls) == 10
    assert [path.read_bytes() for path in write_pages(bench.out)] == before

    figures_file(bench.out, "mean", 0).unlink()
    assert [len(phase) for phase in remaining(bench, CELLS)] == [0, 0, 1]
    other = dataclasses.replace(bench, protocol=dataclasses.replace(bench.protocol, valid_seed=1))
    with pytest.raises(ConfigError, match=r"holds another experiment, these differ: protocol\.valid_seed 0 -> 1"):
        make(other, CELLS)


def test_a_failed_run_is_reported_and_the_others_continue(bench, performed):
    calls, plan = performed
    protocol = dataclasses.replace(bench.protocol, common={"short": {"passes": 1}}, common_cells=("mean",))
    bench = dataclasses.replace(bench, protocol=protocol)
    plan["fail"] = Run("final", "mean", "", 0)
    printed = []
    outcome = make(bench, ("mean",), report_failure=printed.append)
    assert outcome.failed == ((plan["fail"], "RuntimeError: out of paper"),)
    assert printed == ["final mean seed 0: RuntimeError: out of paper"] and len(calls) == 3
    with pytest.raises(DataError, match=r"no finished run there \(runs.jsonl\)"):
        write_pages(bench.out)
    plan["fail"] = None
    assert make(bench, ("mean",)).failed == () and len(calls) == 4


def test_runs_side_by_side_are_those_one_by_one(bench, tmp_path):
    protocol = dataclasses.replace(bench.protocol, common={"short": {"passes": 1}}, common_cells=("mean",))
    alone, both = (dataclasses.replace(bench, out=tmp_path / str(n), protocol=protocol, n_beside=n) for n in (1, 2))
    for one in (alone, both):
        assert make(one, ("mean",)).failed == ()
    found = [{line.run: line.mAP for line in read_lines(one.out / "search.jsonl")} for one in (alone, both)]
    assert found[0] == found[1] and len(found[0]) == 3


def test_another_folder_is_refused(bench):
    bench.out.mkdir()
    (bench.out / "holiday.txt").touch()
    with pytest.raises(ConfigError, match=r"a new folder or one with a plan\.json was expected"):
        make(bench, CELLS)


def test_the_command_shows_what_is_left_and_asks_for_features(places, tmp_path, capfd):
    words = ["audioset", str(places.features), "--out", str(tmp_path / "out"), "--cells", "mean", "--dry-run"]
    assert main(words) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[-1] == "phase 6: 1 runs left, final mean seed 9 first"
    assert main(["audioset"]) == 2
    assert "FEATURES is missing" in capfd.readouterr().err
    assert main(["audioset", "--out", str(tmp_path), "--tables-only"]) == 1
    assert "no finished run there" in capfd.readouterr().err


def test_a_line_says_what_a_reader_needs(bench, line_of):
    line = line_of("mean", mAP=float("nan"))
    assert json.loads(json.dumps(line.to_json()))["mAP"] is None
    assert str(bench.out) not in json.dumps(line.to_json())
