"""Metrics compared with scikit-learn, published figures and plain resampling."""

import math
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from earmark.errors import ConfigError, DataError
from earmark.evaluation.metrics import (
    average_precision,
    bootstrap_interval,
    bootstrap_samples,
    d_prime,
    label_mean,
    roc_auc,
)

Scored = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def users_shapes() -> Iterator[None]:
    """Disables jaxtyping's checks, as for a user, who sees earmark's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def scored_clips(
    n_clips: int, n_labels: int, seed: int = 0, decimals: int | None = None, separation: float = 1.5
) -> Scored:
    rng = np.random.default_rng(seed)
    target = rng.random((n_clips, n_labels)) < rng.uniform(0.02, 0.5, n_labels)
    scores = (rng.standard_normal((n_clips, n_labels)) + separation * target).astype(np.float32)
    return target, scores if decimals is None else scores.round(decimals)


def reference(metric: str, target: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """scikit-learn's metric of each label; nan where it is undefined."""
    n_positive = target.sum(axis=0)
    columns = list(zip(target.astype(int).T, scores.T, strict=True))
    if metric == "AP":
        return np.array([average_precision_score(t, s) if t.any() else np.nan for t, s in columns])
    defined = (n_positive > 0) & (n_positive < len(target))
    return np.array([roc_auc_score(t, s) if ok else np.nan for (t, s), ok in zip(columns, defined, strict=True)])


@pytest.mark.parametrize("decimals", [None, 1, 0], ids=["distinct", "tied", "mostly tied"])
def test_equal_to_scikit_learn(decimals: int | None) -> None:
    target, scores = scored_clips(600, 70, decimals=decimals)
    np.testing.assert_allclose(average_precision(target, scores), reference("AP", target, scores), atol=1e-12)
    np.testing.assert_allclose(roc_auc(target, scores), reference("AUC", target, scores), atol=1e-12)


@st.composite
def few_clips(draw: st.DrawFn) -> Scored:
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 3)))
    target = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 1)))
    # few values make many ties; -0.0 is level with 0.0
    values = st.one_of(st.sampled_from([-0.0, 0.0, 0.25, 0.5, 1.0]), st.floats(-1e6, 1e6, width=32))
    return target, draw(hnp.arrays(np.float32, shape, elements=values))


@given(few_clips())
def test_equal_to_scikit_learn_on_anything(clips: Scored) -> None:
    np.testing.assert_allclose(average_precision(*clips), reference("AP", *clips), atol=1e-12)
    np.testing.assert_allclose(roc_auc(*clips), reference("AUC", *clips), atol=1e-12)


@given(few_clips())
def test_metrics_depend_only_on_the_ranking(clips: Scored) -> None:
    target, scores = clips
    ranks = np.unique(scores, return_inverse=True)[1].reshape(scores.shape)
    np.testing.assert_array_equal(average_precision(target, scores), average_precision(target, ranks))
    np.testing.assert_array_equal(roc_auc(target, scores), roc_auc(target, ranks))


def test_a_label_with_one_class_is_nan() -> None:
    target = np.array([[0, 1, 1], [0, 1, 0]])
    scores = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])
    np.testing.assert_array_equal(average_precision(target, scores), [np.nan, 1, 1])
    np.testing.assert_array_equal(roc_auc(target, scores), [np.nan, np.nan, 1])


def test_equal_scores_give_chance_level() -> None:
    target = np.array([[1], [0], [0], [0]])
    assert average_precision(target, np.zeros((4, 1)))[0] == 0.25
    assert roc_auc(target, np.zeros((4, 1)))[0] == 0.5


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_targets_may_have_any_type(dtype: type) -> None:
    target, scores = scored_clips(100, 5)
    np.testing.assert_array_equal(average_precision(target.astype(dtype), scores), average_precision(target, scores))


def test_float64_scores_keep_differences_that_float32_loses() -> None:
    target = np.array([[0], [1]])
    scores = np.array([[1.0], [1.0 + 1e-12]])
    assert average_precision(target, scores)[0] == 1.0


def test_infinite_scores_are_ranked() -> None:
    assert roc_auc(np.array([[0], [1], [1]]), np.array([[-np.inf], [0.0], [np.inf]]))[0] == 1.0


def test_metrics_of_no_clips_are_nan() -> None:
    nothing = np.zeros((0, 2))
    assert np.isnan(average_precision(nothing, nothing)).all()
    assert np.isnan(roc_auc(nothing, nothing)).all()


def test_nan_score_is_refused() -> None:
    with pytest.raises(DataError, match=r"scores hold nan.*diverged"):
        average_precision(np.array([[1], [0]]), np.array([[0.5], [np.nan]]))


@pytest.mark.parametrize("odd", [0.5, 2, -1])
def test_soft_target_is_refused(odd: float) -> None:
    with pytest.raises(DataError, match="values other than 0 and 1"):
        roc_auc(np.array([[1], [odd]]), np.array([[0.5], [0.1]]))


@pytest.mark.usefixtures("users_shapes")
@pytest.mark.parametrize("shape", [(3, 2), (2,), (2, 3, 1)])
def test_mismatched_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"target \(2, 3\) and scores .* expected the same shape \(clip, label\)"):
        average_precision(np.ones((2, 3)), np.ones(shape))


@pytest.mark.parametrize(
    ("auc", "expected"),
    [(0.959, 2.46), (0.9697, 2.654), (0.971, 2.68), (0.973, 2.72), (0.5, 0.0), (0.9, 1.8124)],
)
def test_d_prime_of_published_values(auc: float, expected: float) -> None:
    # published d' come from unrounded AUCs; three digits of the AUC determine d' to 0.01
    assert d_prime(auc) == pytest.approx(expected, abs=0.01)


def test_d_prime_of_the_papers_best_baseline() -> None:
    assert round(d_prime(0.9697), 3) == 2.654


def test_d_prime_at_the_ends_and_between() -> None:
    assert d_prime(1.0) == math.inf
    assert d_prime(0.0) == -math.inf
    assert math.isnan(d_prime(math.nan))
    assert d_prime(0.5) == 0
    assert d_prime(0.9697) == pytest.approx(2.654, abs=5e-4)


def test_d_prime_outside_0_to_1_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected an AUC from 0 to 1, got 1\.5"):
        d_prime(1.5)


def test_label_mean_ignores_nan() -> None:
    assert label_mean(np.array([np.nan, 0.25, 0.75])) == 0.5
    assert math.isnan(label_mean(np.array([np.nan, np.nan])))


@pytest.mark.parametrize("decimals", [None, 0], ids=["distinct", "tied"])
def test_bootstrap_equals_plain_resampling(decimals: int | None) -> None:
    """Counting with multiplicities equals measuring the resampled clips."""
    target, scores = scored_clips(80, 40, decimals=decimals)
    target[:, 3], target[:, 4], target[1:, 5] = False, True, False
    samples = bootstrap_samples(target, scores, n_resamples=70, seed=5)
    for index, sample in enumerate(samples):
        clips = np.random.default_rng((5, index)).integers(80, size=80)
        assert sample == pytest.approx(label_mean(average_precision(target[clips], scores[clips])), abs=1e-12)


def test_bootstrap_of_more_than_65535_clips() -> None:
    target, scores = scored_clips(70_000, 2, decimals=2)
    samples = bootstrap_samples(target, scores, n_resamples=3)
    for index, sample in enumerate(samples):
        clips = np.random.default_rng((0, index)).integers(70_000, size=70_000)
        assert sample == pytest.approx(average_precision(target[clips], scores[clips]).mean(), abs=1e-12)


def test_bootstrap_samples_do_not_depend_on_their_number() -> None:
    clips = scored_clips(50, 4)
    np.testing.assert_array_equal(bootstrap_samples(*clips, n_resamples=10), bootstrap_samples(*clips)[:10])


def test_paired_resamples_detect_a_difference_within_both_intervals() -> None:
    target, scores = scored_clips(300, 20)
    noise = np.random.default_rng(1).standard_normal(scores.shape).astype(np.float32)
    worse = scores + 0.3 * noise
    difference = bootstrap_samples(target, scores, n_resamples=300) - bootstrap_samples(target, worse, n_resamples=300)
    assert np.quantile(difference, 0.025) > 0
    assert bootstrap_interval(target, scores)[0] < bootstrap_interval(target, worse)[1]


def test_interval_holds_the_measured_value_and_narrows() -> None:
    widths = []
    for n_clips in (100, 1000):
        target, scores = scored_clips(n_clips, 20)
        low, high = bootstrap_interval(target, scores, n_resamples=200)
        assert low < label_mean(average_precision(target, scores)) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2  # the root of ten is 3.2


def test_interval_holds_the_value_where_repeated_positives_raise_every_resample() -> None:
    target = np.eye(50, dtype=bool)[np.arange(400) % 50]
    scores = np.random.default_rng(2).standard_normal((400, 50))
    measured = label_mean(average_precision(target, scores))
    assert np.quantile(bootstrap_samples(target, scores), 0.025) > measured
    low, high = bootstrap_interval(target, scores)
    assert low < measured < high


def test_interval_is_reproducible() -> None:
    clips = scored_clips(60, 5)
    assert bootstrap_interval(*clips, seed=1) == bootstrap_interval(*clips, seed=1)
    assert bootstrap_interval(*clips, seed=1) != bootstrap_interval(*clips, seed=2)


def test_interval_covers_other_test_sets_of_the_size() -> None:
    """19 of 20 intervals hold the expected value; of 60, fewer than 52 would be improbable."""
    rng = np.random.default_rng(0)

    def drawn() -> Scored:
        target = rng.random((150, 10)) < 0.1
        return target, rng.standard_normal((150, 10)) + 1.5 * target

    expected = np.mean([label_mean(average_precision(*drawn())) for _ in range(400)])
    intervals = [bootstrap_interval(*drawn(), n_resamples=200) for _ in range(60)]
    assert sum(low <= expected <= high for low, high in intervals) >= 52


def test_perfect_scores_have_an_interval_of_width_0() -> None:
    target = np.arange(40)[:, None] % 4 == 0
    assert bootstrap_interval(target, target.astype(float)) == (1.0, 1.0)


def test_interval_stays_in_the_range_of_the_metric() -> None:
    target = np.array([1, 0, 0, 0, 0, 0, 0, 1])[:, None]
    scores = -np.arange(8.0)[:, None]  # an average precision of 0.625; half of the resamples have less, some have 1
    assert bootstrap_interval(target, scores, n_resamples=100)[1] == 1.0


def test_interval_without_any_positive_is_nan() -> None:
    low, high = bootstrap_interval(np.zeros((5, 2)), np.zeros((5, 2)))
    assert math.isnan(low) and math.isnan(high)


@pytest.mark.usefixtures("users_shapes")
def test_a_bootstrap_without_resamples_is_refused() -> None:
    with pytest.raises(ConfigError, match="n_resamples: at least 1 was expected, not 0"):
        bootstrap_interval(*scored_clips(10, 2), n_resamples=0)


def test_unknown_pairs_do_not_count():
    target, scores = scored_clips(60, 3)
    known = np.random.default_rng(1).random(target.shape) < 0.6
    partly = np.where(known, target, np.nan)
    for metric in (average_precision, roc_auc):
        alone = [metric(target[own, j : j + 1], scores[own, j : j + 1])[0] for j, own in enumerate(known.T)]
        np.testing.assert_allclose(metric(partly, scores), alone, rtol=1e-12)
    # a clip that no label is known of changes no resample but by being drawn in another's place
    no_clip = np.full((1, 3), np.nan), np.zeros((1, 3), scores.dtype)
    samples = bootstrap_samples(np.concatenate([partly, no_clip[0]]), np.concatenate([scores, no_clip[1]]), 50)
    assert abs(np.mean(samples) - label_mean(average_precision(partly, scores))) < 0.1
