"""A run that starts from a checkpoint's weights."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark import hub
from earmark.data.clips import Dataset
from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError
from earmark.hub.panns import FAMILIES, FRONTEND, name_map
from earmark.hub.torch_files import read_network
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.training import TrainConfig, TrainingInterrupted, train
from earmark.training.batches import TrainBatches
from earmark.training.initial import initial_network

LABELS = LabelSet(("Bell", "hiss", "dog_bark", "7"), ("/b", "/h", "/d", "1"))
SMALL = NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2, dropout=0.3)
TINY = TrainConfig(
    n_clips_seen=24, batch_size=4, clip_duration=0.5, n_workers=0, device="cpu", precision="float32", ema_decay=0.5
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network."""
    torch.manual_seed(0)
    network = Network(SMALL, LABELS)
    network.train()(torch.randn(8, 16000))
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def cnn10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow PANNs file."""
    torch.manual_seed(0)
    config = NetworkConfig(FRONTEND, width=2, partial_segments=False, pooling="max_mean")
    network = Network(config, LabelSet.audioset())
    network.train()(torch.randn(8, 16000))
    state = network.state_dict()
    path = tmp_path_factory.mktemp("panns") / "Cnn10.pth"
    torch.save({"model": {theirs: state[ours] for theirs, ours in name_map(FAMILIES[-1]).items()}}, path)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def started(config: TrainConfig, labels: LabelSet = LABELS) -> tuple[Network, dict[str, Any], list[str]]:
    record: dict[str, Any] = {}
    told: list[str] = []
    return initial_network(config, labels, record, True, told.append), record, told


def test_without_a_checkpoint_weights_follow_from_the_seed() -> None:
    (one, record, told), (two, _, _) = (started(TrainConfig(width=2, seed=3)) for _ in range(2))
    assert record == {} and told == []
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_the_same_network_is_taken_over_whole(checkpoint: Path) -> None:
    network, record, told = started(TrainConfig(init=str(checkpoint), n_heads=2, block_dropout=0.1))
    assert network.config == replace(SMALL, block_dropout=0.1, dropout=0.5)
    source = Network.load(checkpoint).state_dict()
    # a number that two sets have as an id says nothing, a name does
    assert all(torch.equal(value, source[name]) for name, value in network.state_dict().items())
    assert told == [
        f"{checkpoint}: backbone, gmap pooling, hidden layer and 4 of 4 labels taken over (16000 Hz, 64 mel bins, "
        "frames of 25 ms, width 2)"
    ]
    entry = record["init"]
    assert (entry["model"], entry["sha256"]) == (str(checkpoint), sha256(checkpoint))
    assert entry["taken"] == ["backbone", "gmap pooling", "hidden layer"] and entry["labels"] == list(LABELS.names)
    assert NetworkConfig.from_json(json.loads(json.dumps(entry["network"]))) == SMALL


def test_labels_are_matched_by_id_or_name(checkpoint: Path) -> None:
    labels = LabelSet(("siren", "glocke", "Dog bark", "eight"), ("/s", "/b", "/x", "1"))
    network, record, told = started(TrainConfig(init=str(checkpoint), n_heads=2), labels)
    assert record["init"]["labels"] == ["glocke", "Dog bark"]
    source, own = Network.load(checkpoint).state_dict(), network.state_dict()
    for name in ("classifier.3.weight", "classifier.3.bias"):
        assert torch.equal(own[name][1:3], source[name][[0, 2]])
    bare, _, _ = started(TrainConfig(init=str(checkpoint), n_heads=2), LabelSet(("a", "b", "c", "d")))
    assert torch.equal(own["classifier.3.weight"][[0, 3]], bare.state_dict()["classifier.3.weight"][[0, 3]])
    assert ", hidden layer and 2 of 4 labels taken over; 2 labels start with random weights (" in told[0]


def test_panns_with_another_pooling(cnn10: Path) -> None:
    labels = LabelSet(("dog", "speech", "rain", "no such sound"))
    network, _, told = started(TrainConfig(init=str(cnn10), n_heads=2, seed=1), labels)
    source = read_network(cnn10)
    assert network.config == replace(source.config, pooling="gmap", n_heads=2)
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(value, network.backbone.state_dict()[name])
    row = source.labels.index("Speech")
    assert torch.equal(network.classifier[3].weight[1], source.classifier[3].weight[row])
    assert told == [
        f"{cnn10}: backbone and 3 of 4 labels taken over; gmap pooling, hidden layer and 1 label start with random "
        "weights (32000 Hz, 64 mel bins, frames of 10 ms, width 2)"
    ]
    kept, record, _ = started(TrainConfig(init=str(cnn10), pooling="max"), labels)
    assert record["init"]["taken"] == ["backbone", "hidden layer"]
    assert torch.equal(kept.classifier[1].weight, source.classifier[1].weight)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"width": 16}, "width: 2 was expected, as in .*, not 16; take that value, .*width=2"),
        ({"backbone": "light"}, "backbone: cnn was expected, as in .*, not light; take that value"),
        ({"n_mels": 128}, "n_mels: 64 was expected, as in"),
        ({"hop_ms": 20.0}, "hop_ms: 10 was expected, as in .*, not 20;"),
        ({"sample_rate": 16000}, "sample_rate: 32000 was expected, as in"),
        ({"n_heads": 3}, "n_heads: a divisor of the 16 channels"),
    ],
)
def test_settings_that_contradict_the_checkpoint(cnn10: Path, values: dict[str, Any], text: str) -> None:
    config = TrainConfig(init=str(cnn10), **values)
    with pytest.raises(ConfigError, match=text):
        started(config)
    with pytest.raises(ConfigError, match=text):
        config.network_config()


def test_settings_that_agree_with_the_checkpoint(cnn10: Path) -> None:
    config = TrainConfig(init=str(cnn10), n_heads=2, width=2, hop_ms=10.0, sample_rate=32000)
    assert config.network_config() == started(config)[0].config


def test_training_does_not_start_from_an_exported_network(exported: Path) -> None:
    with pytest.raises(CheckpointError, match="an exported network only tags"):
        started(TrainConfig(init=str(exported)))


def test_training_starts_from_the_shipped_model_by_name() -> None:
    network, record, _ = started(TrainConfig(init="earmark-esc50", width=32), LabelSet.esc50())
    shipped = Path(hub.__file__).with_name("earmark-esc50.safetensors")
    assert record["init"]["sha256"] == sha256(shipped)
    source = Network.load(shipped).state_dict()
    assert all(torch.equal(value, source[name]) for name, value in network.state_dict().items())


def sounds() -> Dataset:
    return synthetic_bank(n_per_label=4).select(labels=("bell", "hiss"))


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    original = TrainBatches.__getitem__

    def patched(batches: TrainBatches, number: int) -> Any:
        if number == at:
            raise KeyboardInterrupt
        return original(batches, number)

    monkeypatch.setattr(TrainBatches, "__getitem__", patched)


def test_a_run_from_a_checkpoint_resumes_without_the_checkpoint(
    cnn10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "mine.pth"
    own.write_bytes(cnn10.read_bytes())
    config = replace(TINY, init=str(own), n_heads=2, clips_per_epoch=8, learning_rate=1e-9)
    whole = train(config, sounds(), tmp_path / "whole", progress=False)
    assert capfd.readouterr().err == ""
    trained, source = Network.load(whole.last), read_network(cnn10)
    for name, value in source.backbone.named_parameters():
        torch.testing.assert_close(trained.backbone.get_parameter(name), value, rtol=0, atol=1e-6)
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["init"]["sha256"] == sha256(own) and record["init"]["labels"] == ["bell", "hiss"]

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, TrainingInterrupted)):
        interrupt(patch, at=3)
        train(config, sounds(), tmp_path / "halved", progress=False)
    own.unlink()
    halved = train(config, sounds(), tmp_path / "halved", resume=True, progress=False)
    assert halved.last.read_bytes() == whole.last.read_bytes()
    with pytest.raises(ConfigError, match="these differ: init"):
        train(replace(config, init=None), sounds(), tmp_path / "halved", resume=True, progress=False)


def test_a_run_without_saved_weights_starts_from_the_same_file_again(
    cnn10: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "mine.pth"
    own.write_bytes(cnn10.read_bytes())
    config = replace(TINY, init=str(own), n_heads=2)
    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, TrainingInterrupted)):
        interrupt(patch, at=0)
        train(config, sounds(), tmp_path / "run", progress=False)
    (tmp_path / "run" / "resume.ckpt").unlink(missing_ok=True)
    own.write_bytes(cnn10.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match=r"the run was started with another file \(SHA-256 [0-9a-f]{64}\)"):
        train(config, sounds(), tmp_path / "run", resume=True, progress=False)
    own.write_bytes(cnn10.read_bytes())
    resumed = train(config, sounds(), tmp_path / "run", resume=True, progress=False)
    whole = train(config, sounds(), tmp_path / "whole", progress=False)
    assert resumed.last.read_bytes() == whole.last.read_bytes()


def test_a_missing_checkpoint_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such file"):
        train(replace(TINY, init="gone.pth"), sounds(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
