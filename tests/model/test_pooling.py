"""The contract that every pooling obeys, and each pooling against a slow reference written from the equations."""

import inspect
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import ConfigError
from earmark.model.network import NetworkConfig
from earmark.model.pooling import POOLINGS, AttentionPooling, Pooling
from earmark.model.pooling.odds import log_expm1, log_softplus
from tests.model.pooling_references import pooled_logit, reference

N_CHANNELS = 16
VARIANTS = {
    f"heads={heads} gate={gate} deviation={deviation}": (heads, gate, deviation)
    for heads in (1, 2, 4, 8, 16)
    for gate in (True, False)
    for deviation in (True, False)
}
"""Every setting of the general attention pooling: heads, gate, deviation."""
FUNCTIONS = {
    f"{name} {function}": (name, function)
    for name in ("feature_attention", "multi_level_attention", "decision_attention")
    for function in ("softmax", "exp")
}
"""Poolings whose weights come from another function than the default one."""
EVERY = [*POOLINGS, *VARIANTS, *FUNCTIONS]
WITH_ATTENTION = ["attention", "attentive_stats", "gmap", "gated_attention", *VARIANTS]
WITH_ATTENTION += [name for name in EVERY if name.startswith(("feature_attention", "decision_attention"))]
LAYERED = ("gated_attention", "feature_attention", "decision_attention")
INSTANCE = [name for name in EVERY if name.split()[0] in POOLINGS and POOLINGS[name.split()[0]].level == "instance"]


def build(name: str, query_scale: float = 1.0, n_channels: int = N_CHANNELS) -> Pooling:
    torch.manual_seed(len(name))
    if name in VARIANTS:
        pooling = AttentionPooling(n_channels, *VARIANTS[name])
    else:
        plain, function = FUNCTIONS.get(name, (name, None))
        settings = {} if function is None else {"attention_function": function}
        if plain == "multi_level_attention":
            settings |= {"n_labels": 3, "n_levels": 2}
        pooling = POOLINGS[plain](n_channels, **settings)
    if isinstance(pooling, AttentionPooling):
        torch.nn.init.normal_(pooling.query, std=query_scale)
    for parameter_name, parameter in pooling.named_parameters():
        if "bias" in parameter_name:
            torch.nn.init.normal_(parameter)
    if name == "auto_pool":
        torch.nn.init.normal_(pooling.exponent, std=3.0)
    return pooling


def segments(n_clips: int = 3, n_segments: int = 11, seed: int = 0) -> torch.Tensor:
    return torch.randn(n_clips, n_segments, N_CHANNELS, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", EVERY)
def test_equals_the_reference(name):
    pooling, bags = build(name), segments()
    clips = pooling(bags)
    assert clips.shape == (3, pooling.n_features)
    for clip, bag in zip(clips, bags, strict=True):
        np.testing.assert_allclose(clip.detach().numpy(), reference(pooling, bag.numpy(), name.split()[0]), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_float32_stays_near_float64_under_a_large_offset(name):
    pooling, bags = build(name, query_scale=0.01), segments() * 0.01 + 100
    exact = build(name, query_scale=0.01).double()(bags.double())
    np.testing.assert_allclose(pooling(bags).detach().numpy(), exact.detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=5)
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
def test_order_matters_only_where_a_pooling_says_so(name):
    pooling, bags = build(name), segments()
    order = torch.randperm(bags.shape[1], generator=torch.Generator().manual_seed(1))
    is_same = torch.allclose(pooling(bags[:, order]), pooling(bags), rtol=1e-5, atol=1e-5)
    assert is_same != pooling.is_ordered == (name == "hierarchical")


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
    assert (attention is None) == (name not in WITH_ATTENTION)
    if attention is not None:
        n_heads = pooling.n_features if pooling.level == "instance" else getattr(pooling, "n_heads", 1)
        assert attention.shape == (3, n_heads, 11)
        torch.testing.assert_close(attention.sum(2), torch.ones(3, n_heads))
        assert (attention.transpose(1, 2)[~mask] == 0).all()


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_attention_is_the_same_under_autocast(name):
    pooling, bags = build(name), segments()
    exact = pooling.attention(bags)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pooling.attention(bags), exact)


@pytest.mark.parametrize("name", ["attention", "attentive_stats", "gmap", *VARIANTS])
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
    sizes = ("n_channels", "n_labels") if name == "multi_level_attention" else ("n_channels",)
    assert tuple(inspect.signature(cls).parameters) == (*sizes, *cls.settings)
    defaults = NetworkConfig(pooling=name)
    pooling = cls.for_labels(N_CHANNELS, 3, **{setting: getattr(defaults, setting) for setting in cls.settings})
    assert pooling.n_channels == (N_CHANNELS if cls.level == "embedding" else 3 * cls.channels_per_label)
    assert cls.level == "embedding" or pooling.n_features == 3


@pytest.mark.parametrize("name", [name for name in WITH_ATTENTION if name.split()[0] in LAYERED])
def test_the_attention_is_the_weights_of_what_is_pooled(name):
    """The pooled values are the mean of what is pooled, weighted by the attention."""
    pooling, bags = build(name), segments()
    if name.startswith("gated_attention"):
        expected = torch.einsum("bkt,btc->bc", pooling.attention(bags), bags)
    elif name.startswith("feature_attention"):
        expected = torch.einsum("bct,btc->bc", pooling.weights(bags), pooling.value(bags))
        torch.testing.assert_close(pooling.attention(bags)[:, 0], pooling.weights(bags).mean(1))
    else:
        scores = bags[..., : pooling.n_features].sigmoid()
        expected = torch.einsum("bct,btc->bc", pooling.attention(bags), scores).logit()
    torch.testing.assert_close(pooling(bags), expected, rtol=1e-4, atol=1e-5)


ENDS = {
    "near 0": [-30.0, -31.0, -90.0, -32.5],
    "near 1": [30.0, 31.0, 90.0, 32.5],
    "both ends": [-200.0, 200.0, -0.5, 40.0],
    "one of many": [-60.0, -60.0, 25.0, -60.0],
    "ties": [0.0, 0.0, 0.0, 0.0],
    "out of range": [-150.0, -151.5, -150.5, -152.0],
}
"""Logits of four segments whose probabilities, or one minus them, single precision cannot hold."""


@pytest.mark.parametrize("case", ENDS)
@pytest.mark.parametrize("name", INSTANCE)
def test_scores_and_gradients_are_exact_near_0_and_1(name, case):
    plain, n_labels = name.split()[0], 1
    pooling = build(name, n_channels=n_labels * POOLINGS[plain].channels_per_label)
    scores = [0.5, -40.0, 3.0, -3.0]  # of the attention
    rows = [[logit, score][: pooling.n_channels] for logit, score in zip(ENDS[case], scores, strict=True)]
    bag = torch.tensor([rows], requires_grad=True)
    logit = pooling(bag)
    logit.sum().backward()
    with localcontext(prec=400):
        exact = [[Decimal(value) for value in row] for row in rows]
        expected = pooled_logit(pooling, plain, exact, 0)
        assert logit.item() == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
        if plain == "instance_max" and case == "ties":
            return  # the slope of a maximum at a tie is a choice
        step = Decimal(10) ** -100
        for t, row in enumerate(exact):
            for c in range(len(row)):
                moved = [[v + step * ((i, j) == (t, c)) for j, v in enumerate(each)] for i, each in enumerate(exact)]
                slope = (pooled_logit(pooling, plain, moved, 0) - expected) / step
                assert bag.grad[0, t, c].item() == pytest.approx(float(slope), rel=1e-4, abs=1e-6), (t, c)


def test_logarithms_of_noisy_or_are_exact_on_both_sides_of_their_series():
    values = torch.tensor([-300.0, -88.0, -20.0, -4.0, -2.001, -2.0, -1.999, -1.0, 0.0, 3.0, 25.0, 300.0])
    with localcontext(prec=400):
        softplus = [(1 + Decimal(v).exp()).ln().ln() for v in values.tolist()]
        torch.testing.assert_close(log_softplus(values), torch.tensor([float(v) for v in softplus]))
        sizes = torch.tensor([-300.0, -20.0, -2.0, -0.1, -0.001, 0.0, 0.001, 1.0, 4.0])
        expm1 = [(Decimal(v).exp().exp() - 1).ln() for v in sizes.tolist()]
        torch.testing.assert_close(log_expm1(sizes), torch.tensor([float(v) for v in expm1]))


def test_auto_pool_and_softmaxes_meet_where_the_papers_say():
    bags = segments()
    auto, mean, exp = (POOLINGS[name](N_CHANNELS) for name in ("auto_pool", "instance_mean", "exp_softmax"))
    torch.testing.assert_close(auto(bags), mean(bags))
    torch.nn.init.ones_(auto.exponent)
    torch.testing.assert_close(auto(bags), exp(bags))
    torch.nn.init.constant_(auto.exponent, 100.0)
    steps = torch.tensor([-2.0, 0.0, 2.0])[None, :, None].expand(1, 3, N_CHANNELS)
    torch.testing.assert_close(auto(steps), POOLINGS["instance_max"](N_CHANNELS)(steps))


def test_hierarchical_pooling_of_one_group_is_linear_softmax():
    pooling, bags = POOLINGS["hierarchical"](N_CHANNELS, group_size=20), segments()
    torch.testing.assert_close(pooling(bags), POOLINGS["linear_softmax"](N_CHANNELS)(bags))


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("log_sum_exp", {"sharpness": 0.0}, "sharpness: a number above 0 was expected, not 0.0"),
        ("gated_attention", {"attention_width": 0}, "attention_width: a positive whole number"),
        ("feature_attention", {"attention_function": "relu"}, "attention_function: one of sigmoid, softmax, exp"),
        ("decision_attention", {"attention_function": "relu"}, "attention_function: one of sigmoid, softmax, exp"),
        ("hierarchical", {"group_size": 1}, "group_size: a whole number of at least 2 was expected, not 1"),
        ("multi_level_attention", {"n_labels": 3, "n_levels": 3}, "n_levels: a divisor of the 16 channels"),
    ],
)
def test_invalid_settings_are_refused(name, settings, text, unchecked):
    with pytest.raises(ConfigError, match=text):
        POOLINGS[name](N_CHANNELS, **settings)


def test_decision_attention_needs_two_channels_a_label():
    with pytest.raises(ConfigError, match="two channels a label were expected, not 3"):
        POOLINGS["decision_attention"](3)


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
