"""Training as a whole (the folder `earmark/training`), on clips of less than a second made here."""

import ast
import csv
import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from earmark.audio.recording import Audio, save_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.targets import Targets
from earmark.errors import AudioError, CheckpointError, ConfigError, DataError, EarmarkError, EarmarkWarning
from earmark.labels import LabelSet
from earmark.model.backbone import BACKBONES
from earmark.model.frontend import FLOOR_DB, FrontendConfig, LogMel
from earmark.model.network import Network
from earmark.model.pooling import POOLINGS
from earmark.training import TrainConfig, TrainingInterrupted, journal, machine, settings, train
from earmark.training.batches import Loader, LogMels, TrainBatches, ValidBatches, Waveforms, batches_of_workers
from earmark.training.cache import log_mels
from earmark.training.folder import RunFolder, best_epoch
from earmark.training.journal import Journal
from earmark.training.lightning_module import WeakLabelModule
from earmark.training.machine import chosen_device, keep_big_buffers, long_run
from earmark.training.provenance import exact_sha256
from earmark.training.settings import Plan
from earmark.training.store import FeatureStore

TONES = {"low": 300.0, "mid": 1000.0, "high": 3000.0}
LABELS = LabelSet(tuple(TONES))
SMALL = TrainConfig(
    width=2,
    n_heads=2,
    sample_rate=16000,
    n_clips_seen=48,
    clips_per_epoch=16,
    batch_size=4,
    clip_duration=0.8,
    ema_decay=0.9,
    n_workers=0,
    seed=3,
    device="cpu",
    precision="float32",
)


@dataclass(frozen=True)
class Tone:
    """A sound made on the spot."""

    labels: tuple[str, ...]
    seed: int
    seconds: float = 0.8

    def load(self, sample_rate: int) -> Audio:
        rng = np.random.default_rng(self.seed)
        time = np.arange(round(sample_rate * self.seconds)) / sample_rate
        waveform = 0.01 * rng.standard_normal(len(time))
        for label in self.labels:
            waveform += 0.3 * np.sin(2 * np.pi * TONES[label] * time)
        return Audio(waveform.astype(np.float32), sample_rate)


@dataclass(frozen=True)
class Broken:
    """A sound that cannot be read."""

    def load(self, sample_rate: int) -> Audio:
        raise AudioError("broken.wav: damaged")


def tones(name="tones", n_clips=16, seconds=0.8, first=0) -> Dataset:
    clips = []
    for number in range(first, first + n_clips):
        labels = tuple(label for bit, label in enumerate(TONES) if (number % 7 + 1) >> bit & 1)
        clips.append(Clip(f"{name}-{number}", labels, Tone(labels, number, seconds)))
    return Dataset(name, LABELS, tuple(clips))


def with_broken(data: Dataset, n_broken: int) -> Dataset:
    broken = tuple(Clip(f"broken-{i}", ("low",), Broken()) for i in range(n_broken))
    return replace(data, clips=(*broken, *data.clips))


def run(out, config=SMALL, data=None, valid=None, **options):
    return train(config, data or tones(), out, valid, progress=False, **options)


def state_of(out: Path):
    folder = RunFolder(out)
    folder.read_record()
    return folder.read_state()


def record_of(out: Path):
    return json.loads((out / "run.json").read_text())


def assert_same_state(a, b, path="state"):
    """Equal to the bit, clocks and the id of the run aside."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            if not str(key).endswith("seconds") and key not in ("clips_per_second", "data_share", "run_id"):
                assert_same_state(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same_state(one, other, f"{path}[{i}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def at_step(monkeypatch, step: int, action):
    """Calls `action` when the batch of the step is asked for, once."""
    original, done = TrainBatches.__getitem__, []

    def patched(self, number):
        if number == step and not done:
            done.append(number)
            action()
        return original(self, number)

    monkeypatch.setattr(TrainBatches, "__getitem__", patched)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The state that a run of SMALL ends in when nothing comes between."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return state_of(out)


# --- settings ---------------------------------------------------------------------------------------------------------


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
    code = (
        "import sys, earmark.training; earmark.training.TrainConfig(); print({'torch', 'lightning'} & set(sys.modules))"
    )
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


# --- batches ----------------------------------------------------------------------------------------------------------


def targets_of(data):
    return Targets((clip.labels for clip in data), data.labels)


def batches_of(data, features, crop=16000, order="balanced", seed=0, n_steps=50):
    ids = [clip.id for clip in data]
    return TrainBatches(features, targets_of(data), ids, Plan(n_steps, 7, 4, 0), order, crop, seed)


@pytest.mark.parametrize("order", ["balanced", "clips", "blocks"])
def test_a_batch_depends_on_the_seed_and_its_step_alone(order):
    data = tones(n_clips=7, seconds=1.2)
    features = Waveforms(data.clips, 16000)
    one, other = (batches_of(data, features, order=order) for _ in range(2))
    forth, back = [one[step] for step in range(8)], [other[step] for step in range(7, -1, -1)][::-1]
    for a, b in zip(forth, back, strict=True):
        assert a.ids == b.ids and torch.equal(a.features, b.features) and torch.equal(a.target, b.target)
    # one block of 7 clips is read as it lies
    assert order == "blocks" or any(
        a.ids != batches_of(data, features, order=order, seed=1)[i].ids for i, a in enumerate(forth)
    )
    if order != "balanced":
        shown = [name for batch in forth for name in batch.ids][:28]
        assert all(len(set(shown[i : i + 7])) == 7 for i in range(0, 28, 7)), "each pass shows each clip once"


def test_a_batch_is_padded_and_its_rows_belong_together():
    clips = tuple(Clip(str(i), ("low",), Tone(("low",), i, 0.25 * (i + 1))) for i in range(4))
    data = Dataset("lengths", LABELS, clips)
    batch = batches_of(data, Waveforms(clips, 16000), order="clips")[0]
    assert sorted(batch.ids) == ["0", "1", "2", "3"] and batch.features.shape == (4, 16000)
    for row, name in enumerate(batch.ids):
        length = 4000 * (int(name) + 1)
        assert batch.lengths[row] == length
        np.testing.assert_array_equal(batch.features[row, :length], clips[int(name)].load(16000).waveform)
        assert not batch.features[row, length:].any()


def test_long_clips_are_cropped_at_random():
    array = np.arange(100, dtype=np.float32)[:, None] * np.ones(64, np.float32)
    data = tones(n_clips=1)
    batches = batches_of(data, LogMels([array]), crop=40)
    starts = set()
    for step in range(50):
        for row in batches[step].features[:, :, 0]:
            assert torch.equal(row, torch.arange(row[0].item(), row[0].item() + 40))
            starts.add(int(row[0]))
    assert min(starts) <= 2 and max(starts) >= 58 and len(starts) > 40
    valid = ValidBatches(LogMels([array]), targets_of(data), ["a"], 4)[0]
    assert valid.features.shape == (1, 100, 64)


def test_shorter_log_mels_are_padded_with_silence():
    data = tones(n_clips=2)
    mels = [np.zeros((n, 64), np.float32) for n in (10, 20)]
    batch = ValidBatches(LogMels(mels), targets_of(data), ["a", "b"], 4)[0]
    assert (batch.features[0, 10:] == FLOOR_DB).all() and (batch.features[1] == 0).all()


def test_unlabelled_clips_have_their_turn():
    data = tones(n_clips=14)
    data = replace(data, clips=(*data.clips, Clip("nothing", (), Tone((), 99))))
    batches = batches_of(data, Waveforms(data.clips, 16000))
    shown = [number for step in range(45) for number in batches.clips(step).tolist()]
    assert 0.2 < shown.count(14) / len(shown) < 0.3, "a quarter, beside three labels"


def test_readable_clips_stand_in_for_the_others():
    data = with_broken(tones(n_clips=4), 2)
    batches = batches_of(data, Waveforms(data.clips, 16000), order="clips")
    module = WeakLabelModule(Network(SMALL.network_config(), LABELS), SMALL, batches.plan)
    for step in range(9):
        batch = batches[step]
        assert len(batch.ids) + len(batch.failed) == 4 and not any(name.startswith("broken") for name in batch.ids)
        log_mel, n_frames, target = module._clips_of_all(batch)
        assert len(log_mel) == 4 and n_frames.tolist() == [32] * 4
        assert torch.equal(target, torch.cat([batch.target] * 4)[:4])
    assert {name for step in range(9) for name, _ in batches[step].failed} == {"broken-0", "broken-1"}


def test_cached_log_mels_are_those_of_each_clip_alone():
    frontend = LogMel(FrontendConfig.at_16k())
    clips = [Clip(str(i), (), Tone(("low",), i, 0.5 + 0.25 * (i // 11))) for i in range(30)]
    clips.insert(5, Clip("broken", (), Broken()))
    ticks = []
    mels, failed = log_mels(clips, frontend, 3, ticks.append)
    assert failed == [("broken", "broken.wav: damaged")] and mels[5] is None and sum(ticks) == 31
    for clip, mel in zip(clips, mels, strict=True):
        if mel is not None:
            alone = frontend(torch.from_numpy(clip.load(16000).waveform)[None])[0]
            torch.testing.assert_close(torch.from_numpy(mel), alone, rtol=0, atol=1e-4)


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_learns_and_leaves_its_folder(tmp_path, capfd):
    # small networks and short trainings need no help against overfitting
    plain = replace(SMALL, mixup_alpha=0.0, spec_augment=False, block_dropout=0.0, dropout=0.0)
    config = replace(plain, width=4, n_clips_seen=320, clips_per_epoch=64, batch_size=8, learning_rate=0.02)
    valid = tones("other", 12, first=500)
    result = run(tmp_path / "run", config, valid=valid, request={"data": "tones:"})
    assert capfd.readouterr() == ("", "")
    assert len(result.history) == 5 and result.best_epoch.valid_mAP > 0.9
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.history[-1].clips_seen == 320

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished" and record["request"] == {"data": "tones:"}
    assert TrainConfig.from_json(record["config"]) == config
    assert record["data"]["train"]["fingerprint"] == tones().fingerprint()
    assert record["data"]["valid"]["n_clips"] == 12 and record["versions"]["torch"]
    assert record["n_parameters"] == Network.load(result.last).n_parameters
    assert record["result"]["last"]["clips_per_second"] > 0 and record["result"]["last"]["seconds"] > 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("12345")
    assert float(rows[2]["valid_mAP"]) == result.history[2].valid_mAP
    assert all(file.name.startswith("events") for file in (tmp_path / "run" / "tensorboard").iterdir())
    assert list((tmp_path / "run" / "tensorboard").iterdir())

    best = Network.load(result.best)
    assert best.extra["valid_mAP"] == result.best_epoch.valid_mAP and best.extra["data"] == "tones"
    assert best.labels == LABELS
    clip = valid[2]
    with torch.inference_mode():
        logits = best(torch.from_numpy(clip.load(16000).waveform)[None])[0]
    assert logits[LABELS.encode(clip.labels) == 1].min() > logits[LABELS.encode(clip.labels) == 0].max()


TWO_EPOCHS = replace(SMALL, n_clips_seen=16, clips_per_epoch=8)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """The averaged weights that TWO_EPOCHS ends with, by its cache."""
    weights = {}
    for cache in ("log_mel", "none"):
        out = tmp_path_factory.mktemp(f"usual-{cache}")
        run(out, replace(TWO_EPOCHS, cache=cache))
        weights[cache] = state_of(out)["module"]["averaged"]
    return weights


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_a_repeated_run_ends_with_the_same_weights(tmp_path, usual, cache):
    run(tmp_path, replace(TWO_EPOCHS, cache=cache))
    assert_same_state(state_of(tmp_path)["module"]["averaged"], usual[cache])


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
        ("wander", True, "log_mel"),
        ("shortest_crop", 0.3, "log_mel"),
        ("overlay", 1.0, "log_mel"),
        ("gain_db", 10.0, "log_mel"),
        ("equaliser_db", 6.0, "log_mel"),
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
    changed = state_of(tmp_path)["module"]["averaged"]
    # the backbone is the same with every pooling, what follows it is not
    backbone = [key for key in changed if key.startswith("backbone.")]
    assert any(not torch.equal(usual[cache][key], changed[key]) for key in backbone)


@pytest.mark.parametrize(("shortest", "cut"), [(1.0, False), (0.3, True)])
def test_the_network_sees_the_crops(tmp_path, monkeypatch, shortest, cut):
    seen = []
    original = Network.logits_from_log_mel

    def spied(self, log_mel, n_frames=None):
        if self.training:
            seen.append((log_mel.shape[1], int(n_frames.max())))
        return original(self, log_mel, n_frames)

    monkeypatch.setattr(Network, "logits_from_log_mel", spied)
    run(tmp_path, replace(SMALL, shortest_crop=shortest))
    assert all(length == longest for length, longest in seen)
    assert (len(set(seen)) > 1) == cut


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_gradient_clip_bounds_the_norm(tmp_path, monkeypatch, limit):
    norms = []
    original = WeakLabelModule._average

    def noting(self):
        # the gradients are those that the optimizer has just used
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])).item())
        original(self)

    monkeypatch.setattr(WeakLabelModule, "_average", noting)
    run(tmp_path, replace(TWO_EPOCHS, gradient_clip=limit))
    assert len(norms) == 4
    if limit:
        assert norms == pytest.approx([limit] * 4, rel=1e-3)
    else:
        assert min(norms) > 0.02


def test_reading_beside_the_training_changes_nothing(tmp_path):
    config = replace(SMALL, n_clips_seen=32)
    run(tmp_path / "main", replace(config, cache="none"))
    run(tmp_path / "workers", replace(config, cache="none", n_workers=2), valid=tones("other", 4, first=50))
    run(tmp_path / "cache", replace(config, cache="log_mel"))
    states = [state_of(tmp_path / name)["module"] for name in ("main", "workers", "cache")]
    assert_same_state(states[0]["averaged"], states[1]["averaged"])
    for name, value in states[0]["averaged"].items():
        torch.testing.assert_close(states[2]["averaged"][name], value, rtol=1e-3, atol=1e-4)


def test_the_saved_weights_are_the_average_batch_norm_included(tmp_path, monkeypatch):
    seen = []
    original = WeakLabelModule._average

    def noting(self):
        original(self)
        seen.append({name: value.clone() for name, value in self.network.state_dict().items()})

    monkeypatch.setattr(WeakLabelModule, "_average", noting)
    start = {}
    monkeypatch.setattr(
        WeakLabelModule,
        "on_train_start",
        lambda self: start.update({k: v.clone() for k, v in self.averaged.state_dict().items()}),
    )
    result = run(tmp_path, replace(SMALL, n_clips_seen=16))
    expected = {name: value.double() for name, value in start.items()}
    for step, weights in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in weights.items():
            floating = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value.double() if floating else value.double()
    saved = Network.load(result.last).state_dict()
    assert any("running_var" in name for name in saved)
    for name, value in saved.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


# --- stopping and going on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", ["log_mel", "none"])
@pytest.mark.parametrize("step", [5, 7], ids=["within an epoch", "at its last step"])
def test_ctrl_c_and_resume_end_where_an_uninterrupted_run_ends(tmp_path, monkeypatch, cache, step):
    config = replace(SMALL, cache=cache)
    valid = tones("other", 5, first=50)
    whole = run(tmp_path / "whole", config, valid=valid)
    at_step(monkeypatch, step, ctrl_c)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=f"stopped after step {step + 1} of 12 .* --resume"):
        run(tmp_path / "halves", config, valid=valid)
    assert signal.getsignal(signal.SIGINT) is handler
    halves = RunFolder(tmp_path / "halves")
    assert (
        halves.read_record()["status"] == "interrupted" and state_of(halves.path)["module"]["n_steps_done"] == step + 1
    )
    assert Network.load(halves.last).extra["clips_seen"] == 4 * (step + 1)

    resumed = run(halves.path, config, valid=valid, resume=True)
    assert_same_state(state_of(tmp_path / "whole"), state_of(halves.path))
    assert [row.valid_mAP for row in resumed.history] == [row.valid_mAP for row in whole.history]
    assert resumed.last.read_bytes() == whole.last.read_bytes()
    assert halves.read_record()["status"] == "finished"


def test_two_interruptions_in_one_epoch(tmp_path, monkeypatch, whole):
    for step, resume in ((4, False), (5, True)):
        at_step(monkeypatch, step, ctrl_c)
        with pytest.raises(TrainingInterrupted):
            run(tmp_path / "parts", resume=resume)
    run(tmp_path / "parts", resume=True)
    assert_same_state(whole, state_of(tmp_path / "parts"))


def test_sigterm_saves_too(tmp_path, monkeypatch, whole):
    at_step(monkeypatch, 6, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match="step 7 of 12"):
        run(tmp_path / "halves")
    run(tmp_path / "halves", resume=True)
    assert_same_state(whole, state_of(tmp_path / "halves"))


def test_sigterm_between_two_steps_saves_too(tmp_path, monkeypatch, whole):
    def after_the_step(self, *_):
        if self.n_steps_done == 5:
            signal.raise_signal(signal.SIGTERM)

    # called when the journal is done with the step, before Lightning looks whether to end
    monkeypatch.setattr(WeakLabelModule, "on_train_batch_end", after_the_step)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "interrupted"
    assert state_of(tmp_path)["module"]["n_steps_done"] == 6
    monkeypatch.undo()
    run(tmp_path, resume=True)
    assert_same_state(state_of(tmp_path), whole)


def _killed():
    raise MemoryError("killed")


def _pressed_twice():
    ctrl_c()
    ctrl_c()


@pytest.mark.parametrize(
    ("action", "error"), [(_killed, MemoryError), (_pressed_twice, KeyboardInterrupt)], ids=["killed", "Ctrl-C twice"]
)
@pytest.mark.parametrize("step", [1, 9])
def test_a_killed_run_goes_on_from_its_last_epoch(tmp_path, monkeypatch, action, error, step, whole):
    at_step(monkeypatch, step, action)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(error) as caught:
        run(tmp_path / "killed")
    assert not isinstance(caught.value, TrainingInterrupted) and signal.getsignal(signal.SIGINT) is handler
    state = state_of(tmp_path / "killed")
    assert (state is None) if step == 1 else (state["module"]["n_steps_done"] == 8)
    record = record_of(tmp_path / "killed")
    assert record["status"] == "failed" and record["error"] == f"{type(caught.value).__name__}: {caught.value}"
    run(tmp_path / "killed", resume=True)
    record = record_of(tmp_path / "killed")
    assert record["status"] == "finished" and "error" not in record
    assert_same_state(whole, state_of(tmp_path / "killed"))


def test_a_run_of_a_version_with_fewer_settings_resumes(tmp_path):
    result = run(tmp_path)
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    del record["config"]["shortest_crop"]
    path.write_text(json.dumps(record))
    assert run(tmp_path, resume=True).history == result.history


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_a_run_is_one_process_s_at_a_time(tmp_path, monkeypatch):
    while_reading(monkeypatch, _killed)
    with pytest.raises(MemoryError):
        run(tmp_path / "run")
    (tmp_path / "run" / ".resume-0123456789ab.ckpt").write_bytes(b"what the killed process was writing")
    hold = (
        "import sys; from earmark.training.folder import RunFolder as F\nwith F(sys.argv[1]).alone(): print(); input()"
    )
    words = [sys.executable, "-c", hold, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"\n"
        with pytest.raises(ConfigError, match="another process is at work there; wait for it, or stop it"):
            run(tmp_path / "run", resume=True)
        other.communicate(b"\n")
    monkeypatch.undo()
    assert run(tmp_path / "run", resume=True).history
    assert not list((tmp_path / "run").glob(".resume-*"))


def test_a_run_does_not_begin_anew_where_its_state_is_gone(tmp_path, monkeypatch):
    at_step(monkeypatch, 10, _killed)
    with pytest.raises(MemoryError):
        run(tmp_path)
    (tmp_path / "resume.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"resume.ckpt: gone, though metrics.csv has 2 epochs of the run; put it"):
        run(tmp_path, resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_where_there_are_no_locks_a_run_goes_on_without(tmp_path, monkeypatch):
    import fcntl

    def missing(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", missing)
    assert run(tmp_path).history


@dataclass(frozen=True)
class _Fatal:
    """A sound that kills the process that reads it, as want of memory does."""

    def load(self, sample_rate: int) -> Audio:
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return Tone(("low",), 0).load(sample_rate)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_reader_is_told_in_a_line(tmp_path):
    data = Dataset("fatal", LABELS, (Clip("fatal", ("low",), _Fatal()), *tones(n_clips=7)))
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        run(tmp_path, replace(SMALL, cache="none", n_workers=1, balanced=False), data)
    assert record_of(tmp_path)["status"] == "failed"


def handing_over(*batches, error):
    """What a loader does whose worker dies after these batches."""
    yield from batches
    raise error


@pytest.mark.parametrize(
    "error",
    [
        EOFError(),
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionRefusedError(111, "Connection refused"),
        BrokenPipeError(32, "Broken pipe"),
        OSError("got end of file during message"),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        RuntimeError("Pin memory thread exited unexpectedly"),
    ],
    ids=repr,
)
def test_a_worker_killed_while_it_hands_over_a_batch_is_reported_in_a_line(error):
    handed_over = batches_of_workers(handing_over("batch", error=error))
    assert next(handed_over) == "batch"
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        next(handed_over)


@pytest.mark.parametrize(
    "error",
    [
        EOFError("Caught EOFError in DataLoader worker process 0.\nOriginal Traceback ..."),
        OSError(28, "No space left on device"),
        RuntimeError("CUDA error"),
        EarmarkError("damaged"),
    ],
    ids=repr,
)
def test_other_errors_of_a_loader_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised:
        next(batches_of_workers(handing_over(error=error)))
    assert raised.value is error


def test_a_run_whose_worker_is_killed_while_it_hands_over_a_batch_ends_with_a_line(tmp_path, monkeypatch):
    class CutOff(DataLoader):
        def __iter__(self):
            # as the loader's queue says it, which looks at its workers before the killed one counts as dead
            return handing_over(next(super().__iter__()), error=EOFError())

    monkeypatch.setattr("earmark.training.batches.DataLoader", CutOff)
    with pytest.raises(EarmarkError, match=r"a process that reads clips was killed; .* fewer --n-workers"):
        run(tmp_path, replace(SMALL, cache="none", n_workers=1))
    assert record_of(tmp_path)["status"] == "failed"


def test_an_end_of_file_in_the_data_themselves_is_no_killed_worker():
    class Cut(LogMels):
        def __getitem__(self, clip):
            raise EOFError("of the data")

    batches = ValidBatches(Cut([np.zeros(1)]), Targets([("low",)], LABELS), ["a"], 1)
    with pytest.raises(EOFError, match="of the data"):
        next(iter(Loader(batches, range(1), n_workers=0)))


def test_a_finished_run_resumes_to_its_result(tmp_path, monkeypatch):
    result = run(tmp_path)
    monkeypatch.setattr(Journal, "on_train_start", lambda *_: pytest.fail("it trained"))
    assert run(tmp_path, resume=True) == result
    record = record_of(tmp_path)
    before = {**record, "status": "running", "error": "killed before it could say that it was done"}
    (tmp_path / "run.json").write_text(json.dumps({name: before[name] for name in before if name != "result"}))
    assert run(tmp_path, resume=True) == result
    assert record_of(tmp_path) == record


def test_ctrl_c_in_the_last_step_does_not_promise_more(tmp_path, monkeypatch, whole):
    at_step(monkeypatch, 11, ctrl_c)
    with pytest.raises(TrainingInterrupted) as caught:
        run(tmp_path)
    assert "had just finished" in str(caught.value) and "--resume" not in str(caught.value)
    assert record_of(tmp_path)["status"] == "finished"
    assert_same_state(whole, state_of(tmp_path))


# --- the folder is one run's ------------------------------------------------------------------------------------------


def while_reading(monkeypatch, action):
    """Calls `action` when the clips are to be read, once."""
    original, done = log_mels, []

    def patched(*words):
        if not done:
            done.append(True)
            action()
        return original(*words)

    monkeypatch.setattr("earmark.training.features.log_mels", patched)


def test_a_run_takes_its_folder_before_it_reads_the_clips(tmp_path, monkeypatch):
    seen = []

    def another():
        seen.append(record_of(tmp_path))
        with pytest.raises(ConfigError, match=r"there is a run already \(run.json\)"):
            run(tmp_path)
        monkeypatch.setattr(RunFolder, "check_new", lambda self: None)
        with pytest.raises(ConfigError, match=r"there is a run already \(run.json\)"):
            run(tmp_path)

    while_reading(monkeypatch, another)
    run(tmp_path, TWO_EPOCHS)
    assert seen[0]["status"] == "preparing" and seen[0]["run_id"] == record_of(tmp_path)["run_id"]
    assert state_of(tmp_path)["run_id"] == seen[0]["run_id"]


def test_ctrl_c_while_the_clips_are_read(tmp_path, monkeypatch, whole):
    while_reading(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="stopped before the first step: --resume starts"):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "interrupted" and state_of(tmp_path) is None
    run(tmp_path, resume=True)
    assert_same_state(whole, state_of(tmp_path))


def test_a_run_killed_while_the_clips_are_read_starts_from_its_beginning(tmp_path, monkeypatch, whole):
    kept = []
    while_reading(monkeypatch, lambda: kept.append((tmp_path / "run.json").read_bytes()) or _killed())
    with pytest.raises(MemoryError):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "failed"
    (tmp_path / "run.json").write_bytes(kept[0])  # as SIGKILL leaves it
    run(tmp_path, resume=True)
    assert_same_state(whole, state_of(tmp_path))


def test_clips_that_cannot_be_read_leave_the_folder_free(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(DataError, match="cannot be read"):
        run(out, TWO_EPOCHS, with_broken(tones(), 1))
    assert not out.exists()
    run(out, TWO_EPOCHS)


@pytest.mark.parametrize("name", ["resume.ckpt", "last.safetensors", "best.safetensors", "metrics.csv"])
def test_a_folder_with_leftovers_of_a_run_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"there are files of a run \({name}\) without its run.json"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_of_other_files_is_refused(tmp_path):
    for name in ("thesis.doc", ".DS_Store"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.doc\); give a new or empty folder"):
        run(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [".DS_Store", "thesis.doc"]
    (tmp_path / "thesis.doc").unlink()
    RunFolder(tmp_path).check_new()  # what the system puts there is no work of anyone's


def test_of_equal_epochs_the_latest_is_the_best(tmp_path, monkeypatch):
    figures = iter([(0.5, 0.5, 0.0), (0.9, 0.6, 0.1), (0.9, 0.7, 0.2)])
    monkeypatch.setattr(Journal, "_validate", lambda self: next(figures))
    result = run(tmp_path, valid=tones("valid", first=100))
    assert [row.valid_mAP for row in result.history] == [0.5, 0.9, 0.9]
    assert result.best_epoch.epoch == record_of(tmp_path)["result"]["best"]["epoch"] == 3
    assert Network.load(result.best).extra["clips_seen"] == result.best_epoch.clips_seen
    first, better, equal = result.history
    assert best_epoch([first, better]) is better and best_epoch([better, first]) is better
    assert best_epoch([replace(row, valid_mAP=None) for row in (equal, first)]).epoch == first.epoch


@pytest.mark.parametrize(("limit", "told"), [(0.0, 1), (1800.0, 0)])
def test_a_run_of_hours_on_the_cpu_is_told_once(tmp_path, monkeypatch, limit, told):
    monkeypatch.setattr(machine, "_LONG", limit)
    monkeypatch.setattr(journal, "_STEPS_TO_JUDGE", (1, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        run(tmp_path, replace(SMALL, n_clips_seen=24))
    texts = [str(one.message) for one in caught if issubclass(one.category, EarmarkWarning)]
    assert len(texts) == told
    assert all(text.endswith("min to go on the CPU; faster is n_clips_seen below 24, or a GPU") for text in texts)


def test_a_long_run_is_told_of_on_the_cpu_alone():
    assert long_run(torch.device("cuda"), 1e6, SMALL) is None
    assert long_run(torch.device("cpu"), 1799.0, SMALL) is None
    told = "about 31 min to go on the CPU; faster is n_clips_seen below 48, or a GPU"
    assert long_run(torch.device("cpu"), 31 * 60.0, SMALL) == told


def test_a_state_of_another_run_is_refused(tmp_path):
    for name in ("one", "other"):
        run(tmp_path / name, TWO_EPOCHS)
    (tmp_path / "one" / "resume.ckpt").write_bytes((tmp_path / "other" / "resume.ckpt").read_bytes())
    with pytest.raises(CheckpointError, match=r"resume.ckpt: of another run \(\w{16}\) than run.json"):
        run(tmp_path / "one", TWO_EPOCHS, resume=True)


def _in_another_order(data):
    return replace(data, clips=data.clips[::-1])


def _of_other_sounds(data):
    return replace(data, clips=(replace(data[0], audio=replace(data[0].audio, seconds=0.7)), *data.clips[1:]))


def _with_labels_in_another_order(data):
    return replace(data, labels=LabelSet(LABELS.names[::-1]))


@pytest.mark.parametrize("change", [_in_another_order, _of_other_sounds, _with_labels_in_another_order])
def test_the_same_ids_and_labels_are_not_enough_to_resume(tmp_path, monkeypatch, change):
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path)
    changed = change(tones())
    assert changed.fingerprint() == tones().fingerprint()
    with pytest.raises(DataError, match="the train clips as they were when it started; their order"):
        run(tmp_path, data=changed, resume=True)


def test_other_unreadable_clips_than_at_the_start_are_refused(tmp_path, monkeypatch):
    config = replace(SMALL, skip_bad=True)
    data = with_broken(tones(), 1)
    at_step(monkeypatch, 1, ctrl_c)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, config, data)
    monkeypatch.setattr(Broken, "load", lambda self, sample_rate: Tone(("low",), 7).load(sample_rate))
    with pytest.raises(DataError, match=r"1 cannot be read now or could not then: broken-0 \(then\);"):
        run(tmp_path, config, data, resume=True)
    monkeypatch.undo()
    run(tmp_path, config, data, resume=True)


def test_files_may_move_as_a_whole_between_start_and_resumption(tmp_path, monkeypatch):
    def files(folder, **values):
        clips = (Clip(n, ("low",), FileAudio(Path(folder, n, "x.wav"), **values)) for n in ("a", "b"))
        return exact_sha256(Dataset("files", LABELS, tuple(clips)))

    monkeypatch.chdir(tmp_path)
    assert files("here") == files(tmp_path / "here") == files("/elsewhere/there")
    assert len({files("here"), files("here", onset=1.0), files("here", duration=1.0)}) == 3


def test_a_reader_without_a_text_of_its_own():
    class Plain:
        def load(self, sample_rate: int) -> Audio:
            return Tone(("low",), 1).load(sample_rate)

    one, other = (Dataset("plain", LABELS, (Clip("a", ("low",), Plain()),)) for _ in range(2))
    assert repr(one[0].audio) != repr(other[0].audio) and exact_sha256(one) == exact_sha256(other)


def test_what_cannot_be_resumed_or_started(tmp_path):
    with pytest.raises(ConfigError, match=r"no run to resume there .* without --resume"):
        run(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    out = tmp_path / "run"
    run(out)
    with pytest.raises(ConfigError, match=r"there is a run already \(run.json.*--resume"):
        run(out)
    with pytest.raises(ConfigError, match=r"these differ: learning_rate 0.001 -> 0.01, seed 3 -> 4;"):
        run(out, replace(SMALL, seed=4, learning_rate=0.01, n_workers=1), resume=True)
    with pytest.raises(DataError, match=r"the train clips differ \(16 clips of tones -> 17 clips of tones\)"):
        run(out, data=tones(n_clips=17), resume=True)
    with pytest.raises(DataError, match=r"the valid clips differ \(none -> 3 clips of other\)"):
        run(out, valid=tones("other", 3, first=50), resume=True)
    (out / "resume.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(Exception, match=r"resume.ckpt: damaged or cut off, not readable; start another run"):
        run(out, resume=True)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="a folder for the run was expected"):
        run(file)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_labels_without_clips_are_passed_over_and_named(tmp_path):
    labels = LabelSet((*TONES, "silence", "thunder"))
    with pytest.warns(EarmarkWarning, match=r"tones: 2 of 5 labels have no training clip .*: silence, thunder"):
        run(tmp_path, replace(SMALL, n_clips_seen=4), replace(tones(), labels=labels))
    assert record_of(tmp_path)["data"]["train"]["labels_without_clips"] == ["silence", "thunder"]


def test_data_that_nothing_can_be_learned_from(tmp_path):
    bare = tuple(replace(clip, labels=()) for clip in tones())
    with pytest.raises(DataError, match="none of the 16 training clips has a label"):
        run(tmp_path, replace(SMALL, allow_unlabelled=True), replace(tones(), clips=bare))
    some = replace(tones(), clips=(*bare[:4], *tones().clips[4:]))
    with pytest.raises(DataError, match=r"4 of 16 training clips have no label: tones-0, tones-1, tones-2, ...;"):
        run(tmp_path, data=some)
    with pytest.raises(DataError, match="2 of 3 validation clips have no label"):
        other = tones("other", 3, first=50).clips
        run(
            tmp_path,
            valid=Dataset("other", LABELS, tuple(replace(c, labels=c.labels[: i == 0]) for i, c in enumerate(other))),
        )
    assert not list(tmp_path.iterdir())
    run(tmp_path, replace(SMALL, allow_unlabelled=True, n_clips_seen=8), some)


def test_validation_must_fit_training(tmp_path):
    other = Dataset("other", LabelSet(("low", "noise")), (Clip("a", ("noise",), Tone((), 1)),))
    with pytest.raises(DataError, match=r"1 labels of the validation clips are not among the 3 .*: noise;"):
        run(tmp_path, valid=other)
    with pytest.raises(DataError, match="4 sources are in both"):
        run(tmp_path, valid=replace(tones(n_clips=4), name="again"))


def test_validation_labels_are_matched_by_name(tmp_path):
    clips = tuple(Clip(f"o{i}", (label,), Tone((label,), 70 + i)) for i, label in enumerate(["high", "low", "high"]))
    swapped = Dataset("swapped", LabelSet(("high", "low")), clips)
    ordered = Dataset("swapped", LABELS, clips)
    histories = [
        run(tmp_path / name, replace(SMALL, n_clips_seen=16), valid=valid).history
        for name, valid in (("swapped", swapped), ("ordered", ordered))
    ]
    assert histories[0][0].valid_mAP == histories[1][0].valid_mAP


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_clips_that_cannot_be_read(tmp_path, cache):
    config = replace(SMALL, cache=cache, balanced=False, n_clips_seen=32)
    data = with_broken(tones(n_clips=6), 2)
    with pytest.raises(DataError, match=r"clips cannot be read: broken-\d \(broken.wav: damaged\).* skip_bad"):
        run(tmp_path / "strict", config, data)
    valid = with_broken(tones("other", 4, first=50), 2)
    valid = replace(valid, clips=tuple(replace(clip, id=f"v-{clip.id}") for clip in valid))
    result = run(tmp_path / "lenient", replace(config, skip_bad=True), data, valid)
    record = json.loads((tmp_path / "lenient" / "run.json").read_text())
    assert {entry["id"] for entry in record["skipped"]} == {"broken-0", "broken-1", "v-broken-0", "v-broken-1"}
    assert record["skipped"][0]["error"] == "broken.wav: damaged"
    assert result.history[-1].clips_seen == 32


def test_clips_that_were_left_out_are_told(tmp_path):
    data = with_broken(tones(), 2)
    with pytest.warns(
        EarmarkWarning, match=r"2 clips could not be read and were left out: broken-0, broken-1; run.json"
    ):
        run(tmp_path, replace(SMALL, skip_bad=True, n_clips_seen=32, balanced=False), data)


def test_data_of_which_nothing_can_be_read(tmp_path):
    data = Dataset("broken", LABELS, tuple(Clip(str(i), ("low",), Broken()) for i in range(5)))
    for cache in ("log_mel", "none"):
        with pytest.raises(DataError, match="clips cannot be read"):
            run(tmp_path / cache, replace(SMALL, skip_bad=True, cache=cache), data)


def test_a_loss_that_is_no_number_names_its_clips_and_overwrites_nothing(tmp_path, monkeypatch):
    original = WeakLabelModule.log_mel
    kept = {}

    def spoiled(self, batch):
        log_mel, n_frames = original(self, batch)
        if batch.step == 6:
            kept.update({p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}, ids=batch.ids)
            log_mel = log_mel * float("nan")
        return log_mel, n_frames

    monkeypatch.setattr(WeakLabelModule, "log_mel", spoiled)
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
            WeakLabelModule, "_average", lambda self: self.averaged.backbone.bn0.running_mean.fill_(float("inf"))
        )

    at_step(monkeypatch, 7, spoil)
    with pytest.raises(Exception, match=r"weights backbone.bn0.running_mean are no longer finite numbers after step 8"):
        run(tmp_path)
    assert state_of(tmp_path)["module"]["n_steps_done"] == 4


def test_the_blocks_are_compiled_on_request(tmp_path, monkeypatch, usual):
    """Not really here: the checks of shapes that the tests add are none that the compiler can look through."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    run(tmp_path, replace(TWO_EPOCHS, cache="log_mel", compiled=True))
    assert [type(module).__name__ for module in compiled] == ["ConvBlock"] * 4
    assert_same_state(state_of(tmp_path)["module"]["averaged"], usual["log_mel"])


def test_a_device_that_is_not_there():
    with pytest.raises(ConfigError, match="device: cuda:99 was asked for, PyTorch sees"):
        chosen_device(replace(SMALL, device="cuda:99"))


@pytest.mark.parametrize(
    ("platform", "libc", "n_calls"),
    [("linux", "glibc", 2), ("linux", "", 0), ("darwin", "", 0), ("win32", "", 0)],
)
def test_big_buffers_are_kept_where_there_is_glibc(monkeypatch, platform, libc, n_calls):
    calls = []
    library = SimpleNamespace(mallopt=lambda option, value: calls.append((option, value)))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.libc_ver", lambda: (libc, ""))
    monkeypatch.setattr("ctypes.CDLL", lambda *_: library)
    keep_big_buffers()
    assert len(calls) == n_calls


def test_training_without_lightning(tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.training.run.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'earmark\[train\]'"):
        run(tmp_path)


def test_the_cache_is_chosen_by_size(tmp_path):
    for gib, choice in ((4.0, "log_mel"), (1e-6, "none")):
        out = tmp_path / choice
        run(out, replace(SMALL, n_clips_seen=4, cache_gib=gib))
        assert json.loads((out / "run.json").read_text())["resolved"]["cache"] == choice


def _forbidden(*_):
    raise RuntimeError("log-mels were computed although they are kept")


def in_files(data: Dataset, folder: Path) -> Dataset:
    """The same clips as files."""
    clips = []
    for clip in data:
        path = folder / f"{clip.id}.flac"
        save_audio(path, clip.load(16000))
        clips.append(replace(clip, audio=FileAudio(path)))
    return replace(data, clips=tuple(clips))


def test_kept_log_mels_are_not_computed_again_and_change_nothing(tmp_path, monkeypatch):
    store, data = tmp_path / "features", in_files(tones(), tmp_path / "audio")
    run(tmp_path / "without", data=data)
    run(tmp_path / "first", data=data, features=store)
    monkeypatch.setattr("earmark.training.features.log_mels", _forbidden)
    run(tmp_path / "second", data=data, features=store)
    for name in ("first", "second"):
        assert_same_state(state_of(tmp_path / name), state_of(tmp_path / "without"))
    os.utime(tmp_path / "audio" / "tones-3.flac", (1, 1))
    with pytest.raises(RuntimeError, match="computed"):
        run(tmp_path / "changed", data=data, features=store)


def test_kept_log_mels_have_each_clips_own_length(tmp_path):
    data = replace(tones(), clips=(*tones("long", 2, 1.1).clips, *tones(n_clips=2).clips))
    data = in_files(data, tmp_path / "audio")
    mels = log_mels(data.clips, LogMel(FrontendConfig.at_16k()), 0, lambda n: None)[0]
    store, config = FeatureStore(tmp_path), FrontendConfig.at_16k()
    assert store.find(data, config) is None
    store.keep(data, config, [None, *mels[1:]])
    found = store.find(data, config)
    assert found[0] is None
    assert [np.array_equal(a, b) for a, b in zip(found[1:], mels[1:], strict=True)] == [True] * 3
    assert store.find(data, FrontendConfig()) is None
    (values,) = tmp_path.glob("*.npy")
    values.write_bytes(values.read_bytes()[:-4])
    with pytest.raises(DataError, match="damaged; delete it and run again"):
        store.find(data, config)


def test_log_mels_of_sounds_that_are_no_files_are_not_kept(tmp_path):
    # nothing tells these two apart
    data, store, config = tones(), FeatureStore(tmp_path), FrontendConfig.at_16k()
    store.keep(data, config, log_mels(data.clips, LogMel(config), 0, lambda n: None)[0])
    assert store.find(data, config) is None
