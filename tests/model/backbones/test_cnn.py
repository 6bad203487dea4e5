import pytest
import torch
import torch.nn.functional as F

from earmark.model.backbones.cnn import Cnn, LightCnn
from earmark.model.mel import FLOOR_DB
from tests.networks import backbone


def plain(net: Cnn, log_mel: torch.Tensor) -> torch.Tensor:
    """The paper's CNN written down plainly, without partial segments."""
    x = net.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
    for block in net.blocks:
        x = F.relu(F.batch_norm(F.conv2d(x, block.conv1.weight, padding=1), *stats(block.bn1)))
        x = F.relu(F.batch_norm(F.conv2d(x, block.conv2.weight, padding=1), *stats(block.bn2)))
        x = F.avg_pool2d(x, 2)
    return x.mean(3).transpose(1, 2)


def plain_light(net: LightCnn, log_mel: torch.Tensor) -> torch.Tensor:
    """The light backbone, written down plainly."""
    x = net.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
    for number, block in enumerate(net.blocks):
        x = separable(x, block.conv1) if number else F.conv2d(x, block.conv1.weight, stride=2, padding=1)
        x = F.relu(F.batch_norm(x, *stats(block.bn1)))
        x = F.relu(F.batch_norm(separable(x, block.conv2), *stats(block.bn2)))
        x = F.avg_pool2d(x, 2) if number else x
    return x.mean(3).transpose(1, 2)


def separable(x, conv):
    """The pair as one full convolution."""
    return F.conv2d(x, conv.pointwise.weight * conv.depthwise.weight.transpose(0, 1), padding=1)


def stats(bn):
    return bn.running_mean, bn.running_var, bn.weight, bn.bias


def test_the_backbone_has_the_papers_shape():
    net = Cnn()
    assert net(torch.zeros(2, 400, 64)).shape == (2, 25, 512)
    assert (net.n_channels, net.frames_per_segment, net.halo) == (512, 16, 30)


def test_the_light_backbone_has_the_papers_shapes_and_a_ninth_of_its_parameters():
    net, paper = LightCnn(), Cnn()
    assert net(torch.zeros(2, 400, 64)).shape == (2, 25, 512)
    assert (net.n_channels, net.frames_per_segment, net.halo) == (512, 16, 31)
    light, whole = (sum(p.numel() for p in each.parameters()) for each in (net, paper))
    assert (light, whole) == (537_856, 4_686_272)


@pytest.mark.parametrize(("kind", "definition"), [(Cnn, plain), (LightCnn, plain_light)])
def test_equals_the_plain_definition(kind, definition):
    net, log_mel = backbone(kind), torch.randn(2, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(log_mel), definition(net, log_mel), rtol=1e-5, atol=1e-5)


# odd at the first halving, the second, the third, the fourth, at several, at none
@pytest.mark.parametrize("n_frames", [81, 82, 84, 88, 95, 96, 16, 17, 31])
def test_without_partial_segments_a_frame_without_a_partner_is_dropped(n_frames):
    net, log_mel = backbone(Cnn, partial_segments=False), torch.randn(2, n_frames, 32)
    assert net.n_segments(torch.tensor([n_frames])).tolist() == [n_frames // 16]
    with torch.inference_mode():
        expected = plain(net, log_mel)
        torch.testing.assert_close(net(log_mel), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net.folded()(log_mel), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 8, 15])
def test_without_partial_segments_a_short_clip_has_silence_after_it(n_frames):
    net, log_mel = backbone(Cnn, partial_segments=False), torch.randn(2, n_frames, 32)
    silent = torch.cat([log_mel, torch.full((2, 16 - n_frames, 32), FLOOR_DB)], 1)
    assert net.n_segments(torch.tensor([n_frames])).tolist() == [1]
    with torch.inference_mode():
        torch.testing.assert_close(net(log_mel), plain(net, silent), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(net.folded()(log_mel), net(log_mel), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n_frames", [16, 31, 45, 82])
def test_training_without_partial_segments_equals_the_plain_definition(n_frames):
    net, other = (
        backbone(Cnn, partial_segments=False).double().train(),
        backbone(Cnn, partial_segments=False).double().train(),
    )
    net.to(memory_format=torch.channels_last).block_dropout = 0.0
    log_mel = torch.randn(3, n_frames, 32, dtype=torch.float64)
    x = other.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
    for block in other.blocks:
        x = F.relu(torch.nn.BatchNorm2d.forward(block.bn1, block.conv1(x)))
        x = F.avg_pool2d(F.relu(torch.nn.BatchNorm2d.forward(block.bn2, block.conv2(x))), 2)
    segments, expected = net(log_mel), x.mean(3).transpose(1, 2)
    torch.testing.assert_close(segments, expected)
    segments.square().sum().backward()
    expected.square().sum().backward()
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_partial_segment_averages_the_frames_that_it_has():
    torch.manual_seed(0)
    net = Cnn(n_mels=16, width=2).eval()
    for block in net.blocks:  # identity-like convolutions: the block only averages
        for conv in (block.conv1, block.conv2):
            torch.nn.init.zeros_(conv.weight)
            conv.weight.data[:, :, 1, 1] = 1.0 / conv.weight.shape[1]
    # halves are averaged two by two, so a frame without a partner weighs as much as two: 2 frames and 1 give means
    segments = net(torch.tensor([1.0, 3.0, 8.0]).repeat(16, 1).T[None])
    scale = (1 + 1e-5) ** -4.5
    assert segments[0, 0, 0].item() == pytest.approx(((1 + 3) / 2 + 8) / 2 * scale, rel=1e-3)


@pytest.mark.parametrize("kind", [Cnn, LightCnn])
def test_training_drops_and_evaluation_does_not(kind):
    net = backbone(kind)
    log_mel = torch.randn(1, 64, 32)
    assert torch.equal(net(log_mel), net(log_mel))
    net.train()
    assert not torch.equal(net(log_mel), net(log_mel))
