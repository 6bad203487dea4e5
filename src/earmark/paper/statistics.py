"""Is one pooling better than another? A paired bootstrap over test clips and over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Shaped

from earmark.errors import DataError
from earmark.metrics import average_precision, bootstrap_samples, label_mean

N_RESAMPLES: Final = 2000


@dataclass(frozen=True, eq=False)
class ResampledRuns:
    """The mAP of a cell's runs, on the test clips as they are and on resamples of them."""

    measured: Float[np.ndarray, " run"]
    resampled: Float[np.ndarray, "run resample"]


@dataclass(frozen=True)
class Comparison:
    """How much higher one cell's mean mAP is than another's."""

    difference: float
    interval: tuple[float, float]
    """Of 95 %."""
    p: float
    """Two-sided, of no difference."""
    n_seeds: int
    """Pairs of runs of one seed."""

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

    Two calls see the same resamples if their generators were made of the same seed, and then may be compared.

    Raises:
        DataError: As in `metrics.average_precision`; or there is no run.
    """
    if not scores:
        raise DataError("the scores of at least one run were expected, none came")
    seed = int(generator.integers(2**63))
    return ResampledRuns(
        np.array([label_mean(average_precision(target, one)) for one in scores]),
        np.stack([bootstrap_samples(target, one, n_resamples=n_resamples, seed=seed) for one in scores]),
    )


def compare(ours: ResampledRuns, theirs: ResampledRuns, generator: np.random.Generator) -> Comparison:
    """The mean of ours minus that of theirs, as it varies with test clips and seeds.

    Run i of both shares its seed, and with it weights of the backbone and order of the clips: the pairs are resampled.
    In each resample both see the same clips, so that what makes clips hard for all cancels. Clips and seeds are
    crossed, and resampled independently (Owen 2007, "The pigeonhole bootstrap").

    Args:
        ours: Runs of one cell.
        theirs: Runs of another, of the same seeds in the same order, resampled with a generator of the same seed.
        generator: Draws the seeds.

    Raises:
        DataError: The runs are not pairs.
    """
    if ours.resampled.shape != theirs.resampled.shape:
        raise DataError(
            f"runs in pairs on the same resamples were expected, not arrays of {ours.resampled.shape} and "
            f"{theirs.resampled.shape}"
        )
    n_seeds, n_resamples = ours.resampled.shape
    by_seed = ours.resampled - theirs.resampled
    drawn = generator.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples).T / n_seeds
    # drawing n of n seeds shows only (n - 1) / n of their variance, which matters where n is 3
    wider = math.sqrt(n_seeds / (n_seeds - 1)) if n_seeds > 1 else 0.0
    weights = 1 / n_seeds + wider * (drawn - 1 / n_seeds)
    samples = (weights * by_seed).sum(axis=0)
    samples = samples[~np.isnan(samples)]
    difference = float((ours.measured - theirs.measured).mean())
    # resampling repeats positives, which moves the average precision: the median goes back to what was measured
    samples += difference - np.median(samples)
    low, high = np.quantile(samples, [0.025, 0.975])
    # of 2000 resamples without one on the other side of 0 nobody knows more than p < 1/1000; hence the 1
    tail = 1 + min(np.count_nonzero(samples <= 0), np.count_nonzero(samples >= 0))
    return Comparison(difference, (float(low), float(high)), min(1.0, float(2 * tail / (len(samples) + 1))), n_seeds)
