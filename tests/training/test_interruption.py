"""Runs that are stopped or killed, and resumed."""

import signal
from dataclasses import replace

import pytest

from earmark.model.network import Network
from earmark.training import TrainingInterrupted, loop
from earmark.training.folder import RunFolder
from earmark.training.loop import update_average
from tests.training.tones import (
    SMALL,
    assert_same_state,
    at_step,
    ctrl_c,
    killed,
    record_of,
    run,
    state_of,
    tones,
    while_reading,
)


@pytest.mark.parametrize("cache", ["log_mel", "none"])
@pytest.mark.parametrize("step", [5, 7], ids=["within an epoch", "at its last step"])
def test_ctrl_c_and_resume_end_where_an_uninterrupted_run_ends(tmp_path, monkeypatch, cache, step):
    config = replace(SMALL, cache=cache)
    valid = tones("other", 5, first=50)
    whole = run(tmp_path / "whole", config, valid=valid)
    at_step(monkeypatch, step, ctrl_c)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=f"stopped after step {step + 1} of 12 .* --resume"):
        run(tmp_path / "halves", config, valid=valid)
    assert signal.getsignal(signal.SIGINT) is handler
    halves = RunFolder(tmp_path / "halves")
    assert halves.read_record()["status"] == "interrupted" and state_of(halves.path)["n_steps_done"] == step + 1
    assert Network.load(halves.last).extra["clips_seen"] == 4 * (step + 1)

    resumed = run(halves.path, config, valid=valid, resume=True)
    assert_same_state(state_of(tmp_path / "whole"), state_of(halves.path))
    assert [row.valid_mAP for row in resumed.history] == [row.valid_mAP for row in whole.history]
    assert resumed.last.read_bytes() == whole.last.read_bytes()
    assert halves.read_record()["status"] == "finished"


def test_two_interruptions_in_one_epoch(tmp_path, monkeypatch, whole):
    for step, resume in ((4, False), (5, True)):
        at_step(monkeypatch, step, ctrl_c)
        with pytest.raises(TrainingInterrupted):
            run(tmp_path / "parts", resume=resume)
    run(tmp_path / "parts", resume=True)
    assert_same_state(whole, state_of(tmp_path / "parts"))


def test_sigterm_saves_too(tmp_path, monkeypatch, whole):
    at_step(monkeypatch, 6, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(TrainingInterrupted, match="step 7 of 12"):
        run(tmp_path / "halves")
    run(tmp_path / "halves", resume=True)
    assert_same_state(whole, state_of(tmp_path / "halves"))


def test_sigterm_within_a_step_saves_after_it(tmp_path, monkeypatch, whole):
    steps = []

    def during_the_step(*words):
        update_average(*words)
        steps.append(words)
        if len(steps) == 6:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(loop, "update_average", during_the_step)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "interrupted" and state_of(tmp_path)["n_steps_done"] == 6
    monkeypatch.undo()
    run(tmp_path, resume=True)
    assert_same_state(state_of(tmp_path), whole)


def _pressed_twice():
    ctrl_c()
    ctrl_c()


@pytest.mark.parametrize(
    ("action", "error"), [(killed, MemoryError), (_pressed_twice, KeyboardInterrupt)], ids=["killed", "Ctrl-C twice"]
)
@pytest.mark.parametrize("step", [1, 9])
def test_a_killed_run_resumes_from_its_last_epoch(tmp_path, monkeypatch, action, error, step, whole):
    at_step(monkeypatch, step, action)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(error) as caught:
        run(tmp_path / "killed")
    assert not isinstance(caught.value, TrainingInterrupted) and signal.getsignal(signal.SIGINT) is handler
    state = state_of(tmp_path / "killed")
    assert (state is None) if step == 1 else (state["n_steps_done"] == 8)
    record = record_of(tmp_path / "killed")
    assert record["status"] == "failed" and record["error"] == f"{type(caught.value).__name__}: {caught.value}"
    run(tmp_path / "killed", resume=True)
    record = record_of(tmp_path / "killed")
    assert record["status"] == "finished" and "error" not in record
    assert_same_state(whole, state_of(tmp_path / "killed"))


def test_ctrl_c_in_the_last_step_does_not_suggest_resuming(tmp_path, monkeypatch, whole):
    at_step(monkeypatch, 11, ctrl_c)
    with pytest.raises(TrainingInterrupted) as caught:
        run(tmp_path)
    assert "had just finished" in str(caught.value) and "--resume" not in str(caught.value)
    assert record_of(tmp_path)["status"] == "finished"
    assert_same_state(whole, state_of(tmp_path))


def test_ctrl_c_while_the_clips_are_read(tmp_path, monkeypatch, whole):
    while_reading(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="stopped before the first step: --resume starts"):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "interrupted" and state_of(tmp_path) is None
    run(tmp_path, resume=True)
    assert_same_state(whole, state_of(tmp_path))


def test_a_run_killed_while_the_clips_are_read_starts_from_its_beginning(tmp_path, monkeypatch, whole):
    kept = []
    while_reading(monkeypatch, lambda: kept.append((tmp_path / "run.json").read_bytes()) or killed())
    with pytest.raises(MemoryError):
        run(tmp_path)
    assert record_of(tmp_path)["status"] == "failed"
    (tmp_path / "run.json").write_bytes(kept[0])  # as SIGKILL leaves it
    run(tmp_path, resume=True)
    assert_same_state(whole, state_of(tmp_path))
