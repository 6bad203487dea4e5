"""Attention whose weights come from layers of their own: gated attention and feature-level attention."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from earmark.errors import ConfigError
from earmark.model.head_settings import AttentionFunction
from earmark.model.pooling.law import Attention, Clip, Mask, Pooling, Segments, checked, segment_weights
from earmark.model.pooling.moments import WeightedMean, merge_means, weighted_mean
from earmark.model.pooling.odds import log_attention


class LayeredAttentionPooling(Pooling[WeightedMean]):
    """Weighted mean of values; a subclass computes values and scores, and the weights are `exp(score)`, normalised."""

    def scores(self, segments: Tensor) -> Tensor:
        """Logarithm of each weight before it is normalised, (batch, segment, head)."""
        raise TypeError(f"{type(self).__name__} does not define scores")

    def values(self, segments: Tensor) -> Tensor:
        """The averaged values, (batch, segment, head, channel / head)."""
        raise TypeError(f"{type(self).__name__} does not define values")

    def weights(self, segments: Segments, mask: Mask | None = None) -> Attention:
        """Weights of the segments, per head of `scores`.

        Raises:
            ConfigError: As for `summarize`.
        """
        return segment_weights(segments, mask, self.n_channels, self.scores)

    def summarize(self, segments: Segments, mask: Mask | None = None) -> WeightedMean:
        segments, mask = checked(segments, mask, self.n_channels)
        return weighted_mean(self.values(segments), self.scores(segments), mask)

    def merge(self, left: WeightedMean, right: WeightedMean) -> WeightedMean:
        return merge_means(left, right)

    def finalize(self, state: WeightedMean) -> Clip:
        return state.mean.flatten(1)


class GatedAttentionPooling(LayeredAttentionPooling):
    """Gated attention: weighted mean whose weights come from a tanh layer times a sigmoid layer.

    Ilse, Tomczak & Welling, ICML 2018, "Attention-based Deep Multiple Instance Learning": segment `t` has the weight
    `a_t = exp(s_t) / sum_l exp(s_l)` with `s_t = w . (tanh(V h_t) * sigmoid(U h_t))` (eq. 9), and the clip is
    `sum_t a_t h_t` (eq. 7). The layers `tanh`, `sigmoid` and `query` hold `V`, `U` and `w`; like the equation they have
    no bias.

    >>> GatedAttentionPooling(4)(torch.ones(1, 3, 4))
    tensor([[1., 1., 1., 1.]], grad_fn=<ViewBackward0>)

    Args:
        n_channels: Width of a segment.
        attention_width: Rows of `V` and `U`; 128 in the authors' code.

    Raises:
        ConfigError: `attention_width` is less than 1.
    """

    settings: ClassVar[tuple[str, ...]] = ("attention_width",)

    def __init__(self, n_channels: int, attention_width: int = 128) -> None:
        super().__init__(n_channels)
        if attention_width < 1:
            raise ConfigError(f"a positive whole number was expected, not {attention_width}", "attention_width")
        self.tanh = nn.Linear(n_channels, attention_width, bias=False)
        self.sigmoid = nn.Linear(n_channels, attention_width, bias=False)
        self.query = nn.Linear(attention_width, 1, bias=False)
        for layer in (self.tanh, self.sigmoid, self.query):
            nn.init.xavier_uniform_(layer.weight)

    def scores(self, segments: Tensor) -> Tensor:
        scores: Tensor = self.query(self.tanh(segments).tanh() * self.sigmoid(segments).sigmoid())
        return scores

    def values(self, segments: Tensor) -> Tensor:
        return segments[:, :, None]

    def attention(self, segments: Segments, mask: Mask | None = None) -> Attention:
        return self.weights(segments, mask)


class FeatureAttentionPooling(LayeredAttentionPooling):
    """Feature-level attention: every channel has a weight of its own for every segment.

    Kong et al., TASLP 2019, "Weakly Labelled AudioSet Tagging with Attention Neural Networks": the clip is
    `u = sum_t w_t * (V h_t + b)` per channel, with the weights `w_t = f(U h_t + c) / sum_l f(U h_l + c)` of a
    non-negative function `f`, the sigmoid in the authors' code. The layers `value` and `key` hold `V, b` and `U, c`.

    >>> FeatureAttentionPooling(4).attention(torch.ones(1, 2, 4))
    tensor([[[0.5000, 0.5000]]], grad_fn=<MeanBackward1>)

    Args:
        n_channels: Width of a segment.
        attention_function: `f`.

    Raises:
        ConfigError: There is no such function.
    """

    settings: ClassVar[tuple[str, ...]] = ("attention_function",)

    def __init__(self, n_channels: int, attention_function: AttentionFunction = "sigmoid") -> None:
        super().__init__(n_channels)
        self.attention_function = attention_function
        log_attention(torch.zeros(1), attention_function)
        self.value, self.key = nn.Linear(n_channels, n_channels), nn.Linear(n_channels, n_channels)
        for layer in (self.value, self.key):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def scores(self, segments: Tensor) -> Tensor:
        return log_attention(self.key(segments), self.attention_function)

    def values(self, segments: Tensor) -> Tensor:
        values: Tensor = self.value(segments)[..., None]
        return values

    def attention(self, segments: Segments, mask: Mask | None = None) -> Attention:
        """Mean of the weights over the channels, as one head; `weights` has those of each channel."""
        return self.weights(segments, mask).mean(1, keepdim=True)
