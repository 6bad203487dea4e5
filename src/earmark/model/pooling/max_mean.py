"""Poolings without parameters: the maximum, the mean, their sum, and the mean with the standard deviation."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from earmark.model.pooling.law import Clip, Mask, Pooling, Segments, checked
from earmark.model.pooling.moments import VARIANCE_FLOOR, Moments, merge_moments, weighted_moments


class MaxPooling(Pooling[Tensor]):
    """Maximum of each channel over the segments (eq. 2)."""

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Tensor:
        segments, mask = checked(segments, mask, self.n_channels)
        return (segments if mask is None else segments.masked_fill(~mask[..., None], -torch.inf)).amax(1)

    def merge(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.maximum(left, right)

    def finalize(self, state: Tensor) -> Clip:
        return state


class MeanPooling(Pooling[Moments]):
    """Mean of each channel over the segments (eq. 3)."""

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Moments:
        segments, mask = checked(segments, mask, self.n_channels)
        return weighted_moments(segments[:, :, None], segments.new_zeros(*segments.shape[:2], 1), mask)

    def merge(self, left: Moments, right: Moments) -> Moments:
        return merge_moments(left, right)

    def finalize(self, state: Moments) -> Clip:
        return state.mean.flatten(1)


class MaximumAndMoments(NamedTuple):
    """State of `MaxMeanPooling`."""

    maximum: Float[Tensor, "batch channel"]
    moments: Moments


class MaxMeanPooling(Pooling[MaximumAndMoments]):
    """Sum of max and mean pooling, as in the paper's reference [23]."""

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.max, self.mean = MaxPooling(n_channels), MeanPooling(n_channels)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> MaximumAndMoments:
        return MaximumAndMoments(self.max.summarize(segments, mask), self.mean.summarize(segments, mask))

    def merge(self, left: MaximumAndMoments, right: MaximumAndMoments) -> MaximumAndMoments:
        return MaximumAndMoments(
            self.max.merge(left.maximum, right.maximum), self.mean.merge(left.moments, right.moments)
        )

    def finalize(self, state: MaximumAndMoments) -> Clip:
        return self.max.finalize(state.maximum) + self.mean.finalize(state.moments)


class StatsPooling(MeanPooling):
    """Mean and standard deviation of each channel, all segments with the same weight: `[mean, std]`.

    Statistics pooling of x-vectors (Snyder et al., Interspeech 2017, "Deep Neural Network Embeddings for
    Text-Independent Speaker Verification"). It is attentive statistics (eq. 6 to 8) without the attention. The variance
    is floored at `VARIANCE_FLOOR`.

    >>> StatsPooling(1)(torch.tensor([[[1.0], [3.0]]]))
    tensor([[2., 1.]])
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.n_features = 2 * n_channels

    def finalize(self, state: Moments) -> Clip:
        return torch.cat([state.mean, state.variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=-1).flatten(1)
