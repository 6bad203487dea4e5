"""The contract that every pooling obeys, and each pooling against a slow reference written from the equations."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import ConfigError
from earmark.model.network import NetworkConfig
from earmark.model.pooling import POOLINGS, AttentionPooling, Pooling
from earmark.model.pooling.moments import VARIANCE_FLOOR

N_CHANNELS = 16
VARIANTS = {
    f"heads={heads} gate={gate} deviation={deviation}": (heads, gate, deviation)
    for heads in (1, 2, 4, 8, 16)
    for gate in (True, False)
    for deviation in (True, False)
}
"""Every setting of the general attention pooling: heads, gate, deviation."""
EVERY = [*POOLINGS, *VARIANTS]
WITHOUT_ATTENTION = ["max", "mean", "max_mean"]
WITH_ATTENTION = [name for name in EVERY if name not in WITHOUT_ATTENTION]


def build(name: str, query_scale: float = 1.0) -> Pooling:
    torch.manual_seed(len(name))
    pooling = AttentionPooling(N_CHANNELS, *VARIANTS[name]) if name in VARIANTS else POOLINGS[name](N_CHANNELS)
    if hasattr(pooling, "query"):
        torch.nn.init.normal_(pooling.query, std=query_scale)
    return pooling


def segments(n_clips: int = 3, n_segments: int = 11, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_clips, n_segments, N_CHANNELS, generator=torch.Generator().manual_seed(seed))


def reference(pooling, bag: np.ndarray, name: str) -> np.ndarray:
    """One clip, loops and float64 only."""
    bag = bag.astype(np.float64)
    n_segments, n_channels = bag.shape
    if name == "max":
        return np.array([max(bag[t, c] for t in range(n_segments)) for c in range(n_channels)])
    if name == "mean":
        return np.array([sum(bag[t, c] for t in range(n_segments)) / n_segments for c in range(n_channels)])
    if name == "max_mean":
        return reference(pooling, bag, "max") + reference(pooling, bag, "mean")
    query = pooling.query.detach().double().numpy()
    n_heads, width = query.shape
    parts = []
    for j in range(n_heads):
        head = bag[:, j * width : (j + 1) * width]
        scores = np.array([float(query[j] @ head[t]) for t in range(n_segments)])
        weights = np.exp(scores - scores.max())
        weights = weights / weights.sum()
        mean = sum(weights[t] * head[t] for t in range(n_segments))
        parts.append(mean)
        if pooling.deviation:
            variance = sum(weights[t] * (head[t] - mean) ** 2 for t in range(n_segments))
            parts.append(np.sqrt(np.maximum(variance, VARIANCE_FLOOR)))
    clip = np.concatenate(parts)
    if pooling.gate is None:
        return clip
    weight, bias = pooling.gate.weight.detach().double().numpy(), pooling.gate.bias.detach().double().numpy()
    return clip / (1 + np.exp(-(weight @ clip + bias)))


@pytest.mark.parametrize("name", EVERY)
def test_equals_the_reference(name):
    pooling, bags = build(name), segments()
    clips = pooling(bags)
    assert clips.shape == (3, pooling.n_features)
    for clip, bag in zip(clips, bags, strict=True):
        np.testing.assert_allclose(clip.detach().numpy(), reference(pooling, bag.numpy(), name), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_float32_stays_near_float64_under_a_large_offset(name):
    pooling, bags = build(name, query_scale=0.01), segments() * 0.01 + 100
    exact = build(name, query_scale=0.01).double()(bags.double())
    np.testing.assert_allclose(pooling(bags).detach().numpy(), exact.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=10)
@given(cuts=st.sets(st.integers(1, 10), max_size=6), seed=st.integers(0, 1000), balanced=st.booleans())
def test_merged_pieces_equal_the_whole(name, cuts, seed, balanced):
    pooling, bags = build(name), segments(seed=seed)
    states = [pooling.summarize(piece) for piece in bags.tensor_split(sorted(cuts), dim=1)]
    while len(states) > 1:
        if balanced:
            pairs = [states[i : i + 2] for i in range(0, len(states), 2)]
            states = [pooling.merge(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        else:
            states = [pooling.merge(states[0], states[1]), *states[2:]]
    torch.testing.assert_close(pooling.finalize(states[0]), pooling(bags), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_one_segment_at_a_time_keeps_small_deviations_under_a_large_offset(name):
    pooling, bags = build(name, query_scale=0.001), segments(n_segments=50) * 0.1 + 100
    state = pooling.summarize(bags[:, :1])
    for t in range(1, 50):
        state = pooling.merge(state, pooling.summarize(bags[:, t : t + 1]))
    torch.testing.assert_close(pooling.finalize(state), pooling(bags), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_order_does_not_matter(name):
    pooling, bags = build(name), segments()
    order = torch.randperm(bags.shape[1], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pooling(bags[:, order]), pooling(bags), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("filler", [0.0, 1e6, float("nan"), float("inf")])
def test_masking_is_removing(name, filler):
    pooling, bags = build(name), segments()
    mask = torch.rand(bags.shape[:2], generator=torch.Generator().manual_seed(2)) < 0.6
    mask[:, 3] = True
    together = pooling(bags.masked_fill(~mask[..., None], filler), mask)
    for clip, bag, real in zip(together, bags, mask, strict=True):
        torch.testing.assert_close(clip, pooling(bag[real][None])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("case", ["one segment", "silence", "constant", "masked", "huge scores"])
def test_gradients_are_finite(name, case):
    bags = {
        "one segment": segments(n_segments=1),
        "silence": torch.zeros(2, 5, N_CHANNELS),
        "constant": torch.ones(2, 5, N_CHANNELS) * 3,
        "masked": segments(),
        "huge scores": segments() * 1e4,
    }[case].requires_grad_()
    mask = torch.arange(11).expand(3, 11) < 2 if case == "masked" else None
    pooling = build(name)
    pooling(bags, mask).square().sum().backward()
    assert bags.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in pooling.parameters())
    if mask is not None:
        assert (bags.grad[~mask] == 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_attention_sums_to_one_over_real_segments_or_is_none(name):
    pooling, bags = build(name), segments()
    mask = torch.arange(11) < torch.tensor([11, 4, 1])[:, None]
    attention = pooling.attention(bags, mask)
    assert (attention is None) == (name in WITHOUT_ATTENTION)
    if attention is not None:
        assert attention.shape == (3, pooling.n_heads, 11)
        torch.testing.assert_close(attention.sum(2), torch.ones(3, pooling.n_heads))
        assert (attention.transpose(1, 2)[~mask] == 0).all()


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_the_pooled_mean_is_weighted_by_the_attention(name):
    pooling, bags = build(name), segments()
    state = pooling.summarize(bags)
    mean = torch.einsum("bkt,btkc->bkc", pooling.attention(bags), bags.unflatten(2, (pooling.n_heads, -1)))
    torch.testing.assert_close(state.mean, mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_bag_is_refused(name):
    pooling = build(name)
    with pytest.raises(ValueError, match="without segments"):
        pooling(torch.zeros(2, 0, N_CHANNELS))
    with pytest.raises(ValueError, match="without segments"):
        pooling(segments(), torch.tensor([[True] * 11, [False] * 11, [True] * 11]))


@pytest.mark.parametrize("name", [*POOLINGS])
@pytest.mark.parametrize(
    ("bags", "mask", "message"),
    [
        (
            torch.zeros(2, 5, 8),
            None,
            r"\(batch, segment, 16 channels\) were expected, not float32 of shape \(2, 5, 8\)",
        ),
        (torch.zeros(5, 16), None, r"not float32 of shape \(5, 16\)"),
        (torch.zeros(2, 5, 16, dtype=torch.int64), None, r"not int64 of shape \(2, 5, 16\)"),
        (
            torch.zeros(2, 5, 16),
            torch.ones(2, 5),
            r"mask: booleans of shape \(2, 5\), .* not float32 of shape \(2, 5\)",
        ),
        (torch.zeros(2, 5, 16), torch.ones(2, 4, dtype=torch.bool), r"not bool of shape \(2, 4\)"),
        (torch.zeros(2, 5, 16), torch.ones(5, dtype=torch.bool), r"not bool of shape \(5,\)"),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(name, bags, mask, message, unchecked):
    with pytest.raises(ConfigError, match=message):
        build(name)(bags, mask)
    if name in WITH_ATTENTION:
        with pytest.raises(ValueError, match=message):
            build(name).attention(bags, mask)


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_segments_are_pooled_in_single(name):
    clips = build(name)(segments().bfloat16())
    assert clips.dtype == torch.float32


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_takes_its_own_settings_and_no_others(name):
    cls = POOLINGS[name]
    assert tuple(inspect.signature(cls).parameters) == ("n_channels", *cls.settings)
    defaults = NetworkConfig(pooling=name)
    cls(N_CHANNELS, **{setting: getattr(defaults, setting) for setting in cls.settings})


def test_gmap_has_the_parameters_of_the_paper():
    pooling = POOLINGS["gmap"](512, n_heads=4, gate=True, deviation=True)
    assert pooling.query.shape == (4, 128)
    assert pooling.gate.weight.shape == (1024, 1024)
    assert sum(p.numel() for p in pooling.gate.parameters()) == 1_049_600
    assert pooling.n_features == 1024


@pytest.mark.parametrize(
    ("name", "heads", "gate", "deviation"),
    [("attention", 1, False, False), ("attentive_stats", 1, False, True), ("gmap", 4, True, True)],
)
def test_the_papers_attention_poolings_are_settings_of_the_general_one(name, heads, gate, deviation):
    torch.manual_seed(0)
    special = POOLINGS[name](N_CHANNELS)
    torch.manual_seed(0)
    general = AttentionPooling(N_CHANNELS, heads, gate, deviation)
    assert isinstance(special, AttentionPooling)
    assert torch.equal(special(segments()), general(segments()))


@pytest.mark.parametrize("heads", [0, 3, 32])
def test_heads_must_divide_the_channels(heads):
    with pytest.raises(ConfigError, match=f"n_heads.* 16 channels .*not {heads}"):
        POOLINGS["gmap"](N_CHANNELS, n_heads=heads)
