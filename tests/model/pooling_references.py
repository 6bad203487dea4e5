"""Slow references of the poolings: loops over one clip, written from the papers' equations.

Those at the embedding level compute in float64. Those at the instance level compute with probabilities in 80 digits, so
that neither `p` nor `1 - p` loses a digit near 0 and 1.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext

import numpy as np
import torch

from earmark.model.pooling.means import SMALLEST
from earmark.model.pooling.moments import VARIANCE_FLOOR

DIGITS = 80


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def deviation(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(squares, VARIANCE_FLOOR))


def maximum(pooling, bag: np.ndarray) -> np.ndarray:
    return np.array([max(bag[t, c] for t in range(len(bag))) for c in range(bag.shape[1])])


def mean(pooling, bag: np.ndarray) -> np.ndarray:
    return np.array([sum(bag[t, c] for t in range(len(bag))) / len(bag) for c in range(bag.shape[1])])


def max_mean(pooling, bag: np.ndarray) -> np.ndarray:
    return maximum(pooling, bag) + mean(pooling, bag)


def stats(pooling, bag: np.ndarray) -> np.ndarray:
    center = mean(pooling, bag)
    return np.concatenate([center, deviation(sum((segment - center) ** 2 for segment in bag) / len(bag))])


def log_sum_exp(pooling, bag: np.ndarray) -> np.ndarray:
    r = pooling.sharpness
    largest = bag.max(0)
    return largest + np.log(sum(np.exp(r * (segment - largest)) for segment in bag) / len(bag)) / r


def power(pooling, bag: np.ndarray) -> np.ndarray:
    p = pooling.exponent.item()
    return (sum(np.maximum(segment, SMALLEST) ** p for segment in bag) / len(bag)) ** (1 / p)


def softmax(scores: Sequence[float]) -> list[float]:
    total = sum(np.exp(score - max(scores)) for score in scores)
    return [float(np.exp(score - max(scores)) / total) for score in scores]


def attention(pooling, bag: np.ndarray) -> np.ndarray:
    query = array(pooling.query)
    n_heads, width = query.shape
    parts = []
    for j in range(n_heads):
        head = bag[:, j * width : (j + 1) * width]
        weights = softmax([float(query[j] @ segment) for segment in head])
        center = sum(w * segment for w, segment in zip(weights, head, strict=True))
        parts.append(center)
        if pooling.deviation:
            parts.append(deviation(sum(w * (h - center) ** 2 for w, h in zip(weights, head, strict=True))))
    clip = np.concatenate(parts)
    if pooling.gate is None:
        return clip
    return sigmoid(array(pooling.gate.weight) @ clip + array(pooling.gate.bias)) * clip


def gated_attention(pooling, bag: np.ndarray) -> np.ndarray:
    v, u, w = (array(layer.weight) for layer in (pooling.tanh, pooling.sigmoid, pooling.query))
    weights = softmax([float((w @ (np.tanh(v @ segment) * sigmoid(u @ segment)))[0]) for segment in bag])
    return sum(a * segment for a, segment in zip(weights, bag, strict=True))


def layer(module: torch.nn.Linear, segment: np.ndarray) -> np.ndarray:
    return array(module.weight) @ segment + array(module.bias)


def feature_attention(pooling, bag: np.ndarray) -> np.ndarray:
    keys = [FUNCTIONS[pooling.attention_function](layer(pooling.key, segment)) for segment in bag]
    values = [layer(pooling.value, segment) for segment in bag]
    return sum(key * value for key, value in zip(keys, values, strict=True)) / sum(keys)


def multi_level_attention(pooling, bag: np.ndarray) -> np.ndarray:
    width = pooling.n_channels // pooling.n_levels
    scores = []
    for number, level in enumerate(pooling.levels):
        outputs = [layer(level, segment[number * width : (number + 1) * width]) for segment in bag]
        keys = [FUNCTIONS[pooling.attention_function](output[pooling.n_labels :]) for output in outputs]
        total = sum(key * sigmoid(output[: pooling.n_labels]) for key, output in zip(keys, outputs, strict=True))
        scores.append(total / sum(keys))
    return np.concatenate(scores)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "exp": np.exp,
    "softmax": lambda values: np.exp(values - values.max()) / np.exp(values - values.max()).sum(),
}
"""The non-negative functions that make attention weights."""

Scores = list[Decimal]


def probability(logit: float | Decimal) -> Decimal:
    return 1 / (1 + (-Decimal(logit)).exp())


def weighted(scores: Scores, weights: Scores) -> Decimal:
    return sum((w * p for w, p in zip(weights, scores, strict=True)), Decimal(0)) / sum(weights, Decimal(0))


def linear_softmax(scores: Scores) -> Decimal:
    return weighted(scores, scores)


def noisy_or(scores: Scores) -> Decimal:
    missed = Decimal(1)
    for p in scores:
        missed *= 1 - p
    return 1 - missed


def hierarchical(scores: Scores, size: int) -> Decimal:
    for _ in range(2):
        scores = [linear_softmax(scores[start : start + size]) for start in range(0, len(scores), size)]
    return linear_softmax(scores)


def decision_attention(pooling, bag: Sequence[Sequence[Decimal]], label: int) -> Decimal:
    n_labels = pooling.n_features
    weights = []
    for segment in bag:
        scores = segment[n_labels:]
        if pooling.attention_function == "softmax":
            weights.append(scores[label].exp() / sum(score.exp() for score in scores))
        else:
            weights.append(
                probability(scores[label]) if pooling.attention_function == "sigmoid" else scores[label].exp()
            )
    return weighted([probability(segment[label]) for segment in bag], weights)


def pooled_probability(pooling, name: str, bag: Sequence[Sequence[Decimal]], label: int) -> Decimal:
    """The pooled score of a label, from the logits of the segments."""
    if name == "decision_attention":
        return decision_attention(pooling, bag, label)
    scores = [probability(segment[label]) for segment in bag]
    if name == "instance_max":
        return max(scores)
    if name == "noisy_or":
        return noisy_or(scores)
    if name == "hierarchical":
        return hierarchical(scores, pooling.group_size)
    if name == "linear_softmax":
        return linear_softmax(scores)
    factor = {"instance_mean": 0.0, "exp_softmax": 1.0}.get(name)
    factor = pooling.exponent[label].item() if factor is None else factor
    return weighted(scores, [(Decimal(factor) * p).exp() for p in scores])


def pooled_logit(pooling, name: str, bag: Sequence[Sequence[Decimal]], label: int) -> Decimal:
    """Logit of the pooled score; call it with `DIGITS` digits."""
    p = pooled_probability(pooling, name, bag, label)
    return (p / (1 - p)).ln()


def instance(pooling, name: str, bag: np.ndarray) -> np.ndarray:
    with localcontext(prec=DIGITS):
        exact = [[Decimal(float(value)) for value in segment] for segment in bag]
        return np.array([float(pooled_logit(pooling, name, exact, label)) for label in range(pooling.n_features)])


EMBEDDING: dict[str, Callable[..., np.ndarray]] = {
    "max": maximum,
    "mean": mean,
    "max_mean": max_mean,
    "stats": stats,
    "log_sum_exp": log_sum_exp,
    "power": power,
    "gated_attention": gated_attention,
    "feature_attention": feature_attention,
    "multi_level_attention": multi_level_attention,
}


def reference(pooling, bag: np.ndarray, name: str) -> np.ndarray:
    """The pooled clip."""
    if pooling.level == "instance":
        return instance(pooling, name, bag)
    return EMBEDDING.get(name, attention)(pooling, bag.astype(np.float64))
