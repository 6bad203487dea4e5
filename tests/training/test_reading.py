"""The clips of a run and the targets that a teacher gives them."""

from dataclasses import replace

from earmark.model.network import Network
from earmark.training.teacher import TeacherConfig
from tests.training.tones import SMALL, record_of, run, tones, with_broken


def test_variants_and_unreadable_clips_keep_their_own_scores(tmp_path):
    first = run(tmp_path / "first", replace(SMALL, n_clips_seen=4))
    config = replace(SMALL, n_clips_seen=8, clips_per_epoch=8, skip_bad=True, n_variants=1)
    config = replace(config, background_share=0.0)
    taught = TeacherConfig((str(first.last),))
    result = run(tmp_path / "run", config, with_broken(tones(n_clips=4), 2), teacher=taught)
    assert Network.load(result.last).labels == tones().labels
    assert len(record_of(tmp_path / "run")["skipped"]) == 4
    assert len((tmp_path / "run" / "teacher" / "training.jsonl").read_text().splitlines()) == 1 + 8, "the readable ones"


def test_a_head_on_a_frozen_backbone_is_distilled_too(tmp_path):
    first = run(tmp_path / "first", replace(SMALL, n_clips_seen=4))
    config = replace(SMALL, n_clips_seen=8, init=str(first.last), freeze="backbone", spec_augment=False)
    result = run(tmp_path / "run", config, tones(n_clips=4), teacher=TeacherConfig((str(first.last),)))
    assert record_of(tmp_path / "run")["resolved"]["cache"] == "segments"
    assert Network.load(result.last).labels == tones().labels
