"""One run: its line, and shared log-mels."""

from dataclasses import replace

import pytest
import torch

from earmark.errors import DataError
from earmark.evaluation.report import evaluate
from earmark.evaluation.scoring import FailedClip
from earmark.training.folder import Epoch
from experiments.table1 import runs as module
from experiments.table1.lines import config_sha256
from experiments.table1.plan import Run
from experiments.table1.runs import features_folder, machine, perform, share_features, training_seconds
from experiments.table1.soundscapes import PARTS, open_part, part_folder, render_part

RUN = Run("sparse", "max", 1)


@pytest.fixture
def rendered(planned, out):
    plan, bank = planned()
    for part in PARTS:
        render_part(plan, bank, out, "sparse", part)
    return plan


def test_a_run_is_measured_at_its_best_epoch(rendered, out, monkeypatch):
    def train(*arguments, **options):
        result = module_train(*arguments, **options)
        result.last.unlink()  # in a run this short, the values may be equal
        return result

    module_train = module.train
    monkeypatch.setattr(module, "train", train)
    line = perform(out, rendered, RUN, n_beside=3)
    report = evaluate(
        module.Network.load(RUN.folder(out) / "best.safetensors"), open_part(rendered, out, "sparse", "test")
    )
    assert (line.mAP, line.mAUC, line.d_prime) == pytest.approx((report.mAP, report.mAUC, report.d_prime))
    assert line.test_ids_sha256 == report.clip_ids_sha256
    assert line.config == rendered.config(RUN).to_json()
    assert line.config_sha256 == config_sha256(line.config)
    assert (line.run, line.n_beside, line.n_labels) == (RUN, 3, 5)
    assert line.machine == machine(torch.device("cpu"))


def test_log_mels_are_computed_once_and_used(rendered, out):
    data = open_part(rendered, out, "sparse", "train")
    printed = []
    share_features(rendered, out, data, lambda done, total: printed.append((done, total)))
    assert printed[-1] == (12, 12)
    (stored,) = features_folder(out).iterdir()
    written = stored.stat().st_mtime_ns
    share_features(rendered, out, data, None)
    perform(out, rendered, RUN)
    assert stored.stat().st_mtime_ns == written
    assert len(list(features_folder(out).iterdir())) == 2, "the run added those of validation alone"


def test_soundscapes_that_cannot_be_read_are_reported(rendered, out, monkeypatch):
    victim = min((part_folder(out, "sparse", "train") / "audio").iterdir())
    victim.write_bytes(b"no sound")
    with pytest.raises(DataError, match=f"1 of 12 cannot be read; {victim.stem}: "):
        share_features(rendered, out, open_part(rendered, out, "sparse", "train"), None)


def test_an_incomplete_test_set_gives_no_line(rendered, out, monkeypatch):
    failing = [FailedClip("clip-3", "damaged")]
    monkeypatch.setattr(module, "evaluate", lambda *a, **k: replace(evaluate(*a, **k), failed=tuple(failing)))
    with pytest.raises(DataError, match=r"sparse test soundscapes of csv:bank\.csv: 1 cannot be read; clip-3: damaged"):
        perform(out, rendered, RUN)
    assert not RUN.scores(out).exists()


def test_the_time_of_training_leaves_validation_out():
    def epoch(clips_seen, seconds, rate):
        return Epoch(1, 1, clips_seen, seconds, 0.1, None, None, None, rate, 0.0)

    assert training_seconds([epoch(100, 60.0, 10.0), epoch(300, 200.0, 20.0)]) == pytest.approx(20.0)
