import copy

import pytest
import torch

from earmark.model.pooling import POOLINGS
from experiments.changed_pooling import Faster, PoolingChange, in_place_of


def made(pooling="gmap", n_channels=8, **change):
    torch.manual_seed(0)
    with in_place_of(pooling, PoolingChange(**change)):
        return POOLINGS[pooling](n_channels)


def test_after_the_block_the_pooling_is_as_before():
    before = POOLINGS["gmap"]
    with pytest.raises(RuntimeError), in_place_of("gmap", PoolingChange(query_scale=2.0)):
        assert POOLINGS["gmap"] is not before
        raise RuntimeError
    assert POOLINGS["gmap"] is before
    with in_place_of("gmap", PoolingChange()):
        assert POOLINGS["gmap"] is before


def test_only_attention_poolings_can_be_changed():
    with (
        pytest.raises(TypeError, match="an attention pooling was expected, not mean"),
        in_place_of("mean", PoolingChange()),
    ):
        pass


def test_queries_and_gate_start_as_asked():
    plain, changed = made(), made(query_scale=10.0, gate_bias=2.0)
    assert torch.allclose(changed.query, 10 * plain.query)
    assert torch.equal(changed.gate.weight, plain.gate.weight)
    assert changed.gate.bias.tolist() == [2.0] * 16


@pytest.mark.parametrize("change", [{"query_rate": 5.0}, {"gate_rate": 0.1}, {"gate_decay": 1e-4}])
def test_the_first_output_is_that_of_the_unchanged_pooling(change):
    segments = torch.randn(2, 5, 8)
    assert torch.allclose(made(**change)(segments), made()(segments), atol=1e-6)


def test_steps_of_adam_are_longer_by_the_rate():
    moved = []
    for rate in (1.0, 5.0):
        pooling = made(query_rate=rate)
        before = pooling.query.detach().clone()
        optimizer = torch.optim.Adam(pooling.parameters(), 1e-3)
        torch.manual_seed(1)
        pooling(torch.randn(2, 5, 8)).square().sum().backward()
        optimizer.step()
        moved.append((pooling.query.detach() - before).abs().max().item())
    assert moved[1] == pytest.approx(5 * moved[0], rel=1e-3)


def test_the_gate_shrinks_a_little_with_each_step():
    pooling = made(gate_decay=0.1)
    before = pooling.gate.weight.detach().clone()
    pooling(torch.randn(2, 5, 8)).sum().backward()
    assert torch.allclose(pooling.gate.weight, 0.9 * before)


def test_the_gate_sees_a_share_of_the_features_in_training_alone():
    pooling, segments = made(gate_dropout=0.5), torch.randn(2, 5, 8)
    assert not torch.equal(pooling(segments), pooling(segments))
    pooling.eval()
    assert torch.allclose(pooling(segments), made()(segments))


def test_a_copy_keeps_the_rate():
    pooling = copy.deepcopy(made(query_rate=5.0))
    assert isinstance(pooling.parametrizations.query[0], Faster)
