"""Trials of two poolings: names, the best one, the page."""

from dataclasses import replace

import pytest

from earmark.errors import ConfigError
from experiments.changed_pooling import PoolingChange
from experiments.pooling_search import TRIALS
from experiments.pooling_trials import HEADS_AND_GATE, Line, TrialRun, best_trials, page


def line(pooling, trial, seed=0, valid=0.5, is_final=False):
    return Line(TrialRun(pooling, trial, seed, is_final), valid, 0.4 if is_final else None, 16, 1.0, "abc")


def all_lines(**best):
    return [
        line(pooling, trial, seed, 0.9 if best.get(pooling) == trial else 0.5)
        for pooling in TRIALS
        for trial in TRIALS[pooling]
        for seed in (0, 1)
    ]


def test_the_rival_has_all_trials_that_do_not_need_heads_or_a_gate():
    assert set(TRIALS["gmap"]) - set(TRIALS["attentive_stats"]) == set(HEADS_AND_GATE)
    for trial in TRIALS["attentive_stats"].values():
        assert not {"n_heads", "gate"} & set(trial.settings)
        assert replace(trial.change, query_scale=1.0, query_rate=1.0) == PoolingChange()


def test_runs_have_folders_of_their_own():
    runs = [
        TrialRun(pooling, trial, seed, is_final)
        for pooling in TRIALS
        for trial in TRIALS[pooling]
        for seed in (0, 1)
        for is_final in (False, True)
    ]
    assert len({run.name() for run in runs}) == len(runs)


def test_the_best_trial_has_the_highest_mean_on_validation():
    lines = all_lines(gmap="no gate", attentive_stats="weight decay 0.05")
    assert best_trials(lines, TRIALS) == {"gmap": "no gate", "attentive_stats": "weight decay 0.05"}


def test_a_seed_that_some_trials_lack_does_not_count():
    lines = [*all_lines(gmap="no gate"), line("gmap", "2 heads", seed=2, valid=1.0)]
    assert best_trials(lines, TRIALS)["gmap"] == "no gate"


def test_a_missing_trial_is_named():
    lines = [one for one in all_lines() if one.run.trial != "no gate"]
    with pytest.raises(ConfigError, match="gmap: all trials were expected, 1 have no finished run: no gate"):
        best_trials(lines, TRIALS)


def test_the_page_has_a_row_for_each_trial_and_marks_the_best():
    text = page("pooling-search", "Each is short.", all_lines(gmap="no gate"), TRIALS, {})
    assert text.count("\n| ") == len(TRIALS["gmap"]) + 2
    assert "| no gate | **0.9000 ± 0.0000** | - |" in text
