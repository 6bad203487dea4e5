"""Multi-level attention: decision-level attention on several layers of a perceptron."""

from typing import Any, ClassVar

import torch
from torch import nn

from earmark.errors import ConfigError
from earmark.model.head_settings import AttentionFunction
from earmark.model.pooling.law import Clip, Mask, Pooling, Segments, checked
from earmark.model.pooling.odds import Odds, log_attention, merge_odds, weighted_odds


class MultiLevelAttentionPooling(Pooling[Odds]):
    """Decision-level attention on each of several hidden layers; the clip is their scores side by side.

    Yu et al., DCASE 2018, "Multi-level Attention Model for Weakly Supervised Audio Classification". The segments are
    the outputs of the last `n_levels` layers of the perceptron before the pooling, side by side. Each has a layer of
    its own for logits and weights; its scores `sum_t w_t p_t` are those of `DecisionAttentionPooling`. In the paper the
    classifier after it is one linear layer over the scores of all levels.

    >>> MultiLevelAttentionPooling(8, n_labels=3, n_levels=2)(torch.zeros(1, 5, 8)).shape
    torch.Size([1, 6])

    Args:
        n_channels: Width of the layers together.
        n_labels: Scores of each level.
        n_levels: Number of layers, a divisor of `n_channels`.
        attention_function: Function that makes the weights.

    Raises:
        ConfigError: `n_levels` does not divide `n_channels`, or there is no such function.
    """

    settings: ClassVar[tuple[str, ...]] = ("n_levels", "attention_function")

    def __init__(
        self, n_channels: int, n_labels: int, n_levels: int = 1, attention_function: AttentionFunction = "sigmoid"
    ) -> None:
        super().__init__(n_channels)
        if n_levels < 1 or n_channels % n_levels:
            raise ConfigError(f"a divisor of the {n_channels} channels was expected, not {n_levels}", "n_levels")
        log_attention(torch.zeros(1), attention_function)
        self.n_labels, self.n_levels, self.attention_function = n_labels, n_levels, attention_function
        self.n_features = n_levels * n_labels
        self.levels = nn.ModuleList(nn.Linear(n_channels // n_levels, 2 * n_labels) for _ in range(n_levels))
        for level in self.levels:
            nn.init.xavier_uniform_(level.get_parameter("weight"))
            nn.init.zeros_(level.get_parameter("bias"))

    @classmethod
    def for_labels(cls, n_channels: int, n_labels: int, **settings: Any) -> "MultiLevelAttentionPooling":
        return cls(n_channels, n_labels, **settings)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> Odds:
        segments, mask = checked(segments, mask, self.n_channels)
        levels = zip(self.levels, segments.unflatten(2, (self.n_levels, -1)).unbind(2), strict=True)
        logits, scores = torch.stack([level(part) for level, part in levels], 2).split(self.n_labels, -1)
        log_weights = log_attention(scores, self.attention_function)
        return weighted_odds(logits.flatten(2), log_weights.flatten(2), mask)

    def merge(self, left: Odds, right: Odds) -> Odds:
        return merge_odds(left, right)

    def finalize(self, state: Odds) -> Clip:
        return state.logit.sigmoid()
