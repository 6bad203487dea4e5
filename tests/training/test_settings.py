"""Settings and plan of a run."""

import ast
import json
import subprocess
import sys
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from earmark.errors import ConfigError
from earmark.model.backbone import BACKBONES
from earmark.model.pooling import POOLINGS
from earmark.training import TrainConfig, settings
from earmark.training.settings import Plan


def test_config_survives_json():
    config = TrainConfig(width=16, clips_per_epoch=100, device="cuda:1", schedule="constant")
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"pooling": "median"}, "pooling: one of max, mean, .* was expected, not 'median'"),
        ({"sample_rate": 44100}, "sample_rate: one of 32000, 16000"),
        ({"width": 0}, "width: 1 or more was expected, not 0"),
        ({"n_heads": 3}, "n_heads: a divisor of the 512 channels"),
        ({"shortest_crop": 0.0}, "shortest_crop: a share above 0, 1 at most, was expected, not 0.0"),
        ({"shortest_crop": 1.5}, "shortest_crop: a share above 0"),
        ({"dropout": 1.0}, "dropout: a number from 0 up to 1 was expected, not 1.0"),
        ({"learning_rate": 0.0}, "learning_rate: a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: a number was expected, not nan"),
        ({"batch_size": 2.5}, "batch_size: a whole number was expected, not 2.5"),
        ({"batch_size": True}, "batch_size: a whole number was expected, not True"),
        ({"gate": 1}, "gate: true or false was expected, not 1"),
        ({"clips_per_epoch": 0}, "clips_per_epoch: 1 or more"),
        ({"clips_per_epoch": "all"}, "clips_per_epoch: a whole number"),
        ({"device": "tpu"}, "device: auto, cpu, cuda, cuda:N or mps was expected, not 'tpu'"),
        ({"seed": -1}, "seed: 0 or more"),
        ({"seed": None}, "seed: a whole number was expected, not None"),
        ({"init": 3}, "init: a text was expected, not 3"),
        ({"shuffle": "blocks"}, "labels cannot be drawn equally often; set balanced off"),
        ({"bach_size": 3}, "no setting 'bach_size'; did you mean 'batch_size'"),
    ],
)
def test_config_refuses(values, text, unchecked):
    with pytest.raises(ConfigError, match=text):
        TrainConfig.from_json(values)


def test_every_setting_is_documented_and_every_pooling_can_be_set():
    body = next(
        node
        for node in ast.parse(Path(settings.__file__).read_text()).body
        if getattr(node, "name", "") == "TrainConfig"
    ).body
    documented = [
        a.target.id
        for a, b in pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    ]
    assert documented == [entry.name for entry in fields(TrainConfig)]
    assert set(settings.PoolingName.__args__) == set(POOLINGS)
    assert settings.BackboneName.__args__ == tuple(BACKBONES)


def test_settings_need_no_torch():
    code = "import sys, earmark.training as t; t.TrainConfig(); print({'torch', 'tensorboard'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


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
def test_an_epoch_in_steps(n_clips, clips_per_epoch, steps):
    plan = Plan.of(TrainConfig(n_clips_seen=16000, clips_per_epoch=clips_per_epoch), n_clips)
    assert (plan.n_steps, plan.steps_per_epoch) == (500, steps)
