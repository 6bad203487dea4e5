"""A training from the call to its result."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from earmark.errors import ConfigError, DataError, EarmarkWarning
from earmark.model.network import Network
from earmark.training import TrainConfig
from earmark.training.loop import Loop
from tests.training.tones import LABELS, SMALL, TWO_EPOCHS, record_of, run, tones, with_broken


def test_a_run_learns_and_leaves_its_folder(tmp_path, capfd):
    # small networks and short trainings need no help against overfitting
    plain = replace(SMALL, mixup_alpha=0.0, spec_augment=False, block_dropout=0.0, dropout=0.0)
    config = replace(plain, width=4, n_clips_seen=320, clips_per_epoch=64, batch_size=8, learning_rate=0.02)
    valid = tones("other", 12, first=500)
    result = run(tmp_path / "run", config, valid=valid, request={"data": "tones:"})
    assert capfd.readouterr() == ("", "")
    assert len(result.history) == 5 and result.best_epoch.valid_mAP > 0.9
    assert result.history[-1].train_loss < result.history[0].train_loss
    assert result.history[-1].clips_seen == 320

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished" and record["request"] == {"data": "tones:"}
    assert TrainConfig.from_json(record["config"]) == config
    assert record["data"]["train"]["fingerprint"] == tones().fingerprint()
    assert record["data"]["valid"]["n_clips"] == 12 and record["versions"]["torch"]
    assert record["n_parameters"] == Network.load(result.last).n_parameters
    assert record["result"]["last"]["clips_per_second"] > 0 and record["result"]["last"]["seconds"] > 0
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("12345")
    assert float(rows[2]["valid_mAP"]) == result.history[2].valid_mAP
    assert all(file.name.startswith("events") for file in (tmp_path / "run" / "tensorboard").iterdir())
    assert list((tmp_path / "run" / "tensorboard").iterdir())

    best = Network.load(result.best)
    assert best.extra["valid_mAP"] == result.best_epoch.valid_mAP and best.extra["data"] == "tones"
    assert best.labels == LABELS
    clip = valid[2]
    with torch.inference_mode():
        logits = best(torch.from_numpy(clip.load(16000).waveform)[None])[0]
    assert logits[LABELS.encode(clip.labels) == 1].min() > logits[LABELS.encode(clip.labels) == 0].max()


def test_a_finished_run_resumes_to_its_result(tmp_path, monkeypatch):
    result = run(tmp_path)
    monkeypatch.setattr(Loop, "run", lambda *_: pytest.fail("it trained"))
    assert run(tmp_path, resume=True) == result
    record = record_of(tmp_path)
    before = {**record, "status": "running", "error": "killed before it could say that it was done"}
    (tmp_path / "run.json").write_text(json.dumps({name: before[name] for name in before if name != "result"}))
    assert run(tmp_path, resume=True) == result
    assert record_of(tmp_path) == record


def test_clips_that_cannot_be_read_leave_the_folder_free(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(DataError, match="cannot be read"):
        run(out, TWO_EPOCHS, with_broken(tones(), 1))
    assert not out.exists()
    run(out, TWO_EPOCHS)


def test_clips_that_were_left_out_are_reported(tmp_path):
    data = with_broken(tones(), 2)
    with pytest.warns(EarmarkWarning, match=r"left out 2 unreadable clips: broken-0, broken-1; run.json"):
        run(tmp_path, replace(SMALL, skip_bad=True, n_clips_seen=32, balanced=False), data)


def test_training_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setattr("earmark.training.training_run.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'earmark\[train\]'"):
        run(tmp_path)
