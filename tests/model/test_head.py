import pytest
import torch

from earmark.errors import CheckpointError, ConfigError
from earmark.labels import LabelSet
from earmark.model.head import Head, HeadConfig
from earmark.model.network import Network, NetworkConfig, load_stages
from earmark.model.pooling import POOLINGS

LABELS = LabelSet(("dog", "rain", "siren"))


def head(**changes) -> Head:
    torch.manual_seed(0)
    return Head(HeadConfig(**{"n_channels": 6, "n_heads": 2, "perceptron_width": 8, **changes}), LABELS).eval()


@pytest.mark.parametrize("n_layers", [0, 2])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_masked_segment_counts_as_removed(pooling, n_layers):
    net = head(pooling=pooling, perceptron_layers=n_layers, perceptron_norm=n_layers > 0)
    segments = torch.randn(2, 5, 6)
    mask = torch.tensor([[True, True, True, False, False], [True] * 5])
    whole = net(segments, mask)
    torch.testing.assert_close(whole[:1], net(segments[:1, :3]))
    torch.testing.assert_close(whole[1:], net(segments[1:]))


def test_padding_does_not_change_batch_norm_in_training():
    one, two = (head(perceptron_layers=1, perceptron_norm=True).train() for _ in range(2))
    segments, padding = torch.randn(3, 4, 6), torch.full((3, 2, 6), 100.0)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 3)
    one.pool(segments), two.pool(torch.cat([segments, padding], 1), mask)
    torch.testing.assert_close(one.perceptron.norms[0].running_mean, two.perceptron.norms[0].running_mean)
    torch.testing.assert_close(one.perceptron.norms[0].running_var, two.perceptron.norms[0].running_var)


def test_a_network_ends_in_a_head():
    torch.manual_seed(0)
    config = NetworkConfig(width=2, n_heads=2, perceptron_layers=2, perceptron_width=8)
    network = Network(config, LABELS).eval()
    alone = Head(config.head_config(network.backbone.n_channels), LABELS).eval()
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if k in alone.state_dict()})
    segments = network.encode(torch.randn(2, 32000))
    torch.testing.assert_close(alone(segments), network.classify(segments))
    torch.testing.assert_close(alone.attention(segments), network.attention(segments))


def test_a_head_survives_its_checkpoint(tmp_path):
    net = head(perceptron_layers=2, perceptron_norm=True)
    net.thresholds = (0.25, 0.5, 0.75)
    net.save(tmp_path / "a.safetensors", {"seed": 7})
    read = load_stages(tmp_path / "a.safetensors")
    assert isinstance(read, Head) and read.config == net.config and read.labels == LABELS
    assert read.thresholds == net.thresholds and read.extra == {"seed": 7} and not read.training
    segments = torch.randn(2, 5, 6)
    assert torch.equal(read(segments), net(segments))


def test_a_head_cannot_score_recordings(tmp_path):
    head().save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="6 channels without the encoder"):
        Network.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "changes, setting",
    [
        ({"n_heads": 3}, "n_heads"),
        ({"pooling": "medium"}, "pooling"),
        ({"perceptron_layers": 1, "n_heads": 3}, "n_heads"),
    ],
)
def test_an_invalid_setting_is_named(changes, setting):
    with pytest.raises(ConfigError) as caught:
        HeadConfig(**{"n_channels": 8, "perceptron_width": 8, **changes})
    assert caught.value.setting == setting
