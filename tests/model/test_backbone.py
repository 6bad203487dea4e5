import pytest
import torch
import torch.nn.functional as F

from earmark.model.backbone import (
    BACKBONES,
    Backbone,
    FoldedBackbone,
    LightBackbone,
    MaskedBatchNorm,
    dropout,
)
from earmark.model.mel import FLOOR_DB


@pytest.fixture(params=BACKBONES.values(), ids=BACKBONES)
def kind(request: pytest.FixtureRequest) -> type[Backbone]:
    return request.param


def backbone(
    kind: type[Backbone] = Backbone, width: int = 4, n_mels: int = 32, partial_segments: bool = True
) -> Backbone:
    """In evaluation, with batch-norm statistics as unlike 0 and 1 as trained ones."""
    torch.manual_seed(0)
    net = kind(n_mels=n_mels, width=width, partial_segments=partial_segments).eval()
    for module in net.modules():
        if isinstance(module, MaskedBatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, std=0.5)
    return net


def plain(net: Backbone, log_mel: torch.Tensor) -> torch.Tensor:
    """The paper's CNN written down plainly, without partial segments."""
    x = net.bn0(log_mel.transpose(1, 2)[..., None]).permute(0, 3, 2, 1)
    for block in net.blocks:
        x = F.relu(F.batch_norm(F.conv2d(x, block.conv1.weight, padding=1), *stats(block.bn1)))
        x = F.relu(F.batch_norm(F.conv2d(x, block.conv2.weight, padding=1), *stats(block.bn2)))
        x = F.avg_pool2d(x, 2)
    return x.mean(3).transpose(1, 2)


def plain_light(net: LightBackbone, log_mel: torch.Tensor) -> torch.Tensor:
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
    net = Backbone()
    assert net(torch.zeros(2, 400, 64)).shape == (2, 25, 512)
    assert (net.n_channels, net.frames_per_segment, net.halo) == (512, 16, 30)


def test_the_light_backbone_has_the_papers_shapes_and_a_ninth_of_its_parameters():
    net, paper = LightBackbone(), Backbone()
    assert net(torch.zeros(2, 400, 64)).shape == (2, 25, 512)
    assert (net.n_channels, net.frames_per_segment, net.halo) == (512, 16, 31)
    light, whole = (sum(p.numel() for p in each.parameters()) for each in (net, paper))
    assert (light, whole) == (537_856, 4_686_272)


@pytest.mark.parametrize(("kind", "definition"), [(Backbone, plain), (LightBackbone, plain_light)])
def test_equals_the_plain_definition(kind, definition):
    net, log_mel = backbone(kind), torch.randn(2, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(log_mel), definition(net, log_mel), rtol=1e-5, atol=1e-5)


# odd at the first halving, the second, the third, the fourth, at several, at none
@pytest.mark.parametrize("n_frames", [81, 82, 84, 88, 95, 96, 16, 17, 31])
def test_without_partial_segments_a_frame_without_a_partner_is_dropped(n_frames):
    net, log_mel = backbone(partial_segments=False), torch.randn(2, n_frames, 32)
    assert net.n_segments(torch.tensor([n_frames])).tolist() == [n_frames // 16]
    with torch.inference_mode():
        expected = plain(net, log_mel)
        torch.testing.assert_close(net(log_mel), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(FoldedBackbone(net)(log_mel), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_frames", [1, 8, 15])
def test_without_partial_segments_a_short_clip_has_silence_after_it(n_frames):
    net, log_mel = backbone(partial_segments=False), torch.randn(2, n_frames, 32)
    silent = torch.cat([log_mel, torch.full((2, 16 - n_frames, 32), FLOOR_DB)], 1)
    assert net.n_segments(torch.tensor([n_frames])).tolist() == [1]
    with torch.inference_mode():
        torch.testing.assert_close(net(log_mel), plain(net, silent), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(FoldedBackbone(net)(log_mel), net(log_mel), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n_frames", [16, 31, 45, 82])
def test_training_without_partial_segments_equals_the_plain_definition(n_frames):
    net, other = backbone(partial_segments=False).double().train(), backbone(partial_segments=False).double().train()
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


def test_the_receptive_field_is_exact(kind):
    net = backbone(kind)
    log_mel = torch.randn(1, 16 * 12, 32, requires_grad=True)
    net(log_mel)[0, 6].sum().backward()
    touched = log_mel.grad[0].abs().sum(1).nonzero().flatten()
    assert touched.min() == 6 * 16 - net.halo
    assert touched.max() == 6 * 16 + 15 + net.halo
    assert len(touched) == net.frames_per_segment + 2 * net.halo


@pytest.mark.parametrize("lengths", [[1], [15, 16, 17], [160, 3, 97, 64], [33, 400]])
@pytest.mark.parametrize("filler", [0.0, -100.0, 1e4])
@pytest.mark.parametrize("partial_segments", [True, False])
def test_padding_does_not_leak(kind, lengths, filler, partial_segments):
    if kind is not Backbone and not partial_segments:
        pytest.skip("a setting of the paper's alone")
    net = backbone(kind, partial_segments=partial_segments)
    clips = [torch.randn(n, 32) for n in lengths]
    batch = torch.full((len(clips), max(lengths), 32), filler)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    with torch.no_grad():
        together = net(batch, torch.tensor(lengths))
        for row, clip in zip(together, clips, strict=True):
            alone = net(clip[None])[0]
            assert len(alone) == (-(-len(clip) // 16) if partial_segments else max(1, len(clip) // 16))
            torch.testing.assert_close(row[: len(alone)], alone, rtol=1e-5, atol=1e-5 if len(clip) > 15 else 1e-4)


def test_a_partial_segment_averages_the_frames_that_it_has():
    torch.manual_seed(0)
    net = Backbone(n_mels=16, width=2).eval()
    for block in net.blocks:  # identity-like convolutions: the block only averages
        for conv in (block.conv1, block.conv2):
            torch.nn.init.zeros_(conv.weight)
            conv.weight.data[:, :, 1, 1] = 1.0 / conv.weight.shape[1]
    # halves are averaged two by two, so a frame without a partner weighs as much as two: 2 frames and 1 give means
    segments = net(torch.tensor([1.0, 3.0, 8.0]).repeat(16, 1).T[None])
    scale = (1 + 1e-5) ** -4.5
    assert segments[0, 0, 0].item() == pytest.approx(((1 + 3) / 2 + 8) / 2 * scale, rel=1e-3)


@pytest.mark.parametrize("n_frames", [1, 2, 15, 17, 18, 31])
def test_the_last_frame_of_a_partial_segment_counts(kind, n_frames):
    net, log_mel = backbone(kind), torch.randn(1, n_frames, 32, requires_grad=True)
    segments = net(log_mel)
    assert segments.shape[1] == -(-n_frames // 16)
    segments[0, -1].sum().backward()
    weights = log_mel.grad[0].abs().sum(1)
    assert weights[-1] > 0.1 * weights.mean()


def test_masked_statistics_are_those_of_the_real_positions():
    torch.manual_seed(0)
    x = torch.randn(3, 4, 8, 5)
    mask = (torch.arange(8) < torch.tensor([8, 3, 5])[:, None])[:, None, :, None]
    masked, plain_bn = MaskedBatchNorm(4), torch.nn.BatchNorm2d(4)
    y = masked(x.masked_fill(~mask, 99.0), mask)
    real = x.permute(0, 2, 3, 1)[mask[:, 0, :, 0]].flatten(0, 1)  # (position, channel)
    expected = plain_bn(real.T[None, :, :, None])
    torch.testing.assert_close(y.permute(0, 2, 3, 1)[mask[:, 0, :, 0]].flatten(0, 1), expected[0, :, :, 0].T)
    torch.testing.assert_close(masked.running_mean, plain_bn.running_mean)
    torch.testing.assert_close(masked.running_var, plain_bn.running_var)
    assert (y.masked_select(~mask.expand_as(y)) == 0).all()


def test_masked_statistics_are_exact_under_mixed_precision():
    torch.manual_seed(0)
    x = (3 + 0.5 * torch.randn(8, 4, 63, 16)).bfloat16()
    mask = (torch.arange(63) < torch.arange(56, 64)[:, None])[:, None, :, None]
    single, mixed = MaskedBatchNorm(4), MaskedBatchNorm(4)
    single(x.float(), mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mixed(x, mask).dtype == torch.bfloat16
    torch.testing.assert_close(mixed.running_mean, single.running_mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(mixed.running_var, single.running_var, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n_frames", [1, 13, 200])
def test_training_on_clips_of_one_length_needs_no_mask(kind, n_frames):
    net, other = backbone(kind).train(), backbone(kind).train()
    net.block_dropout = other.block_dropout = 0.0
    log_mel = torch.randn(3, n_frames, 32)
    longer = torch.cat([log_mel, torch.full((3, 16, 32), 9.0)], 1)
    masked = other(longer, torch.full((3,), n_frames))
    segments = net(log_mel)
    torch.testing.assert_close(masked[:, : segments.shape[1]], segments, rtol=1e-4, atol=1e-4)
    for one, two in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dropout_zeroes_and_scales_like_pytorchs(layout):
    torch.manual_seed(0)
    x = torch.ones(8, 16, 50, 32).contiguous(memory_format=layout)
    y = dropout(x, 0.2)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert (y == 0).float().mean().item() == pytest.approx(0.2, abs=0.003)
    assert ((y[1:] == 0) & (y[:-1] == 0)).float().mean().item() == pytest.approx(0.04, abs=0.003)
    assert not torch.equal(y, dropout(x, 0.2))
    assert torch.equal(dropout(x, 0.0), x)


def test_dropout_takes_any_layout():
    torch.manual_seed(0)
    x = torch.randn(5, 7, 6).transpose(0, 2)[::2]
    y = dropout(x, 0.5)
    torch.testing.assert_close(y[y != 0], 2 * x[y != 0])


def test_training_drops_and_evaluation_does_not(kind):
    net = backbone(kind)
    log_mel = torch.randn(1, 64, 32)
    assert torch.equal(net(log_mel), net(log_mel))
    net.train()
    assert not torch.equal(net(log_mel), net(log_mel))


@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 33, 400])
def test_folded_gives_the_segments_of_the_backbone(kind, n_frames):
    torch.manual_seed(0)
    net = kind(64, width=4).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    log_mel = torch.randn(2, n_frames, 64)
    with torch.inference_mode():
        expected = net(log_mel)
        torch.testing.assert_close(FoldedBackbone(net)(log_mel), expected, atol=1e-5, rtol=1e-5)
        in_half = FoldedBackbone(net, torch.bfloat16)(log_mel)
    assert in_half.dtype == torch.float32
    assert (in_half - expected).abs().max() < 0.03 * expected.abs().max()
