"""Ranking metrics per label (average precision, area under the ROC curve, d') and the bootstrap of the mAP.

At the score of each positive, all metrics need only the number of clips above it and level with it. One sort per label
and a binary search for its (few) positives give these counts, ties included.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from statistics import NormalDist
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Shaped

from earmark.errors import ConfigError, DataError
from earmark.parallel.processors import n_processors

_Array = np.ndarray[Any, np.dtype[Any]]
_Result = TypeVar("_Result")

# NumPy's sorts and gathers release the GIL; beyond a few threads memory is the limit
_N_THREADS = min(8, n_processors())
_LABELS_PER_TASK = 32
_RESAMPLES_PER_BLOCK = 64


def average_precision(
    target: Shaped[np.ndarray, "clip label"], scores: Shaped[np.ndarray, "clip label"]
) -> Float[np.ndarray, " label"]:
    """Average precision of each label: the mean, over its positives, of the precision at that positive's score.

    Equals scikit-learn's, with tied scores as one threshold, except that a label without positives gives nan (not 0).

    Args:
        target: 0 or 1 (or bool); nan where a label is unknown. Unknown pairs of clip and label do not count.
        scores: Logits or probabilities; only their order counts.

    Raises:
        DataError: The shapes differ, `target` holds values other than 0, 1 and nan, or `scores` holds nan.

    Example:
        >>> target = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
        >>> scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.4]])
        >>> average_precision(target, scores).round(4)
        array([0.8333,    nan])
    """
    return _label_values(_precision, target, scores)


def roc_auc(
    target: Shaped[np.ndarray, "clip label"], scores: Shaped[np.ndarray, "clip label"]
) -> Float[np.ndarray, " label"]:
    """Area under each label's ROC curve: the probability that a positive outranks a negative; ties count half.

    A label whose clips are all positive or all negative gives nan. Arguments and errors as in `average_precision`.

    Example:
        >>> roc_auc(np.array([[1], [0], [0], [1]]), np.array([[0.9], [0.1], [0.4], [0.4]]))
        array([0.875])
    """
    return _label_values(_area, target, scores)


def d_prime(auc: float) -> float:
    """Sensitivity index d' = sqrt(2) * ppf(AUC): distance of two unit normal score distributions with this AUC.

    An AUC of 1 gives inf, 0 gives -inf and nan gives nan. The literature reports the d' of the mean AUC.

    Raises:
        DataError: The AUC is outside 0 to 1.

    Example:
        >>> round(d_prime(0.9697), 3)
        2.654
    """
    if math.isnan(auc):
        return auc
    if not 0 <= auc <= 1:
        raise DataError(f"expected an AUC from 0 to 1, got {auc}")
    if auc in (0, 1):
        return math.inf if auc else -math.inf
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def label_mean(values: Float[np.ndarray, " label"]) -> float:
    """The mean over the labels that are not nan; nan if all are.

    Example:
        >>> label_mean(np.array([0.5, np.nan, 1.0]))
        0.75
    """
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")


def bootstrap_samples(
    target: Shaped[np.ndarray, "clip label"],
    scores: Shaped[np.ndarray, "clip label"],
    n_resamples: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, " resample"]:
    """The mAP on resamples of the clips, drawn with replacement.

    Resample i depends only on the seed, i and the number of clips. Two models scored on the same clips get the same
    resamples, so the difference of their samples is a paired bootstrap.

    Raises:
        DataError: As in `average_precision`.
        ConfigError: `n_resamples` is less than 1.
    """
    if n_resamples < 1:
        raise ConfigError(f"at least 1 was expected, not {n_resamples}", "n_resamples")
    positive, scores, known = _checked(target, scores)
    rankings = [ranking for ranking in _by_label(_Ranking.of, positive, scores, known) if ranking is not None]
    samples = np.full(n_resamples, np.nan)
    if not rankings:
        return samples
    with ThreadPoolExecutor(_N_THREADS) as pool:
        for first in range(0, n_resamples, _RESAMPLES_PER_BLOCK):
            block = range(first, min(first + _RESAMPLES_PER_BLOCK, n_resamples))
            weights = _multiplicities(len(positive), block, seed)
            values = pool.map(lambda ranking, weights=weights: _precision(*ranking.counts(weights)), rankings)
            samples[first : block.stop] = _column_means(np.stack(list(values)))[: len(block)]
    return samples


def bootstrap_interval(
    target: Shaped[np.ndarray, "clip label"],
    scores: Shaped[np.ndarray, "clip label"],
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % bootstrap interval of the mAP over the choice of clips.

    Resampling repeats positives, which raises the average precision of rare labels, so plain percentiles may exclude
    the measured value. The percentiles are therefore shifted until their median equals it.

    Raises:
        DataError: As in `average_precision`.
        ConfigError: `n_resamples` is less than 1.
    """
    samples = bootstrap_samples(target, scores, n_resamples, seed)
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return float("nan"), float("nan")
    measured = label_mean(average_precision(target, scores))
    low, high = np.quantile(samples, [(1 - 0.95) / 2, (1 + 0.95) / 2]) - np.median(samples) + measured
    return max(float(low), 0.0), min(float(high), 1.0)


def _checked(target: _Array, scores: _Array) -> tuple[_Array, _Array, _Array | None]:
    """The target as booleans, the scores as floats, and which labels are known; None if all are."""
    target, scores = np.asarray(target), np.asarray(scores)
    if target.ndim != 2 or target.shape != scores.shape:
        raise DataError(f"target {target.shape} and scores {scores.shape}: expected the same shape (clip, label)")
    known = None
    if np.issubdtype(target.dtype, np.floating) and (unknown := np.isnan(target)).any():
        target, known = np.where(unknown, 0, target), ~unknown
    positive = target.astype(bool, copy=False)
    if target.dtype != bool and not np.array_equal(target[positive], np.ones(np.count_nonzero(positive))):
        raise DataError("target holds values other than 0 and 1; threshold soft labels first")
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise DataError("scores hold nan, which cannot be ranked; the model may have diverged")
    return positive, scores, known


def _by_label(
    function: Callable[[_Array, _Array, _Array | None], _Result],
    positive: _Array,
    scores: _Array,
    known: _Array | None,
) -> list[_Result]:
    """Applies `function(positive, scores, known)` to each label's contiguous column, in threads."""

    def chunk(first: int) -> list[_Result]:
        columns = slice(first, first + _LABELS_PER_TASK)
        mask = repeat(None) if known is None else known[:, columns].T.copy()
        rows = zip(positive[:, columns].T.copy(), scores[:, columns].T.copy(), mask, strict=False)
        return [function(*row) for row in rows]

    with ThreadPoolExecutor(_N_THREADS) as pool:
        chunks = pool.map(chunk, range(0, scores.shape[1], _LABELS_PER_TASK))
        return [result for results in chunks for result in results]


def _label_values(curve: Callable[[_Array, _Array, _Array, int], _Array], target: _Array, scores: _Array) -> _Array:
    def value(positive: _Array, own: _Array, known: _Array | None) -> float:
        if known is not None:
            positive, own = positive[known], own[known]
        if not positive.any():
            return math.nan
        return float(curve(*_thresholds(np.sort(own), own[positive]), len(own)))

    return np.array(_by_label(value, *_checked(target, scores)), np.float64)


def _thresholds(rising: _Array, positives: _Array) -> tuple[_Array, _Array, _Array]:
    """For each distinct score of the positives, falling: positives there, clips at or above, clips above."""
    values, n_found = np.unique(positives, return_counts=True)
    at_least = len(rising) - np.searchsorted(rising, values, side="left")
    above = len(rising) - np.searchsorted(rising, values, side="right")
    return n_found[::-1], at_least[::-1], above[::-1]


def _precision(found: _Array, at_least: _Array, *_: Any) -> _Array:
    """Average precision from the weights (..., threshold) of positives at, and clips at or above, a threshold."""
    with np.errstate(invalid="ignore"):  # without positives, 0 / 0 gives the intended nan
        hits = np.cumsum(found, axis=-1, dtype=np.float64)
        # a threshold that no clip of a resample reaches has weight 0, whatever its precision
        return np.asarray((found * hits / np.maximum(at_least, 1)).sum(axis=-1) / hits[..., -1])


def _area(found: _Array, at_least: _Array, above: _Array, n_clips: int) -> _Array:
    """Area under the ROC curve from the negatives below each positive; those level with it count half."""
    hits = np.cumsum(found, dtype=np.float64)
    n_positive = hits[-1]
    n_negative = n_clips - n_positive
    beaten = n_negative - (above - (hits - found) + at_least - hits) / 2
    with np.errstate(invalid="ignore"):  # without negatives, 0 / 0 gives the intended nan
        return np.asarray((found * beaten).sum() / (n_positive * n_negative))


def _column_means(values: _Array) -> _Array:
    """The mean of each column, nan excluded; nan if the column has no value."""
    present = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, values, 0).sum(axis=0) / present.sum(axis=0))


@dataclass(frozen=True)
class _Ranking:
    """Clips of one label by falling score, sorted once for all resamples."""

    n_clips: int
    order: _Array
    """Clips by falling score, down to the last positive; those below it do not count."""
    positives: _Array
    """Positive clips by falling score."""
    starts: _Array
    """Index in `positives` at which each threshold begins."""
    edges: _Array
    """Position in `order` at which the clips at each threshold begin."""

    @classmethod
    def of(cls, positive: _Array, scores: _Array, known: _Array | None) -> "_Ranking | None":
        """The ranking of one label; None without positives."""
        if not positive.any():
            return None
        order = np.argsort(scores)[::-1]
        if known is not None:
            order = order[known[order]]
        found, at_least, _ = _thresholds(scores[order][::-1], scores[positive])
        return cls(
            n_clips=len(scores),
            order=order[: at_least[-1]].astype(np.int32),  # half the memory: 527 labels are kept
            positives=order[positive[order]],
            starts=np.cumsum(found) - found,
            edges=np.append(0, at_least[:-1]),
        )

    def counts(self, weights: _Array) -> tuple[_Array, _Array]:
        """Positives at, and clips at or above, each threshold, as (resample, threshold) arrays."""
        order = self.order.astype(np.intp)
        found = np.stack([np.add.reduceat(pack[self.positives], self.starts) for pack in weights])
        # one at a time, to stay in the processor's cache
        between = np.stack([np.add.reduceat(np.take(pack, order, mode="clip"), self.edges) for pack in weights])
        return self._unpack(found), self._unpack(np.cumsum(between, axis=1))

    def _unpack(self, packs: _Array) -> _Array:
        lanes = packs.view(_lane(self.n_clips)).reshape(*packs.shape, -1)
        return lanes.transpose(0, 2, 1).reshape(-1, packs.shape[1])


def _lane(n_clips: int) -> type[np.uint16] | type[np.uint32]:
    """The narrowest type that can count all clips of a resample."""
    return np.uint16 if n_clips <= np.iinfo(np.uint16).max else np.uint32


def _multiplicities(n_clips: int, resamples: range, seed: int) -> _Array:
    """Number of draws of each clip in each resample, as (pack, clip) uint64; an integer packs 4 (or 2) resamples.

    The draws of a resample sum to `n_clips`, so its lane of 16 (32) bits never carries into the next. One gather and
    one running sum of the integers therefore process 4 (2) resamples at once.
    """
    lane = _lane(n_clips)
    n_lanes = 8 // np.dtype(lane).itemsize
    drawn = np.zeros((-(-len(resamples) // n_lanes), n_clips, n_lanes), lane)
    for position, index in enumerate(resamples):
        clips = np.random.default_rng((seed, index)).integers(n_clips, size=n_clips)
        drawn[position // n_lanes, :, position % n_lanes] = np.bincount(clips, minlength=n_clips)
    return drawn.view(np.uint64)[..., 0]
