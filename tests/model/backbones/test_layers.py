import pytest
import torch

from earmark.model.backbones.layers import MaskedBatchNorm, dropout


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
