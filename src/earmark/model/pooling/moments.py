"""Weighted means and variances of segments, and how to merge those of two pieces."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

VARIANCE_FLOOR: Final = 1e-6
"""Minimum variance in eq. 7 and 10: a square root has an infinite slope at 0. A constant clip deviates by 0.001."""


class Moments(NamedTuple):
    """Weighted moments of segments, per attention head."""

    log_weight: Float[Tensor, "batch head"]
    """Logarithm of the sum of the weights."""
    mean: Float[Tensor, "batch head channel"]
    variance: Float[Tensor, "batch head channel"]
    """Weighted mean of the squared deviations from `mean`."""


def weighted_moments(segments: Tensor, scores: Tensor, mask: Tensor | None) -> Moments:
    """Moments of the segments under the weights exp(scores).

    Args:
        segments: (batch, segment, head, channel / head).
        scores: (batch, segment, head).
        mask: (batch, segment), True = a real segment.
    """
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None], -torch.inf)
    weights = scores.softmax(1)[..., None]
    mean = (weights * segments).sum(1)
    # squared deviations from the mean, not E[x^2] - E[x]^2, which cancels in float32 under a large offset
    variance = (weights * (segments - mean[:, None]).square()).sum(1)
    return Moments(scores.logsumexp(1), mean, variance)


def merge_moments(left: Moments, right: Moments) -> Moments:
    """Moments of two sets of segments together (Chan, Golub & LeVeque 1983, with weights)."""
    log_weight = torch.logaddexp(left.log_weight, right.log_weight)
    share_left = (left.log_weight - log_weight).exp()[..., None]
    share_right = (right.log_weight - log_weight).exp()[..., None]
    step = right.mean - left.mean
    variance = share_left * left.variance + share_right * right.variance + share_left * share_right * step.square()
    return Moments(log_weight, left.mean + share_right * step, variance)


class WeightedMean(NamedTuple):
    """Weighted mean of segments, per attention head."""

    log_weight: Float[Tensor, "batch head"]
    """Logarithm of the sum of the weights."""
    mean: Float[Tensor, "batch head channel"]


def weighted_mean(segments: Tensor, scores: Tensor, mask: Tensor | None) -> WeightedMean:
    """Mean of the segments under the weights exp(scores).

    Args:
        segments: (batch, segment, head, channel / head).
        scores: (batch, segment, head).
        mask: (batch, segment), True = a real segment.
    """
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None], -torch.inf)
    return WeightedMean(scores.logsumexp(1), (scores.softmax(1)[..., None] * segments).sum(1))


def merge_means(left: WeightedMean, right: WeightedMean) -> WeightedMean:
    """Mean of two sets of segments together."""
    log_weight = torch.logaddexp(left.log_weight, right.log_weight)
    share_right = (right.log_weight - log_weight).exp()[..., None]
    return WeightedMean(log_weight, left.mean + share_right * (right.mean - left.mean))
