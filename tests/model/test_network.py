import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError
from earmark.labels import LabelSet
from earmark.model.backbones import BACKBONES
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.model.pooling import POOLINGS
from tests.networks import multiplications

LABELS = LabelSet(("dog", "rain", "siren"))
SMALL = NetworkConfig(frontend=FrontendConfig.at_16k(), width=2, n_heads=2)


def network(**changes) -> Network:
    torch.manual_seed(0)
    if changes.get("backbone") == "wavegram":  # its first layers halve the waveform down to 320 samples a frame
        changes = {"frontend": replace(SMALL.frontend, hop_length=320), **changes}
    net = Network(NetworkConfig(**{**SMALL.__dict__, **changes}), LABELS)
    # one step of statistics, so that batch norm in evaluation is not the identity
    net.train()(torch.randn(8, 16000))
    return net.eval()


def test_gmap_for_audioset_has_the_papers_parameters():
    assert Network(NetworkConfig(), LabelSet.audioset()).n_parameters == 6_531_535


def test_panns_pooling_has_the_published_parameters():
    assert Network(NetworkConfig(pooling="max_mean"), LabelSet.audioset()).n_parameters == 5_219_279


def test_the_light_backbone_makes_gmap_a_third_of_the_size():
    assert Network(NetworkConfig(backbone="light"), LabelSet.audioset()).n_parameters == 2_383_119


def test_the_light_backbone_has_a_tenth_of_the_multiplications():
    counts = [multiplications(NetworkConfig(backbone=each)) for each in ("cnn", "light")]
    assert f"{counts[0]:.2e}" == "5.21e+09"
    assert counts[1] / counts[0] == pytest.approx(0.10, abs=0.005)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_waveform_through_the_four_stages(pooling):
    net = network(pooling=pooling)
    waveform = torch.randn(2, 32000)
    log_mel = net.frontend(waveform)
    segments = net.backbone(log_mel)
    if net.pooling.level == "instance":
        clip = logits = net.pooling(net.classifier(segments))
    else:
        clip = net.pooling(segments)
        logits = net.classifier(clip)
    assert log_mel.shape == (2, 80, 64)
    assert segments.shape == (2, 5, 16)
    assert clip.shape == (2, net.pooling.n_features)
    torch.testing.assert_close(net(waveform), logits)
    torch.testing.assert_close(net.classify(net.encode(waveform)), logits)
    torch.testing.assert_close(net.pool(segments), clip)
    torch.testing.assert_close(net.logits_from_log_mel(log_mel), logits)
    assert net.seconds_per_segment == pytest.approx(0.4)


KINDS = [*((backbone, "gmap") for backbone in BACKBONES), *(("cnn", name) for name in POOLINGS if name != "gmap")]
LENGTHS = [[1], [16000, 100, 9999], [6400, 6401, 12799, 160000]]


@pytest.mark.parametrize(
    ("backbone", "pooling", "lengths"),
    [(*kind, lengths) for kind in KINDS for lengths in (LENGTHS if kind[1] == "gmap" else LENGTHS[1:2])],
)
def test_a_clips_result_does_not_depend_on_its_batch(backbone, pooling, lengths):
    net = network(backbone=backbone, pooling=pooling)
    generator = torch.Generator().manual_seed(len(lengths))
    clips = [torch.randn(n, generator=generator) for n in lengths]
    batch = torch.randn(len(clips), max(lengths), generator=generator)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    with torch.inference_mode():
        together = net(batch, torch.tensor(lengths))
        for row, clip in zip(together, clips, strict=True):
            torch.testing.assert_close(row, net(clip[None])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("backbone", "pooling"), KINDS)
def test_a_checkpoint_describes_itself(backbone, pooling, tmp_path):
    net = network(backbone=backbone, pooling=pooling)
    net.thresholds = (0.25, 0.5, 0.75)
    net.save(tmp_path / "a.safetensors", {"seed": 7})
    again = Network.load(tmp_path / "a.safetensors")
    assert (again.config, again.labels, again.thresholds, again.extra) == (
        net.config,
        LABELS,
        net.thresholds,
        {"seed": 7},
    )
    assert not again.training
    waveform = torch.randn(1, 20000)
    assert torch.equal(net(waveform), again(waveform))
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    "content, text",
    [
        (None, "no such file"),
        (b"", "not a readable .safetensors file"),
        (b"PK\x03\x04 this is a pickle", "not a readable .safetensors file"),
        ("no metadata", "has no description"),
        ({"format": 2}, "checkpoint format 2, this version of earmark reads up to 1"),
        ({"format": 1}, "do not match its description"),
        (
            {"format": 1, "network": {"wodth": 2}, "labels": {"names": ["a"], "ids": ["a"]}},
            "NetworkConfig has no wodth",
        ),
        (
            {"format": 1, "network": {"width": 1}, "labels": {"names": ["a"], "ids": ["a"]}},
            "do not match its description",
        ),
    ],
)
def test_a_bad_checkpoint_is_reported_in_one_line(tmp_path, content, text):
    path = tmp_path / "bad.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        about = None if isinstance(content, str) else {"earmark": json.dumps(content)}
        save_file({"x": torch.zeros(1)}, path, metadata=about)
    with pytest.raises(CheckpointError, match=text) as caught:
        Network.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_checkpoint_without_a_backbone_name_loads(tmp_path):
    path = tmp_path / "a.safetensors"
    net = network()
    net.save(path)
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["earmark"])
    del about["network"]["backbone"]
    save_file(load_file(path), path, metadata={"earmark": json.dumps(about)})
    again = Network.load(path)
    assert again.config == net.config and type(again.backbone) is BACKBONES["cnn"]


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    network().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a readable"):
        Network.load(path)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    network().save(path)
    before = path.read_bytes()

    def full(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        network().save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_checkpoint_holds_tensors_only(tmp_path):
    network().save(tmp_path / "a.safetensors")
    assert set(load_file(tmp_path / "a.safetensors")) == set(network().state_dict())


@pytest.mark.parametrize(
    "values, text",
    [
        ({"backbone": "resnet"}, "backbone: one of cnn, light, mn, .* was expected, not 'resnet'"),
        ({"pooling": "median"}, "one of max, mean, max_mean, .*, hierarchical was expected, not 'median'"),
        ({"n_heads": 3, "width": 2}, "a divisor of the 16 channels"),
        ({"dropout": 1.0}, "dropout: at least 0 and below 1"),
        ({"width": 0}, "width: at least 1 was expected, not 0"),
        (
            {"backbone": "light", "partial_segments": False},
            "partial_segments: true was expected for the backbone 'light'",
        ),
    ],
)
def test_invalid_settings_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        NetworkConfig(**values)


def test_config_survives_json():
    config = NetworkConfig(frontend=FrontendConfig.at_16k(), width=8, gate=False)
    assert NetworkConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ConfigError, match="FrontendConfig has no hop"):
        NetworkConfig.from_json({"frontend": {"hop": 3}})


# tests/training/test_waveforms.py trains the backbones that take the waveform too
@pytest.mark.parametrize("backbone", [name for name, kind in BACKBONES.items() if not kind.takes_waveform])
def test_a_network_overfits_a_few_sounds(backbone):
    clips = synthetic_bank(2).select(splits=("train",)).clips
    labels = LabelSet(tuple(sorted({label for clip in clips for label in clip.labels})))
    torch.manual_seed(0)
    width = 40 if backbone == "mn" else 4
    config = NetworkConfig(FrontendConfig.at_16k(), backbone, width=width, block_dropout=0.0, dropout=0.0)
    net = Network(config, labels).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # slower statistics would lag behind so few steps
    sounds = [torch.from_numpy(clip.load(16000).waveform) for clip in clips]
    n_samples = torch.tensor([len(sound) // 2 for sound in sounds])
    waveform = torch.zeros(len(clips), int(n_samples.max()))
    for row, sound, n in zip(waveform, sounds, n_samples, strict=True):
        row[:n] = sound[:n]
    log_mel, n_frames = net.frontend(waveform, n_samples), net.frontend.n_frames(n_samples)
    target = torch.tensor([[float(label in clip.labels) for label in labels] for clip in clips])
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)

    def learned() -> bool:
        for _ in range(10):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(net.train().logits_from_log_mel(log_mel, n_frames), target).backward()
            optimizer.step()
        with torch.inference_mode():
            scores = net.eval()(waveform, n_samples).sigmoid()
        return bool(((scores > 0.5) == (target > 0.5)).all())

    assert any(learned() for _ in range(8))


def test_attention_is_none_where_the_pooling_has_none():
    assert network(pooling="mean").pooling.attention(torch.zeros(1, 4, 16)) is None
    assert network(pooling="attention").pooling.attention(torch.zeros(1, 4, 16)).shape == (1, 1, 4)


def test_mixed_precision_pools_in_single():
    net, seen = network(), []
    net.pooling.register_forward_hook(lambda module, inputs, clip: seen.append(clip.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net.encode(torch.randn(1, 16000)).dtype == torch.bfloat16
        assert net(torch.randn(1, 16000)).dtype == torch.float32
    assert seen == [torch.float32]
