"""The demo with a budget of seconds: complete and reproducible."""

import io
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from earmark import demo
from earmark.audio.recording import load_audio
from earmark.data.soundscapes import TruthEvent
from earmark.demo import DemoConfig, DemoResult, run_demo
from earmark.errors import ConfigError, EarmarkError
from earmark.evaluation.report import Report
from earmark.inference.events import Event
from earmark.model.network import Network
from earmark.parallel.pool import Death
from earmark.training import TrainingInterrupted

TINY = DemoConfig(
    n_sounds=4,
    n_train_clips=24,
    n_test_clips=20,
    n_jobs=1,
    clips=replace(DemoConfig.clips, duration=2.0, event_duration=(0.3, 1.0)),
    training=replace(DemoConfig.training, n_clips_seen=48, width=2, clip_duration=2.0),
    scene=replace(DemoConfig.scene, duration=4.0, event_duration=(0.3, 1.0), n_events=(3, 3)),
)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "out", config=TINY, progress=False)


def printed(result):
    console = Console(file=io.StringIO(), width=160, highlight=False, markup=False)
    result.show(console)
    return console.file.getvalue()


def test_both_poolings_are_evaluated_on_the_same_clips(result):
    assert list(result.reports) == ["GMAP", "mean pooling"]
    gmap, mean = result.reports.values()
    assert gmap.clip_ids_sha256 == mean.clip_ids_sha256
    assert len(gmap.ids) == 20
    assert not np.array_equal(gmap.scores, mean.scores)
    assert [Network.load(path).config.pooling for path in result.checkpoints.values()] == ["gmap", "mean"]


def test_it_writes_a_scene_a_picture_and_two_networks(result):
    out = result.picture.parent
    assert sorted(path.name for path in out.iterdir()) == [
        "demo.png",
        "gmap.safetensors",
        "mean.safetensors",
        "scene.flac",
    ]
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert load_audio(result.scene, 16000).duration == 4.0
    assert len(result.truth) == 3


def test_it_prints_metrics_and_true_events(result):
    text = printed(result)
    for report in result.reports.values():
        assert f"{report.mAP:.3f}" in text
    for event in result.truth:
        assert f"{event.onset:.1f} - {event.offset:.1f}" in text
    assert str(result.picture) in text
    assert f"earmark tag {result.scene} --model {result.checkpoints['GMAP']}" in text
    json.dumps(result.to_json(), allow_nan=False)


def test_the_seed_determines_the_result(result, tmp_path):
    picture = result.picture.read_bytes()
    again = run_demo(result.picture.parent, config=TINY, progress=False)
    assert again.to_json() == result.to_json()
    assert again.picture.read_bytes() == picture
    small = replace(TINY.training, n_clips_seen=16)
    config = replace(TINY, n_jobs=2, n_train_clips=8, n_test_clips=8, training=small)
    other = run_demo(tmp_path, seed=1, config=config, progress=False)
    assert other.truth != result.truth


def test_rows_compare_detected_and_true_events(tmp_path):
    truth = (TruthEvent("scene", 1.0, 2.0, "bell", 9.0), TruthEvent("scene", 3.0, 3.5, "siren", 9.0))
    events = {
        "GMAP": (Event("bell", 0.8, 1.6, 0.95), Event("bell", 1.8, 2.4, 0.6), Event("hiss", 3.0, 4.0, 0.7)),
        "mean pooling": (Event("siren", 0.0, 2.0, 0.8),),
    }
    rows = DemoResult({}, truth, events, tmp_path, tmp_path, {"GMAP": tmp_path}).rows()
    assert rows == [
        ("bell", "1.0 - 2.0", "0.8 - 1.6 (0.95), 1.8 - 2.4 (0.60)", "not found"),
        ("siren", "3.0 - 3.5", "not found", "not found"),
        ("hiss", "not there", "3.0 - 4.0 (0.70)", ""),
        ("siren", "not there", "", "0.0 - 2.0 (0.80)"),
    ]


def test_the_next_command_is_one_that_this_shell_finds(monkeypatch, tmp_path):
    result = DemoResult(
        {}, (), {"GMAP": ()}, Path("demo/scene.flac"), tmp_path, {"GMAP": Path("demo/gmap.safetensors")}
    )

    def shown() -> str:
        console = Console(width=200, file=io.StringIO())
        result.show(console)
        return console.file.getvalue()

    monkeypatch.setattr("sys.argv", [".venv/bin/earmark", "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Next: .venv/bin/earmark tag demo/scene.flac --model demo/gmap.safetensors\n" in shown()
    (tmp_path / "earmark").touch(mode=0o755)
    assert "Next: earmark tag demo/scene.flac" in shown()


def test_missing_matplotlib_is_reported_before_the_work(monkeypatch, tmp_path):
    def missing():
        raise EarmarkError("no matplotlib")

    monkeypatch.setattr(demo, "require_matplotlib", missing)
    monkeypatch.setattr(demo, "train", lambda *_: pytest.fail("trained in vain"))
    with pytest.raises(EarmarkError, match="no matplotlib"):
        run_demo(tmp_path, config=TINY, progress=False)


def test_an_interrupted_demo_leaves_no_files(monkeypatch, tmp_path):
    def interrupted(config, data, out, progress):
        out.mkdir()
        raise TrainingInterrupted("--resume goes on")

    monkeypatch.setattr(demo, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path, config=TINY, progress=False)
    assert not list(tmp_path.iterdir())


class FakePool:
    """A pool whose first process dies, or that gets SIGTERM while its processes run."""

    folder = None
    is_terminated = False
    was_there_at_the_end = False

    def __init__(self, n_processes, n_threads):
        pass

    def run(self, task, items, on_report):
        try:
            if self.is_terminated:
                signal.raise_signal(signal.SIGTERM)
            yield "GMAP", Death(-9)
        finally:
            FakePool.was_there_at_the_end = any(self.folder.glob(".run-*"))


@pytest.mark.parametrize("is_terminated", [False, True])
def test_the_processes_end_before_their_folder_is_removed(monkeypatch, tmp_path, is_terminated):
    monkeypatch.setattr(demo, "Pool", FakePool)
    monkeypatch.setattr(FakePool, "folder", tmp_path)
    monkeypatch.setattr(FakePool, "is_terminated", is_terminated)
    monkeypatch.setattr(FakePool, "was_there_at_the_end", False)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        expected = pytest.raises(KeyboardInterrupt) if is_terminated else pytest.raises(EarmarkError, match="signal 9")
        with expected:
            run_demo(tmp_path, config=replace(TINY, n_jobs=2), progress=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert FakePool.was_there_at_the_end
    assert not list(tmp_path.iterdir())


def test_an_invalid_seed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed: at least 0 was expected, not -3"):
        run_demo(tmp_path, seed=-1, config=TINY, progress=False)


def test_reports_are_those_of_evaluate(result):
    assert {type(report) for report in result.reports.values()} == {Report}
