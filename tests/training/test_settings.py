"""Settings and plan of a run."""

import ast
import json
import subprocess
import sys
from dataclasses import fields
from itertools import groupby, pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from earmark.errors import ConfigError, Limit
from earmark.model.backbones import BACKBONES
from earmark.model.head_settings import HeadSettings, PoolingName
from earmark.model.pooling import POOLINGS
from earmark.training import TrainConfig, choices, conditions, settings
from earmark.training.choices import Topic


def test_config_survives_json():
    config = TrainConfig(width=16, clips_per_epoch=100, device="cuda:1", schedule="constant")
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("values", "setting", "words"),
    [
        ({"pooling": "median"}, "pooling", ["one of max, mean", "not 'median'"]),
        ({"sample_rate": 44100}, "sample_rate", ["one of 32000, 16000", "not 44100"]),
        ({"sample_rate": 32000.0}, "sample_rate", ["one of 32000, 16000", "not 32000.0"]),
        ({"width": 0}, "width", ["at least 1", "not 0"]),
        ({"n_heads": 3}, "n_heads", ["a divisor of the 512 channels", "not 3"]),
        ({"n_mels": 72}, "n_mels", ["a multiple of 16", "not 72"]),
        ({"shortest_crop": 0.0}, "shortest_crop", ["above 0 and at most 1", "not 0.0"]),
        ({"shortest_crop": 1.5}, "shortest_crop", ["above 0 and at most 1", "not 1.5"]),
        ({"mix_clips": 1.5}, "mix_clips", ["from 0 to 1", "not 1.5"]),
        ({"dropout": 1.0}, "dropout", ["at least 0 and below 1", "not 1.0"]),
        ({"learning_rate": 0.0}, "learning_rate", ["above 0", "not 0.0"]),
        ({"learning_rate": float("nan")}, "learning_rate", ["a finite number", "not nan"]),
        ({"learning_rate": "0.1"}, "learning_rate", ["a finite number", "not '0.1'"]),
        ({"batch_size": 2.5}, "batch_size", ["a whole number", "not 2.5"]),
        ({"batch_size": True}, "batch_size", ["a whole number", "not True"]),
        ({"gate": 1}, "gate", ["true or false", "not 1"]),
        ({"clips_per_epoch": 0}, "clips_per_epoch", ["at least 1", "not 0"]),
        ({"clips_per_epoch": "all"}, "clips_per_epoch", ["a whole number", "not 'all'"]),
        ({"device": "tpu"}, "device", ["auto, cpu, cuda, cuda:N or mps", "not 'tpu'"]),
        ({"seed": -1}, "seed", ["at least 0", "not -1"]),
        ({"seed": None}, "seed", ["a whole number", "not None"]),
        ({"init": 3}, "init", ["a text", "not 3"]),
        ({"freeze": "backbone"}, "init", ["a checkpoint whose backbone encodes the clips was expected"]),
        ({"freeze": "pooling"}, "freeze", ["backbone", "not 'pooling'"]),
        ({"shuffle": "blocks"}, "shuffle", ["clips", "not blocks", "(balanced=False)"]),
        ({"mix_share": 0.5}, "mix_share", ["at least one variant", "(n_variants=1)"]),
        ({"background": "music"}, "background", ["at least one variant", "(n_variants=1)"]),
        ({"bach_size": 3}, None, ["'bach_size'", "did you mean 'batch_size'"]),
    ],
)
def test_config_refuses_invalid_settings(values, setting, words, unchecked):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_json(values)
    assert caught.value.setting == setting
    text = str(caught.value)
    assert text.startswith(f"{setting}: ") or setting is None
    assert [word for word in words if word not in text] == []


def test_settings_may_be_missing_or_at_their_limits(unchecked):
    config = TrainConfig(clips_per_epoch=None, dropout=0, shortest_crop=1, n_mels=16, mix_clips=1, learning_rate=1)
    assert config.clips_per_epoch is None


def test_every_setting_has_a_topic_and_topics_are_not_mixed():
    hints = get_type_hints(TrainConfig, include_extras=True)
    topics = [
        next(note for note in hints[entry.name].__metadata__ if isinstance(note, Topic))
        for entry in fields(TrainConfig)
    ]
    assert [topic for topic, _ in groupby(topics)] == list(dict.fromkeys(topics))
    assert set(topics) == set(Topic)


def test_a_head_and_its_training_have_the_same_limits():
    limits = [
        {
            entry.name: [note for note in getattr(hints[entry.name], "__metadata__", ()) if isinstance(note, Limit)]
            for entry in fields(HeadSettings)
        }
        for hints in (get_type_hints(kind, include_extras=True) for kind in (HeadSettings, TrainConfig))
    ]
    assert limits[0] == limits[1]


def body_of(module, name):
    tree = ast.parse(Path(module.__file__).read_text())
    return next(node for node in tree.body if getattr(node, "name", "") == name).body


def test_every_setting_is_documented_and_every_pooling_can_be_set():
    documented = [
        a.target.id
        for module, name in ((conditions, "RecordingConditions"), (settings, "TrainConfig"))
        for a, b in pairwise(body_of(module, name))
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    ]
    assert documented == [entry.name for entry in fields(TrainConfig)]
    assert get_args(PoolingName) == tuple(POOLINGS)
    assert get_args(choices.BackboneName) == tuple(BACKBONES)


def test_clips_that_are_read_once_have_a_reader_without_workers():
    assert [TrainConfig(n_workers=n).n_readers for n in (None, 0, 1, 5)] == [2, 1, 1, 5]


def test_settings_need_no_torch():
    code = "import sys, earmark.training as t; t.TrainConfig(); print({'torch', 'tensorboard'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
