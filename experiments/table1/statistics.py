"""Paired t test between poolings, with the variance over test clips plus the variance over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Shaped

from earmark.errors import DataError
from earmark.evaluation.metrics import average_precision, bootstrap_samples, label_mean

N_RESAMPLES: Final = 2000
_LEVEL: Final = 0.95
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


@dataclass(frozen=True, eq=False)
class ResampledRuns:
    """mAP of a cell's runs on the test clips and on resamples of them."""

    measured: Float[np.ndarray, " run"]
    resampled: Float[np.ndarray, "run resample"]


@dataclass(frozen=True)
class Comparison:
    """Difference between the mean mAP of two cells."""

    difference: float
    interval: tuple[float, float]
    """95 % confidence interval."""
    p: float
    """Two-sided p value for no difference."""
    n_seeds: int
    """Number of pairs; for a single pair interval and p cover the test clips only."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.interval[0] <= 0 <= self.interval[1]


def resample_clips(
    target: Bool[np.ndarray, "clip label"],
    scores: Sequence[Shaped[np.ndarray, "clip label"]],
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> ResampledRuns:
    """The mAP of each run on the same resamples of the clips.

    Two calls with generators of the same seed use the same resamples, and can be compared.

    Raises:
        DataError: As for `metrics.average_precision`; or there is no run.
    """
    if not scores:
        raise DataError("the scores of at least one run were expected, none came")
    seed = int(generator.integers(2**63))
    return ResampledRuns(
        np.array([label_mean(average_precision(target, one)) for one in scores]),
        np.stack([bootstrap_samples(target, one, n_resamples=n_resamples, seed=seed) for one in scores]),
    )


def compare(ours: ResampledRuns, theirs: ResampledRuns) -> Comparison:
    """The mean of ours minus that of theirs, with its uncertainty over test clips and seeds.

    Run i of both has the same seed, hence the same initial backbone and order of the clips. Each resample has the same
    clips for both, so that the difficulty of the clips cancels. Clips and seeds are crossed; their variances add up,
    with the degrees of freedom of Satterthwaite (1946). Both have the same seeds in the same order, and were resampled
    with generators of the same seed.

    Raises:
        DataError: The runs are not paired, or no label of the clips has positives.
    """
    if ours.resampled.shape != theirs.resampled.shape:
        raise DataError(
            f"runs in pairs on the same resamples were expected, not arrays of {ours.resampled.shape} and "
            f"{theirs.resampled.shape}"
        )
    measured, resampled = ours.measured - theirs.measured, ours.resampled - theirs.resampled
    resampled = resampled[:, ~np.isnan(resampled).any(axis=0)]
    if np.isnan(measured).any() or resampled.shape[1] < 2:
        raise DataError("runs with a mAP were expected, on two resamples or more; do the test clips have labels?")
    difference, n_seeds = float(measured.mean()), len(measured)
    error, freedom = _error(measured, resampled)
    half = t_quantile(_LEVEL, freedom) * error
    if error == 0:
        return Comparison(difference, (difference, difference), float(difference == 0), n_seeds)
    p = t_tails(abs(difference) / error, freedom)
    return Comparison(difference, (difference - half, difference + half), p, n_seeds)


def _error(measured: Float[np.ndarray, " run"], resampled: Float[np.ndarray, "run resample"]) -> tuple[float, float]:
    """Standard error of the mean over runs, and its degrees of freedom."""
    n_runs, n_resamples = resampled.shape
    of_clips = float(resampled.mean(axis=0).var(ddof=1))
    if n_runs == 1:
        return math.sqrt(of_clips), float(n_resamples - 1)
    over_seeds = float(measured.var(ddof=1)) / n_runs
    # the clips affect each run a little differently: both variances contain that part, and the sum must contain it once
    moved = resampled - resampled.mean(axis=1, keepdims=True)
    in_both = float(moved.var(axis=0, ddof=1).mean()) / n_runs
    variance = of_clips + max(0.0, over_seeds - in_both)
    # the seeds' part is as uncertain as the total that it was estimated from
    doubt = over_seeds**2 / (n_runs - 1) + of_clips**2 / (n_resamples - 1)
    freedom = variance**2 / doubt if doubt > 0 else 0.0
    return math.sqrt(variance), max(freedom, n_runs - 1.0)


def t_tails(t: float, freedom: float) -> float:
    """Probability of a value beyond t on either side in Student's distribution.

    >>> round(t_tails(4.3027, 2.0), 4)
    0.05
    """
    # with t = sqrt(freedom) tan(angle) the density is a power of the cosine
    start = math.atan(t / math.sqrt(freedom))
    # with many degrees of freedom the density is concentrated near 0, where few nodes would miss it
    end = min(math.pi / 2, start + 40 / math.sqrt(freedom))
    angles = start + (end - start) * (_NODES + 1) / 2
    area = (end - start) / 2 * float((_WEIGHTS * np.cos(angles) ** (freedom - 1)).sum())
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    return min(1.0, 2 / math.sqrt(math.pi) * math.exp(log_scale) * area)


def t_quantile(level: float, freedom: float) -> float:
    """The t for which -t to t contains this share of Student's distribution.

    >>> round(t_quantile(0.95, 2.0), 4)
    4.3027
    """
    low, high = 0.0, 1.0
    while t_tails(high, freedom) > 1 - level:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tails(middle, freedom) > 1 - level else (low, middle)
    return high
