"""Checks of the data sets, and clips that cannot be read."""

import json
from dataclasses import replace

import pytest

from earmark.data.clips import Clip, Dataset
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet
from tests.training.tones import LABELS, SMALL, TONES, Broken, Tone, record_of, run, tones, with_broken


def test_labels_without_clips_are_named(tmp_path):
    labels = LabelSet((*TONES, "silence", "thunder"))
    with pytest.warns(
        EarmarkWarning, match=r"tones: there are no training clips for 2 of 5 labels, .*: silence, thunder"
    ):
        run(tmp_path, replace(SMALL, n_clips_seen=4), replace(tones(), labels=labels))
    assert record_of(tmp_path)["data"]["train"]["labels_without_clips"] == ["silence", "thunder"]


def test_data_without_anything_to_learn_are_refused(tmp_path):
    bare = tuple(replace(clip, labels=()) for clip in tones())
    with pytest.raises(DataError, match="none of the 16 training clips has a label"):
        run(tmp_path, replace(SMALL, allow_unlabelled=True), replace(tones(), clips=bare))
    some = replace(tones(), clips=(*bare[:4], *tones().clips[4:]))
    with pytest.raises(DataError, match=r"no label in 4 of 16 training clips: tones-0, tones-1, tones-2, ...;"):
        run(tmp_path, data=some)
    with pytest.raises(DataError, match="no label in 2 of 3 validation clips"):
        other = tones("other", 3, first=50).clips
        run(
            tmp_path,
            valid=Dataset("other", LABELS, tuple(replace(c, labels=c.labels[: i == 0]) for i, c in enumerate(other))),
        )
    assert not list(tmp_path.iterdir())
    run(tmp_path, replace(SMALL, allow_unlabelled=True, n_clips_seen=8), some)


def test_validation_must_fit_training(tmp_path):
    other = Dataset("other", LabelSet(("low", "noise")), (Clip("a", ("noise",), Tone((), 1)),))
    with pytest.raises(DataError, match=r"the training set \(3 labels\) lacks 1 label of the validation clips: noise;"):
        run(tmp_path, valid=other)
    with pytest.raises(DataError, match="4 sources are in both"):
        run(tmp_path, valid=replace(tones(n_clips=4), name="again"))


def test_the_cache_is_chosen_by_size(tmp_path):
    for gib, choice in ((4.0, "log_mel"), (1e-6, "none")):
        out = tmp_path / choice
        run(out, replace(SMALL, n_clips_seen=4, cache_gib=gib))
        assert json.loads((out / "run.json").read_text())["resolved"]["cache"] == choice


@pytest.mark.parametrize("cache", ["log_mel", "none"])
def test_unreadable_clips_are_reported(tmp_path, cache):
    config = replace(SMALL, cache=cache, balanced=False, n_clips_seen=32)
    data = with_broken(tones(n_clips=6), 2)
    with pytest.raises(DataError, match=r"clips? cannot be read: broken-\d \(broken.wav: damaged\).* \(skip_bad"):
        run(tmp_path / "strict", config, data)
    valid = with_broken(tones("other", 4, first=50), 2)
    valid = replace(valid, clips=tuple(replace(clip, id=f"v-{clip.id}") for clip in valid))
    result = run(tmp_path / "lenient", replace(config, skip_bad=True), data, valid)
    record = json.loads((tmp_path / "lenient" / "run.json").read_text())
    assert {entry["id"] for entry in record["skipped"]} == {"broken-0", "broken-1", "v-broken-0", "v-broken-1"}
    assert record["skipped"][0]["error"] == "broken.wav: damaged"
    assert result.history[-1].clips_seen == 32


def test_data_without_readable_clips_are_refused(tmp_path):
    data = Dataset("broken", LABELS, tuple(Clip(str(i), ("low",), Broken()) for i in range(5)))
    for cache in ("log_mel", "none"):
        with pytest.raises(DataError, match=r"clips? cannot be read"):
            run(tmp_path / cache, replace(SMALL, skip_bad=True, cache=cache), data)
