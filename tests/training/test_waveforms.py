"""Training of the backbones that PANNs have, and of the one that takes the waveform beside the log-mel."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.data.synthetic import synthetic_bank
from earmark.errors import ConfigError
from earmark.labels import LabelSet
from earmark.model.network import Network, NetworkConfig
from earmark.training import TrainConfig, train
from earmark.training.augmentation import mixup
from earmark.training.batches import Batch
from earmark.training.initial import initial_network
from earmark.training.step import WaveformNetwork, as_trained
from tests.hub.panns_references import FRONTEND, WavegramLogmelCnn14

LABELS = LabelSet(("Bark", "rain"), ("/b", "/r"))
SHORT: dict[str, Any] = {
    "n_clips_seen": 8,
    "batch_size": 4,
    "clip_duration": 0.4,
    "width": 2,
    "n_workers": 0,
    "device": "cpu",
    "precision": "float32",
}


@pytest.fixture(scope="module")
def trained() -> WaveformNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(FRONTEND, backbone="wavegram", width=2, partial_segments=False, pooling="max_mean")
    network = as_trained(Network(config, LABELS).eval())
    assert isinstance(network, WaveformNetwork)
    return network


def batch(*lengths: int) -> Batch:
    torch.manual_seed(1)
    waveforms = torch.zeros(len(lengths), max(lengths))
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(length)
    target = torch.eye(2)[torch.arange(len(lengths)) % 2]
    ids = tuple(map(str, range(len(lengths))))
    return Batch(0, ids, waveforms, torch.tensor(lengths), target, are_log_mels=False)


def test_a_batch_is_scored_like_its_clips(trained: WaveformNetwork) -> None:
    clips = batch(40_001, 12_345, 24_000)
    with torch.no_grad():
        together = trained(*trained.features(clips))
        for logits, waveform, n in zip(together, clips.features, clips.lengths, strict=True):
            torch.testing.assert_close(logits, trained.network(waveform[None, :n])[0], rtol=1e-4, atol=1e-4)


def test_mixup_blends_log_mels_and_waveforms_alike(trained: WaveformNetwork) -> None:
    clips = batch(40_000, 12_345)
    features, lengths = trained.features(clips)
    features[1, 60:] = 7.0  # what follows a clip's end must not be blended into another
    log_mel, waveform = features[..., :64], clips.features
    draws = [torch.Generator().manual_seed(0) for _ in range(3)]
    config = TrainConfig(spec_augment=False)
    blended, target, n_samples = trained.augmented(config, features, clips.target, lengths, draws[0])
    expected = mixup(waveform[..., None], clips.target, lengths, 1.0, draws[1])
    assert torch.equal(n_samples, expected[2]) and torch.equal(target, expected[1])
    torch.testing.assert_close(blended[..., 64:].flatten(1)[:, :40_000], expected[0][..., 0])
    torch.testing.assert_close(blended[..., :64], mixup(log_mel, clips.target, lengths, 1.0, draws[2])[0])


def test_spec_augment_hides_parts_of_the_log_mel_alone(trained: WaveformNetwork) -> None:
    clips = batch(40_000, 40_000)
    features, lengths = trained.features(clips)
    generator = torch.Generator().manual_seed(0)
    hidden, _, _ = trained.augmented(TrainConfig(mixup_alpha=0.0), features, clips.target, lengths, generator)
    assert torch.equal(hidden[..., 64:], features[..., 64:])
    assert not torch.equal(hidden[..., :64], features[..., :64])


@pytest.mark.parametrize("backbone", ["wavegram", "resnet38", "mobilenetv2"])
def test_a_backbone_trains_from_random_weights(backbone: str, tmp_path: Path) -> None:
    hop_ms = 10.0 if backbone == "wavegram" else 25.0
    data = synthetic_bank(2)
    config = TrainConfig(backbone=backbone, hop_ms=hop_ms, **SHORT)
    result = train(config, data.select(splits=("train",)), tmp_path / "run", progress=False)
    network = Network.load(result.last)
    assert network.config.backbone == backbone
    start = initial_network(config, network.labels, {}, True, str).state_dict()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, start[name])}
    # a clip of one segment has nothing to weigh
    assert {name for name, _ in network.named_parameters()} <= moved | {"pooling.query"}


@pytest.mark.parametrize(("setting", "value"), [("cache", "log_mel"), ("gain_db", 3.0), ("mix_clips", 0.5)])
def test_settings_that_leave_the_waveform_out_are_refused(setting: str, value: Any, tmp_path: Path) -> None:
    config = TrainConfig(backbone="wavegram", hop_ms=10.0, **SHORT, **{setting: value})
    data = synthetic_bank(2).select(splits=("train",))
    with pytest.raises(
        ConfigError, match=rf"^{setting}: .* was expected, not {value}: the backbone 'wavegram'"
    ) as caught:
        train(config, data, tmp_path / "run", progress=False)
    assert len(str(caught.value).splitlines()) == 1


def test_another_distance_of_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match=re.escape("320 samples apart")) as caught:
        TrainConfig(backbone="wavegram", sample_rate=16000).network_config()
    assert caught.value.remedy == {"hop_ms": 20.0}


def test_another_pooling_starts_from_a_published_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "Wavegram_Logmel_Cnn14_mAP=0.439.pth"
    theirs = WavegramLogmelCnn14(2)
    torch.save(theirs.state_dict(), path)
    told: list[str] = []
    network = initial_network(TrainConfig(init=str(path)), LABELS, {}, True, told.append)
    assert told[0].startswith(f"{path}: backbone and 2 of 2 labels taken over")
    assert network.config.pooling == "gmap"
    weight = network.get_parameter("backbone.wave.first.conv.weight")
    assert torch.equal(weight[..., 0], theirs.pre_conv0.weight)
