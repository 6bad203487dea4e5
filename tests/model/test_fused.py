import copy

import pytest
import torch
import torch.nn.functional as F

from earmark.model import backbone, fused
from earmark.model.backbone import MaskedBatchNorm

SHAPES = [(3, 16, 41, 8), (2, 5, 7, 3), (9, 4, 33, 2), (1, 1, 2, 1), (2, 3, 1, 5)]


def example(shape=(3, 16, 41, 8), dtype=torch.float32, offset=3.0):
    """A batch, batch norm and a gradient as uneven as trained ones."""
    torch.manual_seed(0)
    x = (offset + torch.randn(shape, dtype=dtype)).contiguous(memory_format=torch.channels_last).requires_grad_()
    norm = MaskedBatchNorm(shape[1]).to(dtype)
    torch.nn.init.uniform_(norm.weight, -0.5, 1.5)
    torch.nn.init.normal_(norm.bias)
    return x, norm


def gradients(y, x, norm, gradient):
    return torch.autograd.grad(y, (x, norm.weight, norm.bias), gradient)


def assert_near(got, expected, tolerance=1e-5):
    scale = max(expected.abs().max().item(), 1)  # of what went in, where the result is nothing but rounding
    torch.testing.assert_close(got.double(), expected.double(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_equals_batch_norm_relu_and_pooling(shape, pool, offset):
    x, norm = example(shape, offset=offset)
    reference = torch.nn.BatchNorm2d(shape[1]).double()
    reference.load_state_dict(norm.state_dict())
    precise = x.detach().double().requires_grad_()
    expected = F.avg_pool2d(F.relu(reference(precise)), pool, ceil_mode=True)
    y = norm.rectified(x, None, pool)
    assert y.dtype == torch.float32 and y.is_contiguous(memory_format=torch.channels_last)
    # a float32 can't say where in [x, x + 2e-5] it is at 300: neither can batch norm
    tolerance = 1e-5 if offset == 0 else 1e-4
    assert_near(y, expected, tolerance)
    gradient = torch.randn_like(y)
    pairs = zip(
        gradients(y, x, norm, gradient), gradients(expected, precise, reference, gradient.double()), strict=True
    )
    for got, wanted in pairs:
        assert_near(got, wanted, tolerance)
    for name, wanted in reference.state_dict().items():
        assert_near(norm.state_dict()[name], wanted)


@pytest.mark.parametrize("pool", [1, 2])
def test_gradients_are_those_of_the_values(pool):
    x, norm = example((2, 3, 5, 3), torch.float64)

    def function(x, weight, bias):
        mean, variance = fused.statistics(x)
        return fused.rectified(x, weight, bias, mean, (variance + norm.eps).sqrt(), pool)

    assert torch.autograd.gradcheck(function, (x, norm.weight, norm.bias))


def test_statistics_keep_a_small_spread_beside_a_large_mean():
    torch.manual_seed(0)
    x = (1000 + 0.01 * torch.randn(4, 3, 50, 8)).contiguous(memory_format=torch.channels_last)
    mean, variance = fused.statistics(x)
    torch.testing.assert_close(mean, x.double().mean((0, 2, 3)), rtol=1e-9, atol=0)
    torch.testing.assert_close(variance, x.double().var((0, 2, 3), correction=0), rtol=1e-5, atol=0)


def test_a_constant_has_no_variance():
    mean, variance = fused.statistics(torch.full((2, 3, 40, 4), 0.1).contiguous(memory_format=torch.channels_last))
    assert (variance == 0).all() and (mean == torch.tensor(0.1).double()).all()


@pytest.mark.parametrize("pool", [1, 2])
def test_results_are_the_same_every_time_and_for_any_number_of_threads(pool):
    n_threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3, 2):
            torch.set_num_threads(number)
            x, norm = example((5, 16, 41, 8))
            y = norm.rectified(x, None, pool)
            results.append((y, norm.running_var, *gradients(y, x, norm, torch.cos(y.detach()))))
    finally:
        torch.set_num_threads(n_threads)
    for got, again in zip(results[1], results[3], strict=True):
        assert torch.equal(got, again)
    for other in results[1:3]:
        for got, wanted in zip(other, results[0], strict=True):
            assert_near(got, wanted, 1e-7)


@pytest.mark.parametrize("pool", [1, 2])
def test_nan_passes(pool):
    x, norm = example((2, 3, 6, 4))
    with torch.no_grad():
        x[1, 2, 3, 3] = float("nan")
    y = norm.rectified(x, None, pool)
    assert y[:, 2].isnan().all() and not y[:, :2].isnan().any()


@pytest.mark.parametrize("pool", [1, 2])
def test_takes_any_gradient_and_gives_only_what_is_wanted(pool):
    x, norm = example()
    y = norm.rectified(x, None, pool)
    one = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]  # a gradient that lies nowhere: expanded
    two = torch.autograd.grad(y, x, torch.ones(y.shape), retain_graph=True)[0]  # and one with channels first
    assert torch.equal(one, two)
    norm.rectified(x.detach(), None, pool).sum().backward()
    assert x.grad is None and norm.weight.grad is not None
    norm.requires_grad_(False)
    assert not norm.rectified(x.detach(), None, pool).requires_grad
    norm.rectified(x, None, pool).sum().backward()
    assert torch.equal(x.grad, one)


def test_works_without_gradients_and_in_copies():
    x, norm = example()
    other = copy.deepcopy(norm)
    with torch.inference_mode():
        y = other.rectified(x, None, 2)
    assert torch.equal(y, norm.rectified(x, None, 2))
    assert torch.equal(other.running_mean, norm.running_mean) and other.num_batches_tracked == 1


def test_fits_what_the_kernels_can_take():
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert fused.fits(x) and fused.fits(x.double())
    assert not fused.fits(x.bfloat16())
    assert not fused.fits(x.contiguous())
    assert not fused.fits(x[:1, :, :1, :1].contiguous(memory_format=torch.channels_last))


def test_only_training_on_whole_clips_comes_here(monkeypatch):
    calls = []
    monkeypatch.setattr(fused, "statistics", lambda x: calls.append(x.shape) or (x.mean((0, 2, 3)), x.var((0, 2, 3))))
    x, norm = example()
    norm.rectified(x, torch.ones(3, 1, 41, 1, dtype=torch.bool), 2)
    norm.rectified(x.contiguous().bfloat16(), None, 2)
    norm.eval().rectified(x, None, 2)
    assert not calls
    norm.train().rectified(x, None, 2)
    assert len(calls) == 1


def test_an_error_in_a_thread_is_an_error():
    done = []

    def task(number):
        if number == 1:
            raise KeyboardInterrupt
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        fused._in_threads(task, 3)
    assert set(done) <= {0, 2}
    fused._in_threads(done.append, 5)
    assert sorted(done[-5:]) == [0, 1, 2, 3, 4]


def test_backbone_finds_the_kernels():
    assert backbone._kernels() is fused
