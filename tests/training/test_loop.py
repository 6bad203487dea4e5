"""The loop: repetition, settings, validation, faulty numbers."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from earmark.data.clips import Clip, Dataset
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.training import loop, machine
from earmark.training.batches import TrainBatches
from earmark.training.folder import best_epoch
from tests.training.tones import (
    LABELS,
    SMALL,
    TWO_EPOCHS,
    Tone,
    assert_same_state,
    at_step,
    record_of,
    run,
    state_of,
    tones,
)


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_a_repeated_run_ends_with_the_same_weights(tmp_path, usual, cache):
    run(tmp_path, replace(TWO_EPOCHS, cache=cache))
    assert_same_state(state_of(tmp_path)["averaged"], usual[cache])


@pytest.mark.parametrize(
    ("name", "value", "cache"),
    [
        ("ema_decay", 0.0, "log_mel"),
        ("pooling", "mean", "log_mel"),
        ("learning_rate", 0.01, "log_mel"),
        ("weight_decay", 0.1, "log_mel"),
        ("gradient_clip", 0.01, "log_mel"),
        ("schedule", "constant", "log_mel"),
        ("warmup", 0.5, "log_mel"),
        ("dropout", 0.0, "log_mel"),
        ("block_dropout", 0.0, "log_mel"),
        ("mixup_alpha", 0.0, "log_mel"),
        ("spec_augment", False, "log_mel"),
        ("random_shift_stretch", True, "log_mel"),
        ("shortest_crop", 0.3, "log_mel"),
        ("mix_clips", 1.0, "log_mel"),
        ("gain_db", 10.0, "log_mel"),
        ("equalizer_db", 6.0, "log_mel"),
        ("softmax_weight", 0.5, "log_mel"),
        ("n_mels", 32, "log_mel"),
        ("hop_ms", 12.5, "log_mel"),
        ("balanced", False, "log_mel"),
        ("precision", "bf16", "log_mel"),
        ("seed", 4, "log_mel"),
        ("clip_duration", 0.6, "log_mel"),
        ("clip_duration", 0.6, "none"),
    ],
)
def test_settings_that_change_a_step(tmp_path, usual, name, value, cache):
    result = run(tmp_path, replace(TWO_EPOCHS, cache=cache, **{name: value}), valid=tones("other", 4, first=50))
    assert np.isfinite([row.train_loss for row in result.history]).all()
    changed = state_of(tmp_path)["averaged"]
    # the backbone is the same with every pooling, what follows it is not
    backbone = [key for key in changed if key.startswith("backbone.")]
    assert any(not torch.equal(usual[cache][key], changed[key]) for key in backbone)


def test_the_blocks_are_compiled_on_request(tmp_path, monkeypatch, usual):
    """Compilation is replaced: the compiler cannot trace the shape checks that the tests add."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    run(tmp_path, replace(TWO_EPOCHS, cache="log_mel", compiled=True))
    assert [type(module).__name__ for module in compiled] == ["ConvBlock"] * 4
    assert_same_state(state_of(tmp_path)["averaged"], usual["log_mel"])


def test_the_latest_of_equal_epochs_is_the_best(tmp_path, monkeypatch):
    figures = iter([(0.5, 0.5, 0.0), (0.9, 0.6, 0.1), (0.9, 0.7, 0.2)])
    monkeypatch.setattr(loop, "mean_figures", lambda target, scores: next(figures))
    result = run(tmp_path, valid=tones("valid", first=100))
    assert [row.valid_mAP for row in result.history] == [0.5, 0.9, 0.9]
    assert result.best_epoch.epoch == record_of(tmp_path)["result"]["best"]["epoch"] == 3
    assert Network.load(result.best).extra["clips_seen"] == result.best_epoch.clips_seen
    first, better, equal = result.history
    assert best_epoch([first, better]) is better and best_epoch([better, first]) is better
    assert best_epoch([replace(row, valid_mAP=None) for row in (equal, first)]).epoch == first.epoch


@pytest.mark.parametrize(("limit", "told"), [(0.0, 1), (1800.0, 0)])
def test_a_run_of_hours_on_the_cpu_is_noted_once(tmp_path, monkeypatch, limit, told):
    monkeypatch.setattr(machine, "_LONG", limit)
    monkeypatch.setattr(loop, "_STEPS_TO_JUDGE", (1, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        run(tmp_path, replace(SMALL, n_clips_seen=24))
    texts = [str(one.message) for one in caught if issubclass(one.category, EarmarkWarning)]
    assert len(texts) == told
    assert all(text.endswith("min left on the CPU; a GPU or a smaller budget is faster") for text in texts)


def test_a_loss_that_is_no_number_names_its_clips_and_overwrites_nothing(tmp_path, monkeypatch):
    kept = {}
    original = TrainBatches.__getitem__

    def spoiled(self, step):
        batch = original(self, step)
        if step == 6:
            kept.update({p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}, ids=batch.ids)
            batch = replace(batch, features=batch.features * float("nan"))
        return batch

    monkeypatch.setattr(TrainBatches, "__getitem__", spoiled)
    with pytest.raises(DataError, match="the loss became nan") as caught:
        run(tmp_path)
    ids = kept.pop("ids")
    assert f"clips {', '.join(ids)};" in str(caught.value)
    del kept["run.json"]
    assert "last.safetensors" in kept and all((tmp_path / name).read_bytes() == kept[name] for name in kept)
    record = record_of(tmp_path)
    assert record["status"] == "failed" and record["error"].startswith("DataError: the loss became nan")


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch):
    def spoil():
        monkeypatch.setattr(
            loop, "update_average", lambda averaged, *_: averaged.backbone.bn0.running_mean.fill_(float("inf"))
        )

    at_step(monkeypatch, 7, spoil)
    with pytest.raises(Exception, match=r"weights backbone.bn0.running_mean are no longer finite numbers after step 8"):
        run(tmp_path)
    assert state_of(tmp_path)["n_steps_done"] == 4


def test_validation_labels_are_matched_by_name(tmp_path):
    clips = tuple(Clip(f"o{i}", (label,), Tone((label,), 70 + i)) for i, label in enumerate(["high", "low", "high"]))
    swapped = Dataset("swapped", LabelSet(("high", "low")), clips)
    ordered = Dataset("swapped", LABELS, clips)
    histories = [
        run(tmp_path / name, replace(SMALL, n_clips_seen=16), valid=valid).history
        for name, valid in (("swapped", swapped), ("ordered", ordered))
    ]
    assert histories[0][0].valid_mAP == histories[1][0].valid_mAP


def test_a_mobile_network_trains_and_starts_other_trainings(tmp_path):
    config = replace(TWO_EPOCHS, backbone="mn", width=10, n_heads=2)
    result = run(tmp_path / "start", config)
    assert np.isfinite([row.train_loss for row in result.history]).all()
    checkpoint = tmp_path / "start" / "last.safetensors"
    network = Network.load(checkpoint)
    assert network.config.backbone == "mn" and network.backbone.n_channels == 96 and network.halo is None
    run(tmp_path / "other", replace(config, init=str(checkpoint), pooling="attentive_stats"))
    assert Network.load(tmp_path / "other" / "last.safetensors").config.backbone == "mn"
