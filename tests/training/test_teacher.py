"""Soft targets: what a student is trained on when other taggers score its clips."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from earmark import hub
from earmark.errors import ConfigError, DataError
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.training import train
from earmark.training.batches import TrainBatches, Waveforms
from earmark.training.plan import Plan
from earmark.training.teacher import (
    LiveTeacher,
    SoftTargets,
    Teacher,
    TeacherConfig,
    blended,
    for_student,
    positives,
    teacher_scores,
)
from tests.training.tones import LABELS, SMALL, in_files, record_of, run, state_of, targets_of, tones, with_broken


def network(seed, labels=LABELS):
    torch.manual_seed(seed)
    return Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), labels).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two taggers of the same labels in another order, and one of other labels."""
    folder = tmp_path_factory.mktemp("models")
    sets = {"one": LABELS, "two": LabelSet(tuple(reversed(LABELS.names))), "other": LabelSet(("dog", "cat"))}
    for seed, (name, labels) in enumerate(sets.items()):
        network(seed, labels).save(folder / f"{name}.safetensors")
    return {name: str(folder / f"{name}.safetensors") for name in sets}


def teacher(models, *names, label_weight=0.0):
    return Teacher(TeacherConfig(tuple(models[name] for name in names), label_weight))


def scores_of(taught, data, path, **options):
    settings = {"n_readers": 1, "skip_bad": False, "advance": lambda _: None, **options}
    return teacher_scores(data, taught, path, **settings)


def test_several_teachers_are_averaged_by_label(models):
    audio = tones()[2].load(16000)
    both, one, two = (teacher(models, *names) for names in (("one", "two"), ("one",), ("two",)))
    assert both.labels == LABELS and both.sample_rate == 16000
    expected = (one.score(audio) + two.score(audio)[::-1]) / 2
    assert both.score(audio) == pytest.approx(expected)


def test_teachers_need_the_same_labels(models):
    with pytest.raises(ConfigError, match=r"same labels were expected.*has 3 and .*other.safetensors has 2"):
        teacher(models, "one", "other")
    with pytest.raises(ConfigError, match="at least one tagger"):
        TeacherConfig(())


def test_the_record_has_the_checksum_of_the_file_that_runs(monkeypatch):
    load = hub.load
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("earmark.hub.load", lambda name, device: load(name))  # a GPU is not needed
    for device, engine in (("cpu", "onnx"), ("cuda", "torch")):
        expected = hashlib.sha256(hub.find_checkpoint("earmark-esc50", engine).read_bytes()).hexdigest()
        assert Teacher(TeacherConfig(("earmark-esc50",)), device).facts()["sha256"] == [expected]


def test_the_student_has_the_teachers_labels(models):
    assert {clip.labels for clip in for_student(tones(), teacher(models, "two"))} == {()}
    kept = for_student(tones(), teacher(models, "two", label_weight=0.5))
    assert kept.labels.names == ("high", "mid", "low") and [c.labels for c in kept] == [c.labels for c in tones()]
    bare = replace(tones(), clips=(replace(tones()[0], labels=()), replace(tones()[1], labels=(), known=("low",))))
    student = for_student(bare, teacher(models, "two", label_weight=0.5))
    assert [clip.known for clip in student] == [(), ("low",)], "nothing is known of a clip without labels"
    assert for_student(bare, teacher(models, "two", label_weight=0.5), True)[0].known is None
    with pytest.raises(DataError, match=r"the teacher \(2 labels\) lacks 3 labels.*label_weight=0"):
        for_student(tones(), teacher(models, "other", label_weight=0.5))


def test_true_labels_have_their_weight_where_there_are_any():
    truth, scores = np.array([[1, 0], [0, 0]], np.float32), np.array([[0.5, 0.5], [0.2, 0.9]], np.float32)
    assert blended(truth, scores, 0.5) == pytest.approx(np.array([[0.75, 0.25], [0.1, 0.45]]))
    assert blended(truth, scores, 0.0) == pytest.approx(scores)
    truth[0, 1] = np.nan
    assert blended(truth, scores, 0.5)[0] == pytest.approx([0.75, 0.5]), "an unknown label is the teacher's"


def test_labels_are_drawn_by_the_soft_targets():
    scores = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.3], [0.0, 0.5, 0.0]], np.float32)
    targets = SoftTargets(targets_of(tones(n_clips=3)), scores, 0.0)
    assert [clips.tolist() for clips in targets.by_label()] == [[0], [2], [0]]
    assert targets.unlabelled().tolist() == [1] and len(targets) == 3
    assert positives(scores, LABELS).rows([0, 1, 2]).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_scores_are_kept_and_an_interrupted_call_continues(models, tmp_path):
    taught, data, path = teacher(models, "one"), tones(n_clips=4), tmp_path / "t" / "scores.jsonl"
    whole = scores_of(taught, data, path)
    expected = [taught.score(clip.load(16000)) for clip in data]
    assert whole == pytest.approx(np.array(expected), abs=1e-3)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    path.write_bytes(b"".join(lines[:3]) + lines[3][:7])  # killed in the middle of a line
    done = []
    assert np.array_equal(scores_of(taught, data, path, advance=done.append), whole)
    assert done == [2, 1, 1] and path.read_bytes() == b"".join(lines)


def test_scores_of_another_teacher_or_other_clips_are_refused(models, tmp_path):
    scores_of(teacher(models, "one"), tones(n_clips=2), tmp_path / "scores.jsonl")
    with pytest.raises(ConfigError, match="holds other scores, these differ: teacher"):
        scores_of(teacher(models, "two"), tones(n_clips=2), tmp_path / "scores.jsonl")
    with pytest.raises(ConfigError, match="these differ: clips"):
        scores_of(teacher(models, "one"), tones(n_clips=3), tmp_path / "scores.jsonl")


def test_unreadable_clips_are_an_error_or_left_out(models, tmp_path):
    data = with_broken(tones(n_clips=2), 1)
    with pytest.raises(DataError, match=r"broken-0: broken.wav: damaged.*skip_bad=True"):
        scores_of(teacher(models, "one"), data, tmp_path / "scores.jsonl")
    scores = scores_of(teacher(models, "one"), data, tmp_path / "scores.jsonl", skip_bad=True)
    assert not scores[0].any() and scores[1:].all()


def test_a_clip_that_could_not_be_read_is_tried_again(models, tmp_path):
    taught, path, data = teacher(models, "one"), tmp_path / "scores.jsonl", in_files(tones(n_clips=2), tmp_path)
    sound = data[0].audio.path
    whole = sound.read_bytes()
    sound.write_bytes(b"damaged")
    done = []
    assert not scores_of(taught, data, path, skip_bad=True, advance=done.append)[0].any()
    sound.write_bytes(whole)
    repaired = scores_of(taught, data, path, skip_bad=True, advance=done.append)
    assert done == [0, 1, 1, 1, 1]
    assert repaired == pytest.approx(np.array([taught.score(clip.load(16000)) for clip in data]), abs=1e-3)


def test_a_live_teacher_scores_the_crops_of_the_step(models):
    data = tones(n_clips=4, seconds=1.6)
    batches = TrainBatches(
        Waveforms(data.clips, 16000), targets_of(data), [clip.id for clip in data], Plan(9, 9, 4, 0), "clips", 8000, 0
    )
    batch, taught = batches[0], teacher(models, "one", label_weight=0.25)
    target = LiveTeacher(taught, 16000).target(batch)
    net = network(0)
    with torch.inference_mode():
        scores = net(batch.features, batch.lengths).sigmoid()
    assert batch.features.shape[1] == 8000
    torch.testing.assert_close(target, 0.25 * batch.target + 0.75 * scores, rtol=1e-4, atol=1e-5)


def distilled(out, models, config=SMALL, data=None, label_weight=0.0, **options):
    taught = TeacherConfig((models["one"],), label_weight)
    return run(out, config, data or tones(n_clips=8), teacher=taught, **options)


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_a_student_comes_near_its_teacher_on_unlabelled_clips(cache, tmp_path, models):
    plain = replace(SMALL, mixup_alpha=0.0, spec_augment=False, block_dropout=0.0, dropout=0.0, cache=cache)
    config = replace(plain, width=4, n_clips_seen=320, clips_per_epoch=80, batch_size=8, learning_rate=0.02)
    bare = replace(tones(), clips=tuple(replace(clip, labels=()) for clip in tones()))
    result = distilled(tmp_path / "run", models, config, bare)
    student, expected = Network.load(result.last), teacher(models, "one")
    with torch.inference_mode():
        sounds = [clip.load(16000) for clip in tones("other", 6, first=50)]
        scores = [student(torch.from_numpy(sound.waveform)[None])[0].sigmoid().numpy() for sound in sounds]
    difference = np.abs(np.array(scores) - np.array([expected.score(sound) for sound in sounds]))
    assert difference.mean() < 0.05, "a student that learned nothing differs by 0.1"
    assert record_of(tmp_path / "run")["teacher"]["models"] == ["one.safetensors"]
    assert (tmp_path / "run" / "teacher" / "training.jsonl").exists() == (cache == "log_mel")


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_a_stopped_distillation_ends_like_an_undisturbed_one(cache, tmp_path, models):
    config = replace(SMALL, cache=cache, n_clips_seen=24, clips_per_epoch=8, n_variants=1, mix_share=0.5)

    def stop(n_clips):
        if n_clips == 12:
            raise KeyboardInterrupt

    distilled(tmp_path / "whole", models, config, label_weight=0.3)
    with pytest.raises(KeyboardInterrupt):
        train(config, tones(n_clips=8), tmp_path / "cut", teacher=TeacherConfig((models["one"],), 0.3), progress=stop)
    distilled(tmp_path / "cut", models, config, label_weight=0.3, resume=True)
    a, b = (state_of(tmp_path / name)["averaged"] for name in ("whole", "cut"))
    assert all(bool((a[name] == b[name]).all()) for name in a)


def test_another_teacher_or_weight_is_another_run(tmp_path, models):
    distilled(tmp_path, models, replace(SMALL, n_clips_seen=4))
    with pytest.raises(ConfigError, match=r"continues with the settings it started with.*teacher"):
        distilled(tmp_path, models, replace(SMALL, n_clips_seen=4), label_weight=0.5, resume=True)


def test_validation_clips_without_labels_get_the_teachers(tmp_path, models):
    config = replace(SMALL, n_clips_seen=8, clips_per_epoch=8)
    bare = replace(tones("v", 6, first=30), clips=tuple(replace(c, labels=()) for c in tones("v", 6, first=30)))
    result = distilled(tmp_path, models, config, valid=bare)
    assert len((tmp_path / "teacher" / "validation.jsonl").read_text().splitlines()) == 7
    assert result.history[-1].valid_mAUC is not None and "teacher" in json.loads((tmp_path / "run.json").read_text())


def test_two_processes_distil_like_one(tmp_path, models):
    # the first process scores the validation clips for both, each one its share of every step
    config = replace(SMALL, cache="none", n_clips_seen=8, clips_per_epoch=8, block_dropout=0.0, dropout=0.0)
    bare = replace(tones("v", 4, first=30), clips=tuple(replace(c, labels=()) for c in tones("v", 4, first=30)))
    for n_devices in (1, 2):
        # batch norm has statistics of its own in each process
        own = replace(config, devices=n_devices, sync_batch_norm=n_devices > 1)
        distilled(tmp_path / str(n_devices), models, own, label_weight=0.5, valid=bare)
    one, two = (state_of(tmp_path / name) for name in "12")
    for name, value in one["averaged"].items():
        torch.testing.assert_close(two["averaged"][name], value, rtol=1e-3, atol=1e-4)
    assert two["history"][0]["valid_mAUC"] == pytest.approx(one["history"][0]["valid_mAUC"], nan_ok=True)
