"""Comparisons with known answers, and how often their intervals hold what they should."""

import numpy as np
import pytest

from earmark.errors import DataError
from earmark.paper.statistics import Comparison, ResampledRuns, compare, resample_clips

TARGET = np.random.default_rng(0).random((150, 4)) < 0.3


def scores(quality, seed):
    return quality * TARGET + np.random.default_rng(seed).standard_normal(TARGET.shape)


def resampled(*runs, n_resamples=400):
    return resample_clips(TARGET, runs, np.random.default_rng(7), n_resamples)


def compared(ours, theirs):
    return compare(ours, theirs, np.random.default_rng(7))


def test_the_same_scores_differ_in_nothing():
    runs = resampled(scores(1, 1), scores(1, 2))
    assert compared(runs, runs) == Comparison(0.0, (0.0, 0.0), 1.0, 2)


def test_clearly_better_is_clear():
    better, worse = resampled(scores(3, 1), scores(3, 2)), resampled(scores(1, 3), scores(1, 4))
    found = compared(better, worse)
    assert found.p < 0.01
    assert found.is_clear and found.interval[0] > 0.1
    assert found.difference == pytest.approx(better.measured.mean() - worse.measured.mean())
    turned = compared(worse, better)
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.is_clear and turned.p < 0.01


def test_equally_good_is_not_clear():
    found = compared(resampled(*(scores(1, s) for s in (1, 2, 3))), resampled(*(scores(1, s) for s in (4, 5, 6))))
    assert not found.is_clear and found.p > 0.05


def test_what_both_share_cancels():
    # clips that are hard for all: the difference of two paired runs is far more certain than either
    noise = np.random.default_rng(5).standard_normal(TARGET.shape)
    ours, theirs = (resampled(TARGET * quality + noise) for quality in (1.5, 1.2))
    low, high = compared(ours, theirs).interval
    spread = np.quantile(ours.resampled, 0.975) - np.quantile(ours.resampled, 0.025)
    assert high - low < spread / 2


def test_two_seeds_that_alone_differ():
    # differences 0 and 0.2: the mean of two drawn with replacement is at an end in half of the cases, and what lies
    # between is widened by sqrt(2) for the variance that two of two do not show
    flat = np.ones((2, 2000)) * np.array([[0.5], [0.7]])
    ours, theirs = ResampledRuns(flat[:, 0], flat), ResampledRuns(flat[:, 0] * 0 + 0.5, flat * 0 + 0.5)
    found = compared(ours, theirs)
    assert found.difference == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1 - np.sqrt(2) / 10, 0.1 + np.sqrt(2) / 10))


def test_one_seed_leaves_the_clips():
    found = compared(resampled(scores(3, 1)), resampled(scores(1, 3)))
    assert found.n_seeds == 1 and found.is_clear


@pytest.mark.parametrize(("n_seeds", "lowest"), [(3, 0.78), (12, 0.88)])
def test_the_interval_covers_the_truth(n_seeds, lowest):
    rng = np.random.default_rng(n_seeds)

    def simulated(clip_noise):
        measured = 0.5 + 0.02 * rng.standard_normal(n_seeds) + clip_noise[0]
        return ResampledRuns(measured, measured[:, None] + clip_noise[1:])

    def trial():
        # clips move all runs of a cell alike, as resampling them does
        ours, theirs = (simulated(0.01 * rng.standard_normal(301)) for _ in range(2))
        return compare(ours, theirs, rng)

    covered = np.mean([not trial().is_clear for _ in range(200)])
    assert lowest <= covered <= 0.99


def test_p_and_interval_agree():
    for seed in range(20):
        found = compared(
            resampled(scores(1.2, seed), n_resamples=200), resampled(scores(1, seed + 50), n_resamples=200)
        )
        if abs(found.p - 0.05) > 0.02:
            assert found.is_clear == (found.p < 0.05)


def test_runs_that_are_no_pairs_are_told():
    one, two = resampled(scores(1, 1)), resampled(scores(1, 1), scores(1, 2))
    with pytest.raises(DataError, match="runs in pairs on the same resamples were expected"):
        compared(one, two)
    with pytest.raises(DataError, match="at least one run"):
        resampled()
