"""Comparisons of cells: pairs, groups and Holm's correction."""

import numpy as np
import pytest

from earmark.errors import DataError
from experiments.audioset_poolings.clips import BY_FREQUENCY
from experiments.audioset_poolings.comparisons import Results, holm
from experiments.audioset_poolings.plan import figures_file
from experiments.table1.statistics import compare, resample_clips

from .conftest import TARGET


def scores(quality, *seed):
    noise = np.random.default_rng(seed).standard_normal(TARGET.shape)
    return (quality * TARGET + noise).astype(np.float32)


@pytest.fixture
def results(results_of):
    """Runs of gmap, mean and max; gmap is better than mean, and max has one seed less."""
    return results_of({"gmap": (2.0, 3), "mean": (1.0, 3), "max": (2.0, 2)})


def test_a_comparison_is_that_of_all_labels_on_the_same_resamples(results):
    found = results.against("gmap", "mean")
    generators = (np.random.default_rng(0) for _ in range(2))
    runs = [
        resample_clips(TARGET, [scores(quality, number, seed) for seed in range(3)], generator, 200)
        for number, (quality, generator) in enumerate(zip((2.0, 1.0), generators, strict=True))
    ]
    expected = compare(*runs)
    assert found.difference == pytest.approx(expected.difference, abs=1e-6)
    assert found.n_seeds == 3 and found.is_clear and found.difference > 0.1
    # other resamples, the same error but for chance
    width, expected_width = (own.interval[1] - own.interval[0] for own in (found, expected))
    assert width == pytest.approx(expected_width, rel=0.4)


def test_a_group_has_its_own_difference(results):
    found = results.against("gmap", "mean", f"{BY_FREQUENCY}frequent")
    own = [results.figures[cell, seed].mAP[1] for cell in ("gmap", "mean") for seed in range(3)]
    assert found.difference == pytest.approx(np.mean(own[:3]) - np.mean(own[3:]))


def test_only_common_seeds_are_compared(results):
    assert results.against("gmap", "max").n_seeds == 2
    assert results.against("gmap", "gmap") is None and results.against("gmap", "power") is None
    family = results.family("gmap", ("mean", "max", "power"))
    assert list(family) == ["mean", "max"]
    assert family["mean"].p == pytest.approx(min(1.0, 2 * family["mean"].comparison.p)) and family["mean"].is_clear
    assert not family["max"].is_clear


def test_holm_orders_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_runs_on_other_clips_are_refused(results, line_of):
    with pytest.raises(DataError, match="measured on different clips"):
        Results(results.out, (*results.lines, line_of("max", 2, ids_sha256="beef" * 16)))


def test_missing_figures_are_named(results):
    figures_file(results.out, "max", 1).unlink()
    with pytest.raises(DataError, match=r"max-1\.npz: the figures of a run were expected"):
        Results(results.out, results.lines).against("gmap", "max")
