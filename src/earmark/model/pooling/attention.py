"""Attention pooling in general, and the paper's three settings of it: vanilla, attentive statistics, GMAP."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.model.pooling.law import Attention, Clip, Mask, Pooling, Segments, checked, segment_weights
from earmark.model.pooling.moments import VARIANCE_FLOOR, Moments, merge_moments, weighted_moments


class AttentionPooling(Pooling[Moments]):
    """Weighted mean of the segments per attention head, optionally with the deviation and a gate (eq. 4 to 11).

    A segment `h_t` of `d` channels is split into `k` heads `h_tj` of `d / k` channels. Head `j` weighs segment `t` by
    `w_tj = exp(v_j . h_tj) / sum_l exp(v_j . h_lj)` (eq. 9; eq. 5 for one head; the paper prints `h_t` in the sum, a
    typo). It computes `mean_j = sum_t w_tj h_tj` (eq. 10; eq. 4 and 6 for one head) and the deviation
    `std_j = sqrt(sum_t w_tj (h_tj - mean_j)^2)` (eq. 10; eq. 7 for one head; the variance is floored at
    `VARIANCE_FLOOR`). The heads are concatenated to `c = [mean_1, std_1, ..., mean_k, std_k]` (eq. 8 for one head).
    With a gate the clip is `sigmoid(W c + b) * c` (eq. 11), else `c`.

    The parameter `query` holds the paper's `v_j` in its rows, the layer `gate` holds `W` and `b`.

    Args:
        n_channels: `d`.
        n_heads: `k`, a divisor of `n_channels`.
        gate: Apply eq. 11.
        deviation: Put `std_j` into `c`.

    Raises:
        ConfigError: `n_heads` does not divide `n_channels`.
    """

    settings: ClassVar[tuple[str, ...]] = ("n_heads", "gate", "deviation")

    def __init__(self, n_channels: int, n_heads: int, gate: bool, deviation: bool) -> None:
        super().__init__(n_channels)
        if n_heads < 1 or n_channels % n_heads:
            raise ConfigError(f"a divisor of the {n_channels} channels was expected, not {n_heads}", "n_heads")
        self.n_heads = n_heads
        self.deviation = deviation
        self.n_features = n_channels * (2 if deviation else 1)
        # small random values: attention starts almost uniform, and the heads differ
        self.query = nn.Parameter(torch.randn(n_heads, n_channels // n_heads) * 0.02)
        self.gate = nn.Linear(self.n_features, self.n_features) if gate else None
        if self.gate is not None:
            nn.init.xavier_uniform_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def attention(self, segments: Segments, mask: Mask | None = None) -> Attention:
        """Weights `w_tj` of the segments (eq. 9): they sum to 1 per head over the real segments and are 0 elsewhere.

        Raises:
            ConfigError: As for `summarize`.
        """
        return segment_weights(segments, mask, self.n_channels, lambda bags: self._scores(self._split(bags)))

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Moments:
        segments, mask = checked(segments, mask, self.n_channels)
        heads = self._split(segments)
        return weighted_moments(heads, self._scores(heads), mask)

    def merge(self, left: Moments, right: Moments) -> Moments:
        return merge_moments(left, right)

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


class VanillaAttentionPooling(AttentionPooling):
    """Vanilla attention: the weighted mean alone, one head (eq. 4 with the weights of eq. 5)."""

    settings = ()

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, n_heads=1, gate=False, deviation=False)


class AttentiveStatsPooling(AttentionPooling):
    """Attentive statistics, the paper's single-head attention: weighted mean and deviation (eq. 5 to 8)."""

    settings = ()

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels, n_heads=1, gate=False, deviation=True)


class GatedMultiHeadAttentionPooling(AttentionPooling):
    """GMAP: several heads of attentive statistics and one gate over all of them (eq. 9 to 11)."""

    def __init__(self, n_channels: int, n_heads: int = 4, gate: bool = True, deviation: bool = True) -> None:
        super().__init__(n_channels, n_heads, gate, deviation)
