"""Comparisons with known answers, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy import stats

from earmark.errors import DataError
from experiments.table1.statistics import Comparison, ResampledRuns, compare, resample_clips, t_quantile, t_tails

TARGET = np.random.default_rng(0).random((150, 4)) < 0.3


def scores(quality, seed):
    return quality * TARGET + np.random.default_rng(seed).standard_normal(TARGET.shape)


def resampled(*runs, n_resamples=400):
    return resample_clips(TARGET, runs, np.random.default_rng(7), n_resamples)


def resampled_zeros(n_seeds, n_resamples):
    return ResampledRuns(np.zeros(n_seeds), np.zeros((n_seeds, n_resamples)))


def test_the_same_scores_differ_in_nothing():
    runs = resampled(scores(1, 1), scores(1, 2))
    assert compare(runs, runs) == Comparison(0.0, (0.0, 0.0), 1.0, 2)


def test_clearly_better_is_clear():
    better, worse = (resampled(*(scores(q, q + s) for s in (1, 3, 5))) for q in (3, 1))
    found = compare(better, worse)
    assert found.p < 0.01
    assert found.is_clear and found.interval[0] > 0.1
    assert found.difference == pytest.approx(better.measured.mean() - worse.measured.mean())
    turned = compare(worse, better)
    assert turned.difference == pytest.approx(-found.difference)
    assert turned.is_clear and turned.p < 0.01


def test_equally_good_is_not_clear():
    found = compare(resampled(*(scores(1, s) for s in (1, 2, 3))), resampled(*(scores(1, s) for s in (4, 5, 6))))
    assert not found.is_clear and found.p > 0.05


def test_shared_variation_cancels():
    # clips that are hard for all: the difference of two paired runs is far more certain than either
    noise = np.random.default_rng(5).standard_normal(TARGET.shape)
    ours, theirs = (resampled(TARGET * quality + noise) for quality in (1.5, 1.2))
    low, high = compare(ours, theirs).interval
    spread = np.quantile(ours.resampled, 0.975) - np.quantile(ours.resampled, 0.025)
    assert high - low < spread / 2


def test_seeds_that_alone_differ_are_a_paired_t_test():
    differences = np.array([0.1, 0.3, 0.2])
    ours = ResampledRuns(0.5 + differences, np.repeat(0.5 + differences[:, None], 50, axis=1))
    theirs = ResampledRuns(np.full(3, 0.5), np.full((3, 50), 0.5))
    found = compare(ours, theirs)
    expected = stats.ttest_1samp(differences, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_with_one_seed_only_the_clips_vary():
    found = compare(resampled(scores(3, 1)), resampled(scores(1, 3)))
    assert found.n_seeds == 1 and found.is_clear


@pytest.mark.parametrize(
    ("of_seeds", "of_clips", "of_both"),
    [(1, 0.05, 0.05), (1.7, 1, 0), (1, 1, 1), (0.05, 1, 0.1), (0, 0.3, 1)],
    ids=["seeds", "mixed", "mixed, each run its own clips", "clips", "clips, each run its own"],
)
def test_of_equal_poolings_few_are_found_different(of_seeds, of_clips, of_both):
    rng, n_seeds, n_trials = np.random.default_rng(3), 3, 300

    def trial():
        # the first column is what was measured: seeds, clips that move all runs alike, clips that move each its own way
        moved = of_clips * rng.standard_normal((1, 201)) + of_both * rng.standard_normal((n_seeds, 201))
        measured = of_seeds * rng.standard_normal(n_seeds) + moved[:, 0]
        ours = ResampledRuns(measured, measured[:, None] + moved[:, 1:])
        return compare(ours, resampled_zeros(n_seeds, 200))

    found = [trial() for _ in range(n_trials)]
    assert 0.90 <= np.mean([not one.is_clear for one in found]) <= 0.995
    p = np.array([one.p for one in found])
    assert np.mean(p < 0.05) <= 0.10 and np.mean(p < 0.01) <= 0.03 and np.mean(p < 0.001) <= 0.01
    assert 0.3 <= np.mean(p < 0.5) <= 0.6


def test_two_seeds_give_wide_intervals_if_seeds_dominate():
    measured = np.array([0.10, 0.12])
    found = compare(ResampledRuns(measured, measured[:, None] + np.zeros((2, 9))), resampled_zeros(2, 9))
    assert not found.is_clear and 0.05 < found.p < 0.1


def test_clips_without_labels_are_refused():
    nothing = ResampledRuns(np.full(1, np.nan), np.full((1, 9), np.nan))
    with pytest.raises(DataError, match="runs with a mAP were expected"):
        compare(nothing, nothing)


@pytest.mark.parametrize("freedom", [1.0, 1.3, 2.0, 3.7, 11.0, 150.0, 2000.0, 1e6])
def test_students_distribution_is_that_of_scipy(freedom):
    for t in (0.0, 0.1, 1.0, 2.0, 4.3, 12.0, 60.0):
        assert t_tails(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-4, abs=1e-12)
    assert t_quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-4)


def test_p_and_interval_agree():
    for seed in range(20):
        found = compare(resampled(scores(1.2, seed), n_resamples=200), resampled(scores(1, seed + 50), n_resamples=200))
        if abs(found.p - 0.05) > 1e-6:
            assert found.is_clear == (found.p < 0.05)


def test_unpaired_runs_are_refused():
    one, two = resampled(scores(1, 1)), resampled(scores(1, 1), scores(1, 2))
    with pytest.raises(DataError, match="runs in pairs on the same resamples were expected"):
        compare(one, two)
    with pytest.raises(DataError, match="at least one run"):
        resampled()
