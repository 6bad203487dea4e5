import pytest
import torch
import torch.nn.functional as F

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


def test_kong_2018_is_a_head():
    net = head(perceptron_layers=3, pooling="decision_attention", attention_function="softmax", classifier_layers=1)
    segments = torch.randn(2, 5, 6)
    hidden = net.perceptron(segments)
    scores = F.linear(hidden, net.classifier[1].weight[:3], net.classifier[1].bias[:3]).sigmoid()
    weights = F.linear(hidden, net.classifier[1].weight[3:], net.classifier[1].bias[3:]).softmax(2)
    expected = (weights / weights.sum(1, keepdim=True) * scores).sum(1)
    torch.testing.assert_close(net(segments).sigmoid(), expected)


def test_gemmeke_2017_is_a_head():
    net = head(perceptron_layers=1, pooling="instance_mean", classifier_layers=1)
    segments = torch.randn(2, 5, 6)
    frames = [net.classifier(net.perceptron(segments[:, t : t + 1]))[:, 0].sigmoid() for t in range(5)]
    torch.testing.assert_close(net(segments).sigmoid(), torch.stack(frames).mean(0))


def test_yu_2018_is_a_head():
    net = head(perceptron_layers=3, pooling="multi_level_attention", n_levels=2, classifier_layers=1)
    segments, hidden = torch.randn(2, 5, 6), []
    outputs = segments
    for layer in net.perceptron.layers:
        outputs = F.relu(layer(outputs))
        hidden.append(outputs)
    scores = []
    for level, outputs in zip(net.pooling.levels, hidden[1:], strict=True):
        logits, keys = level(outputs).chunk(2, -1)
        weights = keys.sigmoid() / keys.sigmoid().sum(1, keepdim=True)
        scores.append((weights * logits.sigmoid()).sum(1))
    last = net.classifier[1]
    torch.testing.assert_close(net(segments), F.linear(torch.cat(scores, 1), last.weight, last.bias))


def test_kong_2019_is_a_head():
    net = head(
        perceptron_layers=3,
        perceptron_norm=True,
        pooling="feature_attention",
        classifier_layers=1,
        classifier_norm=True,
    )
    segments = torch.randn(2, 5, 6)
    norm, last = net.classifier[0], net.classifier[3]
    assert isinstance(norm, torch.nn.BatchNorm1d) and isinstance(last, torch.nn.Linear)
    torch.testing.assert_close(net(segments), last(F.relu(norm(net.pool(segments)))))


def test_a_head_at_the_instance_level_is_calibrated_after_its_pooling():
    net, segments = head(pooling="noisy_or"), torch.randn(2, 5, 6)
    before = net(segments)
    net.affine.scale.fill_(0.5), net.affine.offset.fill_(-1.0)
    torch.testing.assert_close(net(segments), 0.5 * before - 1)
    assert head(pooling="gmap").affine is None


def test_instance_level_attention_has_a_row_for_each_label():
    net = head(pooling="decision_attention")
    attention = net.attention(torch.randn(2, 5, 6))
    assert attention.shape == (2, 3, 5)
    torch.testing.assert_close(attention.sum(2), torch.ones(2, 3))


@pytest.mark.parametrize(
    "changes, setting",
    [
        ({"n_heads": 3}, "n_heads"),
        ({"pooling": "medium"}, "pooling"),
        ({"perceptron_layers": 1, "n_heads": 3}, "n_heads"),
        ({"pooling": "multi_level_attention", "n_levels": 2}, "n_levels"),
        ({"pooling": "multi_level_attention", "n_levels": 2, "perceptron_layers": 1}, "n_levels"),
        ({"pooling": "noisy_or", "classifier_norm": True}, "classifier_norm"),
        ({"attention_function": "relu"}, "attention_function"),
    ],
)
def test_an_invalid_setting_is_named(changes, setting, unchecked):
    with pytest.raises(ConfigError) as caught:
        HeadConfig(**{"n_channels": 8, "perceptron_width": 8, **changes})
    assert caught.value.setting == setting
