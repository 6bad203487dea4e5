"""One process among those of a run."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from earmark.audio.recording import Audio
from earmark.data.clips import Clip
from earmark.data.targets import Targets
from earmark.errors import ConfigError
from earmark.labels import LabelSet
from earmark.training import TrainConfig
from earmark.training.batches import TrainBatches, ValidBatches, Waveforms, load_batches
from earmark.training.plan import Plan
from earmark.training.ranks import ALONE, Rank
from tests.training.tones import Broken

CONFIG = TrainConfig(batch_size=8, device="cpu")


def test_the_environment_names_the_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Rank.from_environment() == ALONE
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match="LOCAL_RANK and MASTER_ADDR and MASTER_PORT must be too"):
        Rank.from_environment()
    for name, value in (("LOCAL_RANK", "1"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Rank.from_environment() == Rank(3, 4, 1, 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="cannot be"):
        Rank.from_environment()
    monkeypatch.setenv("LOCAL_RANK", "one")
    with pytest.raises(ConfigError, match="whole numbers were expected"):
        Rank.from_environment()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"devices": 3}, "batch_size: a multiple of the 3 devices was expected, not 8"),
        ({"devices": 2, "num_nodes": 3}, "a multiple of the 6 devices"),
        ({"devices": 0}, "devices: at least 1 was expected"),
        ({"devices": 2, "device": "mps"}, "device: cpu or cuda was expected for 2 processes, not mps"),
        ({"devices": 2, "device": "cuda:1"}, "device: cpu or cuda was expected for 2 processes, not cuda:1"),
    ],
)
def test_impossible_devices_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        TrainConfig(batch_size=8, **{"device": "cpu", **settings})


def test_processes_with_other_settings_or_clips_are_refused(monkeypatch):
    facts = {"settings": {"learning_rate": 0.001}, "clips": "0f"}
    monkeypatch.setattr(Rank, "gather", lambda self, value: [facts, value])
    Rank(1, 2, 1, 2).check_same(**facts)
    text = "process 1 of the run has other settings than process 0; all of them must be started with the same settings"
    with pytest.raises(ConfigError, match=text):
        Rank(1, 2, 1, 2).check_same(**{**facts, "settings": {"learning_rate": 0.1}})
    with pytest.raises(ConfigError, match="has other settings and clips than"):
        Rank(1, 2, 1, 2).check_same(settings={}, clips="")


@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("order", ["clips", "blocks", "balanced"])
def test_no_clip_is_lost_or_doubled(n_ranks, n_workers, order):
    labels = LabelSet(("a", "b"))
    ids = [str(number) for number in range(22)]
    features = [np.full((3, 1), number, np.float32) for number in range(22)]
    targets = Targets([("a",) if number % 3 else ("a", "b") for number in range(22)], labels)
    plan = Plan(n_steps=11, steps_per_epoch=11, batch_size=4, n_warmup_steps=0)
    shown, alone, valid = [], [], []
    for number in range(n_ranks):
        batches = TrainBatches(features, targets, ids, plan, order, 3, 0, Rank(number, n_ranks, number, n_ranks))
        # a run that was stopped after 3 steps and is resumed
        for steps in (range(3), range(3, plan.n_steps)):
            for batch in load_batches(batches, steps, n_workers, pin_memory=False):
                assert len(batch.ids) == 4 // n_ranks
                assert batch.features[:, 0, 0].tolist() == [float(name) for name in batch.ids]
                shown += [(batch.step, name) for name in batch.ids]
        own = ValidBatches(features, targets, ids, 4)
        valid += [n for b in load_batches(own, range(number, len(own), n_ranks), n_workers, False) for n in b.ids]
    for step in range(plan.n_steps):
        batch = TrainBatches(features, targets, ids, plan, order, 3, 0)[step]
        alone += [(step, name) for name in batch.ids]
    assert sorted(shown) == sorted(alone), "the steps have the clips that one process gives them"
    if order != "balanced":
        counts = np.bincount([int(name) for _, name in shown], minlength=22)
        assert counts.tolist() == [2] * 22, "44 clips shown are two passes over 22"
    assert sorted(valid) == sorted(ids)


@dataclass(frozen=True)
class _Ramp:
    """A sound whose samples name the clip and their place."""

    number: int

    def load(self, sample_rate: int) -> Audio:
        return Audio(np.arange(100 * self.number, 100 * self.number + 50, dtype=np.float32), sample_rate)


def test_an_unreadable_clip_does_not_change_the_crops_of_the_others():
    ids = [str(number) for number in range(8)]
    whole = Waveforms([Clip(id_, ("a",), _Ramp(int(id_))) for id_ in ids], 16000)
    spoilt = Waveforms([replace(c, audio=Broken()) if c.id in ("0", "5") else c for c in whole.clips], 16000)
    targets = Targets([("a",)] * 8, LabelSet(("a",)))

    def crops(features: Waveforms, rank: Rank = ALONE) -> dict[tuple[int, str], float]:
        plan = Plan(n_steps=4, steps_per_epoch=4, batch_size=4, n_warmup_steps=0)
        batches = TrainBatches(features, targets, ids, plan, "clips", 5, 0, rank)
        of_steps = (batches[step] for step in range(plan.n_steps))
        return {(b.step, id_): float(x[0]) for b in of_steps for id_, x in zip(b.ids, b.features, strict=True)}

    expected = {key: start for key, start in crops(whole).items() if key[1] not in ("0", "5")}
    assert crops(spoilt) == expected
    assert crops(spoilt, Rank(0, 2, 0, 2)) | crops(spoilt, Rank(1, 2, 1, 2)) == expected


def test_clips_are_not_shared_unevenly():
    ALONE.check(CONFIG)
    Rank(1, 4, 1, 4).check(CONFIG)
    with pytest.raises(ConfigError, match="a multiple of the 3 devices was expected, not 8"):
        Rank(0, 3, 0, 3).check(CONFIG)
    with pytest.raises(ConfigError, match="2 were asked for where torchrun has started 4 processes"):
        Rank(0, 4, 0, 4).check(replace(CONFIG, devices=2))
    with pytest.raises(ConfigError, match="device: cpu or cuda was expected for 2 processes"):
        Rank(0, 2, 0, 2).check(replace(CONFIG, device="cuda:1"))


def test_the_plan_is_the_same_on_any_number_of_devices():
    assert Plan.of(CONFIG, 24) == Plan.of(replace(CONFIG, devices=2), 24)
