"""The steps of a run."""

from dataclasses import replace

import numpy as np
import pytest

from earmark.training import TrainConfig
from earmark.training.plan import Plan


def test_learning_rate_warms_up_and_falls():
    config = TrainConfig(n_clips_seen=3200, warmup=0.1, learning_rate=0.5)
    plan = Plan.of(config, 320)
    rates = [plan.learning_rate(step, config) for step in range(plan.n_steps)]
    assert plan.n_steps == 100
    np.testing.assert_allclose(rates[:10], 0.05 * np.arange(1, 11))
    assert (
        max(rates) == 0.5 and np.all(np.diff(rates[10:]) < 0) and rates[55] == pytest.approx(0.25) and rates[-1] < 1e-3
    )
    constant = replace(config, schedule="constant")
    assert {plan.learning_rate(step, constant) for step in range(10, 100)} == {0.5}


@pytest.mark.parametrize(
    ("n_clips", "clips_per_epoch", "steps"),
    [(640, None, 20), (3, None, 10), (10**6, None, 50), (640, 64, 2), (640, 10**9, 500), (640, 1, 1)],
)
def test_the_steps_of_an_epoch(n_clips, clips_per_epoch, steps):
    plan = Plan.of(TrainConfig(n_clips_seen=16000, clips_per_epoch=clips_per_epoch), n_clips)
    assert (plan.n_steps, plan.steps_per_epoch) == (500, steps)
