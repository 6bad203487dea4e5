"""Clips cut out of their recordings."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.audio.recording import load_audio, probe
from earmark.errors import AudioError, ConfigError, DataError
from earmark.review.cutting import JOURNAL, ClipsConfig, cut_clips, read_description, recordings_of
from earmark.review.manifest import read_manifest
from tests.review.conftest import RATE


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_clip_is_the_part_of_its_recording_that_the_manifest_states(detected, tmp_path, recordings):
    clips = cut_clips(detected(("dog", 0.87), ("a/b", None), ("..", 0.2)), tmp_path / "out", ClipsConfig(pad=0.25))
    files = ["dog/a_00000.00s_0.870.flac", "a%2Fb/a_00000.50s.flac", "%2E%2E/a_00001.00s_0.200.flac"]
    assert [row.clip for row in clips.rows] == files and not clips.failed
    assert read_manifest(tmp_path / "out") == list(clips.rows)
    for row in clips.rows:
        path = tmp_path / "out" / row.clip
        whole = load_audio(recordings / "a.wav", RATE).waveform
        part = whole[round(row.start * RATE) : round(row.end * RATE)]
        np.testing.assert_array_equal(load_audio(path, RATE).waveform, part)
        assert (row.start, row.end) == (max(0.0, row.onset - 0.25), row.offset + 0.25)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        assert os.path.realpath(tmp_path / "out" / row.recording) == os.path.realpath(recordings / "a.wav")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}, "nothing is written outside of the folder"


def test_format_longest_clip_and_the_end_of_the_recording(recordings, tmp_path):
    events = [FileEvents(str(recordings / "a.wav"), (Annotation(1.0, 9.0, "x", 0.5), Annotation(9.0, 10.0, "x", 0.4)))]
    clips = cut_clips(events, tmp_path / "out", ClipsConfig(format="wav", max_duration=3.0))
    assert [(row.start, row.end) for row in clips.rows] == [(0.5, 3.5), (8.5, 10.0)]
    assert probe(tmp_path / "out" / clips.rows[0].clip).n_samples == 3 * RATE
    assert clips.rows[0].clip.endswith(".wav")


def test_few_clips_of_a_label_come_from_all_bands_and_state_how_many_they_stand_for(detected, tmp_path):
    events = detected(*[("dog", 0.15)] * 9, *[("dog", 0.95)] * 3, ("fox", 0.5))
    rows = cut_clips(events, tmp_path / "out", ClipsConfig(per_label=4)).rows
    assert sorted((row.label, row.band, row.n_in_band) for row in rows) == [
        *[("dog", 1, 9)] * 2,
        *[("dog", 9, 3)] * 2,
        ("fox", 5, 1),
    ]


def test_a_bad_recording_is_one_failure_and_the_others_are_cut(detected, tmp_path, recordings):
    events = detected(("dog", 0.9), more=("broken.wav", "b/a.wav"))
    events.append(FileEvents("gone.wav", (Annotation(0.0, 1.0, "dog"), Annotation(1.0, 2.0, "dog"))))
    late = FileEvents(str(recordings / "a.wav"), (Annotation(1.0, 2.0, "dog"), Annotation(50.0, 51.0, "dog")))
    clips = cut_clips([*events, late], tmp_path / "out")
    assert [(Path(failed.file).name, failed.n_clips) for failed in clips.failed] == [
        ("broken.wav", 1),
        ("gone.wav", 2),
        ("a.wav", 1),
    ]
    assert len(clips.rows) == 3 and all("\n" not in failed.error for failed in clips.failed)


def test_only_missing_clips_are_tried_again(detected, tmp_path, recordings):
    events, out = detected(("dog", 0.9)), tmp_path / "out"
    away = tmp_path / "away.wav"
    late = FileEvents(str(recordings / "a.wav"), (Annotation(1.0, 2.0, "dog"), Annotation(50.0, 51.0, "dog")))
    events = [*events, FileEvents("away.wav", (Annotation(0.0, 1.0, "dog", 0.5),)), late]
    find = dict.fromkeys((events[0].file,), recordings / "a.wav") | {"away.wav": away}
    first = cut_clips(events, out, find=find.__getitem__)
    assert [failed.n_clips for failed in first.failed] == [1, 1]
    for row in first.rows:
        (out / row.clip).unlink()  # as a person does
    away.write_bytes((recordings / "a.wav").read_bytes())
    second = cut_clips(events, out, find=find.__getitem__)
    assert [failed.n_clips for failed in second.failed] == [1] and len(second.rows) == 3
    assert [path.name for path in (out / "dog").iterdir()] == ["away_00000.00s_0.500.flac"]
    assert read_manifest(out) == list(second.rows)


def test_after_no_clip_the_folder_is_unfinished(detected, tmp_path):
    out = tmp_path / "out"
    assert not cut_clips(detected(("dog", 0.9)), out, find=lambda file: tmp_path / "gone.wav").rows
    with pytest.raises(DataError, match="unfinished"):
        read_description(out)
    assert len(cut_clips(detected(("dog", 0.9)), out).rows) == 1


def test_a_point_needs_padding(tmp_path, recordings):
    events = [FileEvents(str(recordings / "a.wav"), (Annotation(1.0, 1.0, "dog"),))]
    with pytest.raises(ConfigError, match="point at 1 s"):
        cut_clips(events, tmp_path / "out", ClipsConfig(pad=0.0))
    assert not (tmp_path / "out").exists()
    assert len(cut_clips(events, tmp_path / "out").rows) == 1


def test_an_interrupted_cutting_continues_to_the_same_result(detected, tmp_path):
    events = detected(("dog", 0.9), ("fox", 0.5), more=("b/a.wav", "broken.wav"))
    whole = cut_clips(events, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(n_done, _):
        if n_done == 2:
            raise Stop

    with pytest.raises(Stop):
        cut_clips(events, tmp_path / "out", progress=stop, n_threads=1)
    assert (tmp_path / "out" / JOURNAL).exists()
    (tmp_path / "out" / "dog" / ".x-0123456789ab.flac").touch()
    steps = []
    assert cut_clips(events, tmp_path / "out", progress=lambda *step: steps.append(step)) == whole
    assert steps == [(3, 3)] and content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_clip_that_cannot_be_written_ends_the_work(detected, tmp_path):
    (tmp_path / "fox").touch()  # in the place of a folder
    (tmp_path / JOURNAL).touch()
    with pytest.raises(AudioError, match="cannot be written"):
        cut_clips(detected(("dog", 0.9), ("fox", 0.5)), tmp_path)
    assert not (tmp_path / "manifest.csv").exists()


def test_a_finished_folder_stays_as_a_person_left_it(detected, tmp_path):
    events, out = detected(("dog", 0.9), ("fox", 0.5)), tmp_path / "out"
    first = cut_clips(events, out)
    (out / first.rows[0].clip).unlink()
    before = content(out)
    assert cut_clips(events, out) == first and content(out) == before
    with pytest.raises(ConfigError, match=r"pad 0.5 -> 1.0; take another folder"):
        cut_clips(events, out, ClipsConfig(pad=1.0))
    with pytest.raises(ConfigError, match=r"these differ: events"):
        cut_clips(detected(("dog", 0.8)), out)


def test_other_files_and_no_events_are_refused(detected, tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="other files"):
        cut_clips(detected(("dog", 0.9)), tmp_path)
    with pytest.raises(DataError, match="no event"):
        cut_clips(detected(), tmp_path / "out")


def test_recordings_are_found_from_the_working_folder_beside_the_table_or_below_a_root(tmp_path, monkeypatch):
    for name in ("tables/near.wav", "moved/site/x.wav", "here/x.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "here")
    find, moved = recordings_of(tmp_path / "tables" / "e.csv"), recordings_of(tmp_path / "e.csv", tmp_path / "moved")
    assert find("x.wav") == Path("x.wav") and find("near.wav") == find("near") == tmp_path / "tables" / "near.wav"
    for file in ("x.wav", "C:\\old\\site\\x.wav", "../site/x.wav"):
        assert moved(file) == tmp_path / "moved" / "site" / "x.wav"
    with pytest.raises(DataError, match="--audio-root"):
        find("none.wav")
    with pytest.raises(DataError, match=r"no recording 'near.wav' in \S+moved$"):
        moved("near.wav")


def test_a_damaged_description_is_named(detected, tmp_path):
    cut_clips(detected(("dog", 0.9)), tmp_path / "out")
    about = json.loads((tmp_path / "out" / "clips.json").read_text())
    (tmp_path / "out" / "clips.json").write_text(json.dumps({**about, "format": 9}))
    with pytest.raises(DataError, match="format 1"):
        cut_clips(detected(("dog", 0.9)), tmp_path / "out")
