"""Time of the remaining runs: estimated from finished runs, or measured."""

from dataclasses import replace

import pytest
import torch

from earmark.errors import ConfigError
from experiments.table1 import estimate as module
from experiments.table1.estimate import estimate, look_ahead, probe_rate
from experiments.table1.lines import append_line
from experiments.table1.runs import machine


def test_the_estimate_uses_finished_runs_on_such_a_machine(planned, line_of):
    plan, _ = planned()
    here = machine(torch.device("cpu"))
    lines = [line_of("sparse", "max", 0, machine=here), line_of("sparse", "gmap", 0, seconds=0.001)]
    found = estimate(plan, plan.runs(["mean", "attention"]), lines)
    # two at a time, each 16 clips in 5 s; a run left sees 16 clips and scores 16 at a third of the cost
    assert found.clips_per_second == pytest.approx(2 * 16 / 5)
    assert found.seconds == pytest.approx(2 * (16 + 16 / 3) / (2 * 16 / 5))
    assert found.how == "the 1 runs finished on such a machine"


def test_otherwise_the_estimate_uses_a_few_steps(planned, line_of, monkeypatch):
    plan, _ = planned()
    monkeypatch.setattr(module, "probe_rate", lambda *_: 10.0)
    found = estimate(plan, plan.runs(["mean"]), [line_of("sparse", "max", 0)])
    # 16 clips seen, 2 validations of 6 and a test of 16 at a third of the cost
    assert found.seconds == pytest.approx((16 + (2 * 6 + 16) / 3) / 10)
    assert "4 steps of GMAP at width 2 on noise" in found.how


def test_the_probe_measures_and_leaves_no_trace(tiny):
    before = torch.random.get_rng_state()
    assert probe_rate(replace(tiny.training, pooling="max"), 3, 1.0) > 0
    assert torch.equal(before, torch.random.get_rng_state())


def test_estimating_writes_nothing(planned, out, line_of, monkeypatch):
    plan, _ = planned()
    monkeypatch.setattr(module, "probe_rate", lambda *_: 10.0)
    found = look_ahead(out, plan, plan.runs())
    assert (found.n_runs, found.n_done) == (12, 0)
    assert found.unrendered == (("sparse", "train", 12), ("sparse", "valid", 6), ("sparse", "test", 16))
    assert not out.exists()

    plan.claim(out)
    for cell in ("gmap", "max"):
        line = line_of("sparse", cell, 0)
        append_line(out / "runs.jsonl", line)
        line.run.scores(out).parent.mkdir(parents=True, exist_ok=True)
        line.run.scores(out).touch()
    assert look_ahead(out, plan, plan.runs()).n_done == 2
    assert look_ahead(out, plan, plan.runs(["gmap", "max"])).estimate is None
    other, _ = planned(n_train=13)
    with pytest.raises(ConfigError, match="holds another table"):
        look_ahead(out, other, other.runs())
