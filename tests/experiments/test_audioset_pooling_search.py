"""The search for what decides between GMAP and attentive statistics, on made-up features."""

import pytest

from experiments import audioset_pooling_search as search
from experiments import pooling_trials
from experiments.audioset_poolings.experiment import make
from experiments.changed_pooling import PoolingChange
from experiments.pooling_trials import UNCHANGED, Trial, read_lines


@pytest.fixture
def started(bench, tmp_path, monkeypatch):
    """The command on a finished comparison, with one change for both poolings and one for GMAP."""
    make(bench, ("gmap", "attentive_stats"))
    both = {UNCHANGED: Trial(), "fast": Trial(change=PoolingChange(query_rate=5.0))}
    monkeypatch.setattr(search, "TRIALS", {"gmap": {**both, "1 head": Trial({"n_heads": 1})}, "attentive_stats": both})
    monkeypatch.setattr(search, "COMPARED", bench.out)
    monkeypatch.setattr(search, "Protocol", lambda: bench.protocol)
    monkeypatch.setattr(pooling_trials, "side_by_side", _in_turn)
    out = tmp_path / "search"
    places = bench.places

    def start(**settings):
        search.audioset_pooling_search(
            places.features, test_split=places.test_split, out=out, n_seeds=1, n_finals=1, **settings
        )
        return out

    return start


def test_the_search_starts_from_the_chosen_settings_and_ends_with_test_figures(started, capsys):
    out = started()
    lines = read_lines(out)
    assert [line.run.trial for line in lines[:5]] == [UNCHANGED, "fast", "1 head", UNCHANGED, "fast"]
    assert all(line.test_mAP is None and 0 <= line.valid_mAP <= 1 for line in lines[:5])
    assert all(line.valid_mAP is None and 0 <= line.test_mAP <= 1 for line in lines[5:])
    assert {line.run.trial for line in lines[5:]} <= {"fast", "1 head"}
    text = (out / "README.md").read_text()
    assert "unchanged GMAP minus unchanged attentive statistics" in text and "| 1 head |" in text
    capsys.readouterr()
    started()  # all is done
    assert capsys.readouterr().out == "" and (out / "README.md").read_text() == text


def test_the_page_is_written_again_without_features(started):
    out = started()
    text = (out / "README.md").read_text()
    (out / "README.md").unlink()
    search.audioset_pooling_search(out=out, n_finals=1)
    assert (out / "README.md").read_text() == text


def _in_turn(perform, runs, n_jobs, note, *, is_renewed):
    for run in runs:
        yield run, perform(run)
