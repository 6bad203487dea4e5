"""Weighted means of probabilities as log-odds, exact also near 0 and 1.

A weighted mean of probabilities `p = sum_t w_t p_t`, where the weights sum to 1, has the odds
`sum_t w_t p_t / sum_t w_t (1 - p_t)`. Both sums have positive terms only, so their logarithms are computed without
cancellation, and their difference is the logit of `p`.
"""

from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from earmark.errors import ConfigError
from earmark.model.head_settings import AttentionFunction


class Odds(NamedTuple):
    """Weighted mean of probabilities over segments, as logarithms."""

    log_weight: Float[Tensor, "batch _"]
    """Logarithm of the sum of the weights, one for each label or one for all."""
    log_for: Float[Tensor, "batch label"]
    """Logarithm of the weighted mean of `p`."""
    log_against: Float[Tensor, "batch label"]
    """Logarithm of the weighted mean of `1 - p`."""

    @property
    def logit(self) -> Float[Tensor, "batch label"]:
        """Logit of the weighted mean."""
        return self.log_for - self.log_against


def weighted_odds(logits: Tensor, log_weights: Tensor | None, mask: Tensor | None) -> Odds:
    """Odds of the segments together.

    Args:
        logits: Logit of each probability, (batch, segment, label).
        log_weights: Logarithm of each weight, of the same shape; None: all weigh the same.
        mask: (batch, segment), True = a real segment.
    """
    if log_weights is None:
        log_weights = torch.zeros_like(logits[..., :1])
    if mask is not None:
        log_weights = log_weights.masked_fill(~mask[..., None], -torch.inf)
    shares = log_weights.log_softmax(1)
    log_for, log_against = (shares + log_sigmoid(each) for each in (logits, -logits))
    return Odds(log_weights.logsumexp(1), log_for.logsumexp(1), log_against.logsumexp(1))


def merge_odds(left: Odds, right: Odds) -> Odds:
    """Odds of two sets of segments together."""
    log_weight = torch.logaddexp(left.log_weight, right.log_weight)
    share_left, share_right = left.log_weight - log_weight, right.log_weight - log_weight
    return Odds(
        log_weight,
        torch.logaddexp(share_left + left.log_for, share_right + right.log_for),
        torch.logaddexp(share_left + left.log_against, share_right + right.log_against),
    )


def log_sigmoid(logits: Tensor) -> Tensor:
    """Logarithm of the sigmoid.

    Written as a softplus, which ONNX Runtime computes for all values; its sigmoid is constant below -18.
    """
    return -F.softplus(-logits)


def log_attention(scores: Tensor, function: AttentionFunction) -> Tensor:
    """Logarithm of the non-negative function that turns scores into weights; softmax is over the last axis.

    Raises:
        ConfigError: There is no such function.
    """
    if function == "sigmoid":
        return log_sigmoid(scores)
    if function == "softmax":
        return scores.log_softmax(-1)
    if function == "exp":
        return scores
    raise ConfigError(
        f"one of {', '.join(get_args(AttentionFunction))} was expected, not {function!r}", "attention_function"
    )


def log_softplus(logits: Tensor) -> Tensor:
    """Logarithm of `log(1 + exp(logit))`, exact also where the softplus is too small for a number."""
    low = logits.clamp(max=-2)
    small = low.exp()
    # log(log(1 + u) / u) as a series in u; its next term is 3e-7 at u = exp(-2)
    series = small * (-1 / 2 + small * (5 / 24 + small * (-1 / 8 + small * (251 / 2880 - small * 19 / 288))))
    return torch.where(logits < -2, low + series, F.softplus(logits.clamp(min=-2)).log())


def log_expm1(log_value: Tensor) -> Tensor:
    """Logarithm of `exp(value) - 1`, given the logarithm of a positive value, exact also where the value is tiny."""
    low = log_value.clamp(max=0)
    small = low.exp()
    square = small.square()
    # log(sinh(m / 2) / (m / 2)) + m / 2 as a series; its next term is 1e-7 at m = 1
    series = small / 2 + square * (1 / 24 + square * (-1 / 2880 + square / 181440))
    large = log_value.clamp(min=0).exp()
    return torch.where(log_value < 0, low + series, large + (1 - (-large).exp()).log())
