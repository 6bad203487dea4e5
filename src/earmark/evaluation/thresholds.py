"""Thresholds with the best F1, and their shrinkage."""

import numpy as np
from jaxtyping import Bool, Float64, Shaped

# float32 scores that were rounded to 0 or 1 are replaced by these
_LOWEST, _HIGHEST = float(np.finfo(np.float32).tiny), 1.0 - float(np.finfo(np.float32).epsneg)


def logits_of(scores: Shaped[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Logits of scores in single precision; those that were rounded to 0 or 1 are finite too."""
    clipped = np.clip(scores.astype(np.float64), _LOWEST, _HIGHEST)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(logits: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Scores of logits, in double precision."""
    scores: np.ndarray = np.exp(-np.logaddexp(0, -logits))  # does not overflow or lose small scores
    return scores


def best_threshold(
    target: Bool[np.ndarray, " pair"],
    scores: Float64[np.ndarray, " pair"],
    weight: Float64[np.ndarray, " pair"],
    near: float,
) -> float:
    """The threshold of best F1 among the midpoints of neighbouring scores, and of the lowest score and 0."""
    order = np.argsort(-scores)
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # of each run of equal scores
    chosen = np.cumsum(weight[order])[last]
    hits = np.cumsum((weight * target)[order])[last]
    f1 = 2 * hits / (chosen + weight[target].sum())
    midway = (ranked[last] + np.append(ranked[last[1:]], 0.0)) / 2
    # tolerance: sums in another order differ by rounding
    best = midway[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - near).argmin()])


def shrunk(own: float, pooled: float, weight: float) -> float:
    """Weighted mean of two thresholds in log-odds; `weight` is that of `own`."""
    if weight == 1:
        return own
    logits = logits_of(np.array([own, pooled]))
    return float(sigmoid(np.array([weight, 1 - weight]) @ logits[:, None])[0])
