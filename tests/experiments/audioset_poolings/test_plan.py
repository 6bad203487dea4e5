"""The runs of the protocol, their order and their settings."""

import pytest

from earmark.errors import ConfigError
from experiments.audioset_poolings.cells import CELLS, EMBEDDING, OTHERS, PARTS, TABLE1, TRIALS
from experiments.audioset_poolings.plan import Finished, Protocol, Run, chosen


def finished(**mAP):
    """Runs of the search by `stage_cell_variant`."""
    return [Finished(Run(*name.split("__"), 0), value) for name, value in mAP.items()]


def test_every_pooling_has_the_same_search_and_its_seeds():
    runs = [run for phase in Protocol().phases() for run in phase]
    assert len(set(runs)) == len(runs)
    for cell in (*TABLE1, *OTHERS):
        tried = [run.variant for run in runs if run.stage == "search" and run.cell == cell]
        assert sorted(tried) == sorted(TRIALS)
    for cell in CELLS:
        seeds = [run.seed for run in runs if run.stage == "final" and run.cell == cell]
        assert seeds == list(range(10 if cell in (*TABLE1, *PARTS) else 5))
    assert not [run for run in runs if run.stage == "search" and run.cell in PARTS]


def test_the_important_runs_come_first_and_the_table_fills_evenly():
    phases = Protocol().phases()
    assert [phase[0].stage for phase in phases[:5]] == ["common", "search", "final", "search", "final"]
    assert {run.cell for run in phases[2]} == {*TABLE1, *PARTS}
    n_first = len(TABLE1) + len(PARTS)
    assert [run.seed for run in phases[2]] == [0] * n_first + [1] * n_first + [2] * n_first
    assert {run.cell for run in phases[4]} == set(EMBEDDING)


def test_some_cells_bring_the_search_that_they_need():
    runs = [run for phase in Protocol(n_seeds_first=1).phases(["gmap-no-gate", "kong-2018"]) for run in phase]
    assert {run.cell for run in runs if run.stage == "search"} == {"gmap"}
    assert {run.cell for run in runs if run.stage == "final"} == {"gmap-no-gate", "kong-2018"}
    assert not [run for phase in Protocol().phases(["yu-2018"]) for run in phase if run.stage != "final"]
    with pytest.raises(ConfigError, match=r"no cell gmapp; the cells are max, mean"):
        Protocol().phases(["gmapp"])


def test_the_search_decides_the_settings(protocol):
    log = finished(
        common__mean__short=0.3, common__gmap__short=0.3, common__mean__long=0.2, common__gmap__long=0.5,
        search__mean__slow=0.3, search__mean__fast=0.2, search__gmap__slow=0.3, search__gmap__fast=0.4,
    )  # fmt: skip
    mean, part = (protocol.config(Run("final", cell, "", 3), log, 50) for cell in ("mean", "gmap-no-gate"))
    assert (mean.pooling, mean.seed, mean.learning_rate, mean.n_clips_seen) == ("mean", 3, 1e-4, 100)
    assert (part.pooling, part.gate, part.learning_rate) == ("gmap", False, 0.02)
    tried = protocol.config(Run("search", "mean", "fast", 0), log, 50)
    assert (tried.learning_rate, tried.n_clips_seen) == (0.02, 100)
    with pytest.raises(ConfigError, match="no run of the search has finished for max"):
        protocol.config(Run("final", "max", "", 0), log, 50)


def test_settings_that_failed_for_a_cell_are_not_chosen():
    log = finished(common__mean__short=0.3, common__gmap__short=0.3, common__mean__long=0.9)
    assert chosen(log, "common", ("mean", "gmap")) == "short"
    assert chosen(finished(search__mean__a=None, search__mean__b=0.1), "search", ("mean",)) == "b"
