"""Instance-level poolings: each segment is classified, and the scores of the segments are pooled for each label.

The segments are logits `z_t`, their scores the probabilities `p_t = sigmoid(z_t)`. The pooled score `p` is returned as
its logit, so that `sigmoid` gives the score.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.model.head_settings import AttentionFunction
from earmark.model.pooling.law import Attention, Clip, Level, Mask, Pooling, Segments, checked, segment_weights
from earmark.model.pooling.max_mean import MaxPooling
from earmark.model.pooling.odds import (
    Odds,
    log_attention,
    log_expm1,
    log_sigmoid,
    log_softplus,
    merge_odds,
    weighted_odds,
)


class InstanceMaxPooling(MaxPooling):
    """Maximum of the scores for each label: `p = max_t p_t`.

    The standard assumption of multiple instance learning; one of the five functions that Wang, Li & Metze, ICASSP 2019,
    "A Comparison of Five Multiple Instance Learning Pooling Functions for Sound Event Detection with Weak Labeling",
    compare.

    >>> InstanceMaxPooling(1)(torch.tensor([[[-2.0], [3.0]]]))
    tensor([[3.]])
    """

    level: ClassVar[Level] = "instance"


class WeightedScorePooling(Pooling[Odds]):
    """Weighted mean of the scores for each label, `p = sum_t w_t p_t / sum_t w_t`; a subclass gives the weights."""

    level: ClassVar[Level] = "instance"

    def log_weights(self, logits: Tensor) -> Tensor | None:
        """Logarithm of each weight, (batch, segment, label); None: all weigh the same."""
        raise TypeError(f"{type(self).__name__} does not define log_weights")

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Odds:
        segments, mask = checked(segments, mask, self.n_channels)
        return weighted_odds(segments, self.log_weights(segments), mask)

    def merge(self, left: Odds, right: Odds) -> Odds:
        return merge_odds(left, right)

    def finalize(self, state: Odds) -> Clip:
        return state.logit


class InstanceMeanPooling(WeightedScorePooling):
    """Mean of the scores for each label: `p = 1/N sum_t p_t`.

    How Gemmeke et al., ICASSP 2017, "Audio Set: An Ontology and Human-labeled Dataset for Audio Events", score a clip
    from its frames; average pooling in Wang, Li & Metze, ICASSP 2019.

    >>> InstanceMeanPooling(1)(torch.tensor([[[0.25], [0.75]]]).logit()).sigmoid()
    tensor([[0.5000]])
    """

    def log_weights(self, logits: Tensor) -> None:
        return None


class LinearSoftmaxPooling(WeightedScorePooling):
    """Linear softmax: mean of the scores, weighted by themselves, `p = sum_t p_t^2 / sum_t p_t`.

    Wang, Li & Metze, ICASSP 2019, Table 1.

    >>> LinearSoftmaxPooling(1)(torch.tensor([[[0.25], [0.75]]]).logit()).sigmoid()
    tensor([[0.6250]])
    """

    def log_weights(self, logits: Tensor) -> Tensor:
        return log_sigmoid(logits)


class ExpSoftmaxPooling(WeightedScorePooling):
    """Exponential softmax: `p = sum_t p_t exp(p_t) / sum_t exp(p_t)`.

    Wang, Li & Metze, ICASSP 2019, Table 1. The weights differ by a factor of e at most, so this is near the mean.

    >>> ExpSoftmaxPooling(1)(torch.tensor([[[0.0], [1.0]]]).logit(1e-7)).sigmoid()
    tensor([[0.7311]])
    """

    def log_weights(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


class AutoPooling(WeightedScorePooling):
    """Auto-pool: `p = sum_t p_t exp(a p_t) / sum_t exp(a p_t)` with one learned `a` for each label.

    McFee, Salamon & Bello, TASLP 2018, "Adaptive Pooling Operators for Weakly Labeled Sound Event Detection", eq. 5.
    The mean where `a` is 0, exponential softmax where it is 1, the maximum in the limit. `a` starts at 0, as in the
    authors' code; it is neither constrained nor regularised.

    >>> AutoPooling(1)(torch.tensor([[[0.25], [0.75]]]).logit()).sigmoid()
    tensor([[0.5000]], grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__(n_channels)
        self.exponent = nn.Parameter(torch.zeros(n_channels))

    def log_weights(self, logits: Tensor) -> Tensor:
        return self.exponent * logits.sigmoid()


class NoisyOrPooling(Pooling[Tensor]):
    """Noisy-or: a label is in the clip unless every segment misses it, `p = 1 - prod_t (1 - p_t)`.

    Maron & Lozano-Perez, NIPS 1998, "A Framework for Multiple-Instance Learning"; for sounds Wang & Metze, Interspeech
    2018, "Comparing the Max and Noisy-Or Pooling Functions in Multiple Instance Learning for Weakly Supervised Sequence
    Learning Tasks". The state is the logarithm of `-log(1 - p) = sum_t softplus(z_t)`.

    >>> NoisyOrPooling(1)(torch.tensor([[[0.5], [0.5]]]).logit()).sigmoid()
    tensor([[0.7500]])
    """

    level: ClassVar[Level] = "instance"

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Tensor:
        segments, mask = checked(segments, mask, self.n_channels)
        costs = log_softplus(segments)
        return (costs if mask is None else costs.masked_fill(~mask[..., None], -torch.inf)).logsumexp(1)

    def merge(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.logaddexp(left, right)

    def finalize(self, state: Tensor) -> Clip:
        return log_expm1(state)


class DecisionAttentionPooling(Pooling[Odds]):
    """Decision-level attention: mean of the scores with learned weights, one for each label and segment.

    Kong et al., ICASSP 2018, "Audio Set Classification with Attention Model: A Probabilistic Perspective":
    `p = sum_t w_t p_t` with `w_t = f(a_t) / sum_l f(a_l)` for a non-negative function `f` of a second output `a_t` of
    the classifier. So the classifier has two outputs a label: first `z_t` of all labels, then `a_t` of all labels.

    >>> logits = torch.tensor([[[0.25, 0.9], [0.75, 0.3]]]).logit()  # weights 0.9 and 0.3
    >>> DecisionAttentionPooling(2)(logits).sigmoid()
    tensor([[0.3750]])

    Args:
        n_channels: Two for each label.
        attention_function: `f`: the authors' code for this paper has a softmax over the labels, their later code a
            sigmoid; exp makes the weights a softmax over the segments.

    Raises:
        ConfigError: `n_channels` is odd, or there is no such function.
    """

    settings: ClassVar[tuple[str, ...]] = ("attention_function",)
    level: ClassVar[Level] = "instance"
    channels_per_label: ClassVar[int] = 2

    def __init__(self, n_channels: int, attention_function: AttentionFunction = "sigmoid") -> None:
        super().__init__(n_channels)
        if n_channels % 2:
            raise ConfigError(f"two channels a label were expected, not {n_channels} in all", "n_channels")
        log_attention(torch.zeros(1), attention_function)
        self.attention_function = attention_function
        self.n_features = n_channels // 2

    def attention(self, segments: Segments, mask: Mask | None = None) -> Attention:
        """Weights of the segments, one head a label.

        Raises:
            ConfigError: As for `summarize`.
        """

        def scores(bags: Tensor) -> Tensor:
            return log_attention(bags[..., self.n_features :], self.attention_function)

        return segment_weights(segments, mask, self.n_channels, scores)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Odds:
        segments, mask = checked(segments, mask, self.n_channels)
        logits, scores = segments[..., : self.n_features], segments[..., self.n_features :]
        return weighted_odds(logits, log_attention(scores, self.attention_function), mask)

    def merge(self, left: Odds, right: Odds) -> Odds:
        return merge_odds(left, right)

    def finalize(self, state: Odds) -> Clip:
        return state.logit
