"""The third stage: every pooling of the paper's Table 1 under one law.

`summarize(segments, mask) -> state`, `merge(left, right) -> state`, `finalize(state) -> clip`. Pooling a whole clip is
`finalize(summarize(...))`, and the state of two pieces merged is the state of the whole: chunked, streamed and sharded
results are the whole-clip result.
"""

from typing import Any, Final, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from earmark.errors import ConfigError

VARIANCE_FLOOR: Final = 1e-6
"""Smallest variance under the root of eq. 7 and 10, whose slope at 0 is infinite; a constant clip deviates by 0.001."""

State = TypeVar("State")
Mask = Bool[Tensor, "batch segment"]
Segments = Float[Tensor, "batch segment channel"]
Clip = Float[Tensor, "batch feature"]


class Moments(NamedTuple):
    """Weighted moments of some segments, per head."""

    log_weight: Float[Tensor, "batch head"]
    """Logarithm of the sum of the weights."""
    mean: Float[Tensor, "batch head channel"]
    variance: Float[Tensor, "batch head channel"]
    """Weighted mean of the squared deviations from `mean`."""


class PeakAndMoments(NamedTuple):
    peak: Float[Tensor, "batch channel"]
    moments: Moments


def _checked(segments: Segments, mask: Mask | None, n_channels: int) -> tuple[Tensor, Tensor | None]:
    """Segments in at least single precision, zero where masked; refuses what is no bag, or an empty one."""
    if segments.ndim != 3 or segments.shape[2] != n_channels or not segments.is_floating_point():
        raise ConfigError(
            f"segments: floats of shape (batch, segment, {n_channels} channels) were expected, not "
            f"{_described(segments)}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != segments.shape[:2]):
        raise ConfigError(
            f"mask: booleans of shape {tuple(segments.shape[:2])}, True for a real segment, were expected, not "
            f"{_described(mask)}"
        )
    # an exported graph can't refuse; who runs it looks at the mask before
    is_exported = torch.compiler.is_exporting()
    if segments.shape[1] == 0 or (mask is not None and not is_exported and not bool(mask.any(1).all())):
        raise ConfigError("a bag without segments cannot be pooled: every clip of the batch needs a real segment")
    if segments.dtype in (torch.float16, torch.bfloat16):
        segments = segments.float()
    # whatever lies in masked places, NaN included, must leave no trace
    return (segments if mask is None else segments.masked_fill(~mask[..., None], 0.0)), mask


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _moments(segments: Tensor, scores: Tensor, mask: Tensor | None) -> Moments:
    """Moments of (batch, segment, head, channel / head) under the weights exp(scores), (batch, segment, head)."""
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None], -torch.inf)
    weights = scores.softmax(1)[..., None]
    mean = (weights * segments).sum(1)
    # about the mean, not E[x^2] - E[x]^2: in float32 the latter loses everything under a large offset
    variance = (weights * (segments - mean[:, None]).square()).sum(1)
    return Moments(scores.logsumexp(1), mean, variance)


def _merge_moments(left: Moments, right: Moments) -> Moments:
    """Moments of the union of two sets of segments (Chan, Golub & LeVeque 1983, with weights)."""
    log_weight = torch.logaddexp(left.log_weight, right.log_weight)
    share_left = (left.log_weight - log_weight).exp()[..., None]
    share_right = (right.log_weight - log_weight).exp()[..., None]
    step = right.mean - left.mean
    variance = share_left * left.variance + share_right * right.variance + share_left * share_right * step.square()
    return Moments(log_weight, left.mean + share_right * step, variance)


class Pooling(nn.Module, Generic[State]):
    """Many segments to one clip. `n_features` is the width of the pooled clip."""

    n_features: int

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        if n_channels < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_channels}", "n_channels")
        self.n_channels = n_channels
        self.n_features = n_channels

    def summarize(self, segments: Segments, mask: Mask | None = None) -> State:
        """All that pooling needs to know of these segments.

        Args:
            segments: The instances of each bag.
            mask: True = a real segment; the others count as if they had never been there.

        Raises:
            ConfigError: Shapes or kinds of number are others, or a bag is empty; a ConfigError is a ValueError.
        """
        raise TypeError(f"{type(self).__name__} does not say how it summarizes")

    def merge(self, left: State, right: State) -> State:
        """The state of the segments of both."""
        raise TypeError(f"{type(self).__name__} does not say how it merges")

    def finalize(self, state: State) -> Clip:
        """The pooled clip."""
        raise TypeError(f"{type(self).__name__} does not say how it finalizes")

    def forward(self, segments: Segments, mask: Mask | None = None) -> Clip:
        """Pools whole clips: `finalize(summarize(segments, mask))`."""
        with torch.autocast(segments.device.type, enabled=False):
            return self.finalize(self.summarize(segments, mask))


class MaxPooling(Pooling[Tensor]):
    """The largest value of each channel (eq. 2)."""

    def __init__(self, n_channels: int, n_heads: int = 1) -> None:
        super().__init__(n_channels)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Tensor:
        segments, mask = _checked(segments, mask, self.n_channels)
        return (segments if mask is None else segments.masked_fill(~mask[..., None], -torch.inf)).amax(1)

    def merge(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.maximum(left, right)

    def finalize(self, state: Tensor) -> Clip:
        return state


class MeanPooling(Pooling[Moments]):
    """The mean over the segments (eq. 3)."""

    def __init__(self, n_channels: int, n_heads: int = 1) -> None:
        super().__init__(n_channels)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Moments:
        segments, mask = _checked(segments, mask, self.n_channels)
        return _moments(segments[:, :, None], segments.new_zeros(*segments.shape[:2], 1), mask)

    def merge(self, left: Moments, right: Moments) -> Moments:
        return _merge_moments(left, right)

    def finalize(self, state: Moments) -> Clip:
        return state.mean.flatten(1)


class MaxMeanPooling(Pooling[PeakAndMoments]):
    """The sum of max and mean pooling, as in the paper's reference [23]."""

    def __init__(self, n_channels: int, n_heads: int = 1) -> None:
        super().__init__(n_channels)
        self.max, self.mean = MaxPooling(n_channels), MeanPooling(n_channels)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> PeakAndMoments:
        return PeakAndMoments(self.max.summarize(segments, mask), self.mean.summarize(segments, mask))

    def merge(self, left: PeakAndMoments, right: PeakAndMoments) -> PeakAndMoments:
        return PeakAndMoments(self.max.merge(left.peak, right.peak), self.mean.merge(left.moments, right.moments))

    def finalize(self, state: PeakAndMoments) -> Clip:
        return self.max.finalize(state.peak) + self.mean.finalize(state.moments)


class GatedMultiHeadAttentionPooling(Pooling[Moments]):
    """GMAP: per head an attention-weighted mean and deviation, all heads through one gate (eq. 9 to 11).

    A segment `h_t` of `d` channels is cut into `k` heads `h_tj` of `d / k` channels. Head `j` weighs segment `t` by
    `w_tj = exp(v_j . h_tj) / sum_l exp(v_j . h_lj)` (eq. 9; the print's `h_t` in the sum is a slip), and gives
    `mean_j = sum_t w_tj h_tj`, `std_j = sqrt(sum_t w_tj (h_tj - mean_j)^2)` (eq. 10, written about the mean; the
    variance is floored at `VARIANCE_FLOOR`). With `c = [mean_1, std_1, ..., mean_k, std_k]` the clip is
    `sigmoid(W c + b) * c` (eq. 11).

    The paper's `v_j` are the rows of `query`, `W` and `b` are `gate`. One head without gate is the paper's
    single-head attention (eq. 5 to 8), that without deviation its vanilla attention (eq. 4).

    Args:
        n_channels: `d`.
        n_heads: `k`, a divisor of `n_channels`.
        gate: Whether eq. 11 is applied; without it the clip is `c`.
        deviation: Whether `std_j` is part of `c`.

    Raises:
        ConfigError: `n_heads` does not divide `n_channels`.
    """

    def __init__(self, n_channels: int, n_heads: int = 4, gate: bool = True, deviation: bool = True) -> None:
        super().__init__(n_channels)
        if n_heads < 1 or n_channels % n_heads:
            raise ConfigError(f"a divisor of the {n_channels} channels was expected, not {n_heads}", "n_heads")
        self.n_heads = n_heads
        self.deviation = deviation
        self.n_features = n_channels * (2 if deviation else 1)
        # small, so that attention starts out almost even and the data break the symmetry
        self.query = nn.Parameter(torch.randn(n_heads, n_channels // n_heads) * 0.02)
        self.gate = nn.Linear(self.n_features, self.n_features) if gate else None
        if self.gate is not None:
            nn.init.xavier_uniform_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def attention(self, segments: Segments, mask: Mask | None = None) -> Float[Tensor, "batch head segment"]:
        """How each head spreads its attention over the segments: sums to 1 over the real ones, 0 elsewhere (eq. 9).

        Raises:
            ConfigError: As for `summarize`.
        """
        with torch.autocast(segments.device.type, enabled=False):
            segments, mask = _checked(segments, mask, self.n_channels)
            scores = self._scores(self._split(segments))
            if mask is not None:
                scores = scores.masked_fill(~mask[..., None], -torch.inf)
            return scores.softmax(1).transpose(1, 2)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Moments:
        segments, mask = _checked(segments, mask, self.n_channels)
        heads = self._split(segments)
        return _moments(heads, self._scores(heads), mask)

    def merge(self, left: Moments, right: Moments) -> Moments:
        return _merge_moments(left, right)

    def finalize(self, state: Moments) -> Clip:
        clip = state.mean
        if self.deviation:
            clip = torch.cat([clip, state.variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=-1)
        clip = clip.flatten(1)  # (batch, head, 2 channel / head) -> (batch, feature)
        return clip if self.gate is None else torch.sigmoid(self.gate(clip)) * clip

    def _split(self, segments: Tensor) -> Tensor:
        """(batch, segment, channel) -> (batch, segment, head, channel / head)."""
        return segments.unflatten(2, (self.n_heads, -1))

    def _scores(self, heads: Tensor) -> Tensor:
        """`v_j . h_tj`, (batch, segment, head)."""
        return (heads * self.query.to(heads.dtype)).sum(-1)


class AttentionPooling(GatedMultiHeadAttentionPooling):
    """Vanilla attention: the mean under one softmax over the segments (eq. 4 with the weights of eq. 5)."""

    def __init__(self, n_channels: int, n_heads: int = 1) -> None:
        super().__init__(n_channels, n_heads=1, gate=False, deviation=False)


class AttentiveStatsPooling(GatedMultiHeadAttentionPooling):
    """Single-head attention: weighted mean and deviation side by side (eq. 5 to 8)."""

    def __init__(self, n_channels: int, n_heads: int = 1) -> None:
        super().__init__(n_channels, n_heads=1, gate=False, deviation=True)


POOLINGS: Final[dict[str, type[Pooling[Any]]]] = {
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": AttentionPooling,
    "attentive_stats": AttentiveStatsPooling,
    "gmap": GatedMultiHeadAttentionPooling,
}
"""Every pooling by its name: `POOLINGS[name](n_channels, n_heads=4)`; `n_heads` counts for `gmap` alone."""
