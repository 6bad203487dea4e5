import json

from experiments import pooling_search as search
from experiments import pooling_trials
from experiments.changed_pooling import PoolingChange
from experiments.pooling_trials import UNCHANGED, Trial
from experiments.table1.table import make_table


def test_search_and_finals_on_a_tiny_table(planned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(search, "N_CLIPS_SEEN", 8)
    both = {UNCHANGED: Trial(), "fast": Trial(change=PoolingChange(query_rate=5))}
    monkeypatch.setattr(search, "TRIALS", {"gmap": {**both, "1 head": Trial({"n_heads": 1})}, "attentive_stats": both})
    monkeypatch.setattr(pooling_trials, "side_by_side", _in_turn)
    plan, bank = planned()
    runs = plan.runs(["gmap", "attentive_stats"])
    make_table(tmp_path, plan, bank, runs)
    search.pooling_search(tmp_path, n_seeds=1)
    lines = [json.loads(text) for text in (tmp_path / "search.jsonl").read_text().splitlines()]
    assert [one["run"]["trial"] for one in lines[:5]] == ["unchanged", "fast", "1 head", "unchanged", "fast"]
    assert all(one["test_mAP"] is None for one in lines[:5])
    assert all(0 <= one["test_mAP"] <= 1 for one in lines[5:])
    text = (tmp_path / "search.md").read_text()
    assert "unchanged GMAP minus unchanged attentive statistics" in text
    capsys.readouterr()
    search.pooling_search(tmp_path, n_seeds=1)  # all is done
    assert capsys.readouterr().out == ""
    assert (tmp_path / "search.md").read_text() == text


def _in_turn(perform, runs, n_jobs, note, *, is_renewed):
    for run in runs:
        yield run, perform(run)
