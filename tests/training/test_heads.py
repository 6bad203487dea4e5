"""Heads: trainings on clips that are encoded already."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from earmark.data import Clip, Dataset, open_data
from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.evaluation.report import evaluate
from earmark.hub import load_stages
from earmark.model.head import Head
from earmark.model.network import Network
from earmark.training import TrainConfig, TrainingInterrupted
from earmark.training.batches import TrainBatches
from earmark.training.features import segment_features
from earmark.training.initial import initial_stages
from earmark.training.plan import Plan
from earmark.training.recipes import recipe
from earmark.training.settings import OF_SOUND
from tests.tfrecords import released_clips, write_features
from tests.training.tones import Tone, assert_same_state, at_step, record_of, run, state_of

TINY = TrainConfig(
    perceptron_layers=1,
    perceptron_width=8,
    n_heads=2,
    n_clips_seen=48,
    clips_per_epoch=16,
    batch_size=8,
    ema_decay=0.9,
    segment_dropout=0.2,
    seed=3,
    device="cpu",
    precision="float32",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_features(tmp_path_factory.mktemp("features") / "train", released_clips(40))
    return open_data(f"audioset-features:{folder}")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = write_features(tmp_path_factory.mktemp("features") / "valid", released_clips(16, seed=1))
    return open_data(f"audioset-features:{folder}")


def test_a_head_learns_and_is_evaluated(data, other, tmp_path):
    plain = replace(recipe("audioset-features"), n_heads=2, perceptron_layers=1, perceptron_width=32)
    plain = replace(plain, mixup_alpha=0.0, dropout=0.0, block_dropout=0.0, learning_rate=0.01, ema_decay=0.5)
    result = run(tmp_path, replace(plain, n_clips_seen=3200, clips_per_epoch=800, batch_size=16), data, other)
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert record_of(tmp_path)["resolved"]["cache"] == "segments"
    head = load_stages(result.last)
    assert isinstance(head, Head) and head.extra["encoder"]["n_channels"] == 128
    report = evaluate(head, other)
    assert report.mAP > 0.5
    # the loss is that of a validation at the end of the run
    assert report.mAP == pytest.approx(result.history[-1].valid_mAP, abs=1e-6)


@pytest.mark.parametrize("pooling", ["gmap", "decision_attention"])
def test_first_scores_are_near_the_share_of_clips_with_a_label(data, tmp_path, pooling):
    share = sum(len(clip.labels) for clip in data) / (len(data) * len(data.labels))
    head = initial_stages(replace(TINY, pooling=pooling, dropout=0.0), data, {}, True, print).eval()
    scores = head(torch.zeros(1, 3, 128)).sigmoid()
    assert torch.allclose(scores, torch.full_like(scores, share), rtol=0.01)


def test_a_batch_of_segments_is_that_of_its_clips(data):
    features, target, ids = segment_features(data, data.labels)
    batches = TrainBatches(features, target, ids, Plan(9, 9, 8, 0), "balanced", 4, 0)
    zero = np.zeros(1, np.int64)
    seen = set()
    for step in range(9):
        batch = batches[step]
        for row, name in enumerate(batch.ids):
            number = ids.index(name)
            whole = features.table.gather(np.array([number]), zero, features.lengths[[number]])[0]
            length = int(batch.lengths[row])
            assert length == min(4, len(whole))
            own = batch.features[row].numpy()
            starts = [i for i in range(len(whole) - length + 1) if (whole[i : i + length] == own[:length]).all()]
            assert starts and not own[length:].any()
            seen.update(starts)
            assert (batch.target[row].numpy() == data.labels.encode(data[number].labels)).all()
    assert len(seen) > 3, "crops begin anywhere"


def test_batches_do_not_depend_on_the_pooling(data, tmp_path, monkeypatch):
    """Runs that differ in their pooling alone see the same clips and begin with the same perceptron."""
    seen = {}
    original = TrainBatches.__getitem__
    for pooling in ("mean", "gmap"):
        ids = seen.setdefault(pooling, [])

        def noted(self, step, ids=ids):
            batch = original(self, step)
            ids.append((batch.ids, batch.features.sum().item()))
            return batch

        monkeypatch.setattr(TrainBatches, "__getitem__", noted)
        run(tmp_path / pooling, replace(TINY, pooling=pooling, learning_rate=1e-30), data)
    assert seen["mean"] == seen["gmap"]
    one, two = (load_stages(tmp_path / name / "last.safetensors").perceptron for name in ("mean", "gmap"))
    assert all(
        torch.allclose(a, b, rtol=0, atol=1e-20) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )


def test_a_resumed_head_ends_with_the_same_weights(data, other, tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", TINY, data, other)
    at_step(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "cut", TINY, data, other)
    monkeypatch.undo()
    again = run(tmp_path / "cut", TINY, data, other, resume=True)
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "cut"))
    assert whole.last.read_bytes() == again.last.read_bytes()


@pytest.mark.parametrize("name", ["segment_dropout", "mixup_alpha", "perceptron_norm", "dropout", "pooling", "seed"])
def test_settings_that_change_a_head(data, tmp_path, name):
    changes = {"segment_dropout": 0.0, "mixup_alpha": 0.0, "perceptron_norm": True, "dropout": 0.0, "seed": 4}
    weights = []
    for folder, config in (("a", TINY), ("b", replace(TINY, **{name: changes.get(name, "mean")}))):
        run(tmp_path / folder, config, data)
        weights.append(state_of(tmp_path / folder)["averaged"])
    assert not torch.equal(weights[0]["perceptron.layers.0.weight"], weights[1]["perceptron.layers.0.weight"])


@pytest.mark.parametrize("name", OF_SOUND)
def test_settings_of_sound_are_refused_for_segments(data, tmp_path, name):
    values = {"backbone": "light", "sample_rate": 16000, "shortest_crop": 0.5, "n_mels": 128, "mix_clips": 0.5}
    usual = getattr(TINY, name)
    value = values[name] if name in values else not usual if isinstance(usual, bool) else usual + 8
    with pytest.raises(ConfigError, match="only the head is trained") as caught:
        run(tmp_path, replace(TINY, **{name: value}), data)
    assert caught.value.setting == name


def test_sound_does_not_validate_a_head_and_a_head_does_not_score_sound(data, tmp_path):
    sound = Dataset("sound", data.labels, (Clip("a", ("Speech",), Tone((), 0)),))
    with pytest.raises(DataError, match="those have VGGish"):
        run(tmp_path / "a", TINY, data, sound)
    result = run(tmp_path / "b", TINY, data)
    with pytest.raises(CheckpointError, match="128 channels without the encoder"):
        Network.load(result.last)
    with pytest.raises(DataError, match="segments by VGGish"):
        evaluate(load_stages(result.last), sound)


def test_several_processes_train_a_head_together(data, tmp_path):
    config = replace(TINY, block_dropout=0.0, dropout=0.0)
    alone = run(tmp_path / "one", config, data)
    together = run(tmp_path / "two", replace(config, devices=2), data)
    one, two = (load_stages(result.last).state_dict() for result in (alone, together))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)
