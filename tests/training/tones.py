"""Tiny trainings on synthetic tones: clips, settings, and access to what a run writes."""

import json
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from earmark.audio.recording import Audio, save_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.targets import Targets
from earmark.errors import AudioError
from earmark.labels import LabelSet
from earmark.training import TrainConfig, train
from earmark.training.batches import TrainBatches
from earmark.training.cache import log_mels
from earmark.training.folder import RunFolder
from earmark.training.plan import Plan

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
TWO_EPOCHS = replace(SMALL, n_clips_seen=16, clips_per_epoch=8)


@dataclass(frozen=True)
class Tone:
    """A synthetic sound."""

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


def in_files(data: Dataset, folder: Path) -> Dataset:
    """The same clips as files."""
    clips = []
    for clip in data:
        path = folder / f"{clip.id}.flac"
        save_audio(path, clip.load(16000))
        clips.append(replace(clip, audio=FileAudio(path)))
    return replace(data, clips=tuple(clips))


def targets_of(data):
    return Targets((clip.labels for clip in data), data.labels)


def batches_of(data, features, crop=16000, order="balanced", seed=0, n_steps=50):
    ids = [clip.id for clip in data]
    return TrainBatches(features, targets_of(data), ids, Plan(n_steps, 7, 4, 0), order, crop, seed)


def run(out, config=SMALL, data=None, valid=None, **options):
    return train(config, data or tones(), out, valid, progress=False, **options)


def state_of(out: Path):
    folder = RunFolder(out)
    folder.read_record()
    return folder.read_state()


def record_of(out: Path):
    return json.loads((out / "run.json").read_text())


def assert_same_state(a, b, path="state"):
    """Checks that the states are equal to the bit, except for clocks and the run's id."""
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
    """Calls `action` once, when the batch of the step is requested."""
    original, done = TrainBatches.__getitem__, []

    def patched(self, number):
        if number == step and not done:
            done.append(number)
            action()
        return original(self, number)

    monkeypatch.setattr(TrainBatches, "__getitem__", patched)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def killed():
    raise MemoryError("killed")


def while_reading(monkeypatch, action):
    """Calls `action` once, before the clips are read."""
    original, done = log_mels, []

    def patched(*words):
        if not done:
            done.append(True)
            action()
        return original(*words)

    monkeypatch.setattr("earmark.training.features.log_mels", patched)
