"""Precision from samples by score bands, and thresholds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.review.comparison import Verdict
from earmark.review.manifest import CutClip
from earmark.review.precision import label_precisions, propose, weighted, wilson
from earmark.review.sampling import band_of, by_key, sample


def verdict(score, is_right, n_in_band, label="dog", kind=None):
    row = CutClip("dog/x.flac", "x.wav", 0.0, 1.0, label, score, "", 0.0, 1.0, band_of(score), n_in_band, "x.wav", "")
    return Verdict(row, kind or ("confirmed" if is_right else "noise"))


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_solves_its_equation(counts):
    n_right, n = counts
    share, low, high = wilson(n_right, n)
    assert 0 <= low <= share == n_right / n <= high <= 1
    for end in (low, high):  # the shares from which the sample is just 1.96 standard errors away
        if 1e-9 < end < 1 - 1e-9:
            assert abs(share - end) == pytest.approx(1.959964 * np.sqrt(end * (1 - end) / n), abs=1e-6)


@given(st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(1, 1000))
def test_a_single_stratum_has_wilsons_interval(counts, weight):
    assert weighted([(weight, *counts)]) == pytest.approx(wilson(*counts))


def test_the_combined_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    sizes, truth = np.array([600, 300, 100]), np.array([0.05, 0.5, 0.97])
    mean = float(sizes @ truth / sizes.sum())
    covered = 0
    for _ in range(400):
        right = rng.binomial(20, truth)
        estimate = weighted([(int(size), int(n), 20) for size, n in zip(sizes, right, strict=True)])
        covered += estimate.low <= mean <= estimate.high
    assert covered / 400 > 0.93


def test_the_precision_of_a_label_accounts_for_the_choice_by_bands():
    clips = [verdict(0.95, True, 10) for _ in range(10)] + [verdict(0.35, n < 5, 90) for n in range(10)]
    clips += [verdict(0.65, False, 40, kind="aside"), verdict(0.5, True, 1, label="fox")]
    dog, fox = label_precisions(clips)
    assert (dog.label, dog.n_events, dog.n_clips, dog.n_right) == ("dog", 100, 20, 15)
    assert dog.precision.value == pytest.approx(0.1 * 1.0 + 0.9 * 0.5), "not 15 of 20"
    assert [(band.band, band.n_events, band.n_clips, band.n_right) for band in dog.bands] == [
        (9, 10, 10, 10),
        (3, 90, 10, 5),
    ]
    assert dog.bands[1].precision == wilson(5, 10)
    assert fox.precision.low < 0.3, "one clip shows little"


def test_the_threshold_is_the_lowest_that_reaches_the_precision():
    clips = [verdict(0.9 + n / 1000, True, 20) for n in range(20)]
    clips += [verdict(0.5 + n / 1000, n >= 10, 100) for n in range(20)]
    proposal = propose(clips, 0.9)["dog"]
    # a clip of the lower band stands for five events: with all 10 right ones at 0.51 or more, and k wrong ones below
    # the precision is (20 + 50) / (70 + 5 k), which is 0.9 or more up to k = 1
    assert proposal.threshold == pytest.approx(0.509) and proposal.n_clips == 31
    assert proposal.precision.value == pytest.approx(70 / 75) and proposal.kept == 1.0
    assert proposal.precision.low < 70 / 75 < proposal.precision.high
    assert propose(clips, 0.99)["dog"].threshold == pytest.approx(0.510)
    assert propose(clips, 0.99, min_clips=40)["dog"] is None


def test_no_threshold_is_proposed_on_few_clips_wrong_ones_or_without_scores():
    assert propose([verdict(0.9, True, 9) for _ in range(9)], 0.5) == {"dog": None}
    assert propose([verdict(0.9, False, 90) for _ in range(90)], 0.5) == {"dog": None}
    assert propose([verdict(None, True, 90) for _ in range(90)], 0.5) == {"dog": None}


def test_estimates_from_a_sample_agree_with_all_events():
    rng = np.random.default_rng(1)
    scores = rng.beta(0.8, 0.8, 4000)
    right = rng.random(4000) < scores**2
    bands = [band_of(float(score)) for score in scores]
    sizes = {band: len(own) for band, own in by_key(bands).items()}
    chosen = sample(["dog"] * 4000, bands, 300, 0)
    clips = [verdict(float(scores[i]), bool(right[i]), sizes[bands[i]]) for i in chosen]
    (dog,) = label_precisions(clips)
    assert dog.precision.low < right.mean() < dog.precision.high
    proposal = propose(clips, 0.8)["dog"]
    kept = scores >= proposal.threshold
    assert proposal.precision.low < right[kept].mean() < proposal.precision.high
    assert proposal.kept == pytest.approx(right[kept].sum() / right.sum(), abs=0.1)
