"""The data set of a review."""

import os
import shutil
from dataclasses import replace

import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.data import open_data
from earmark.errors import DataError
from earmark.review.comparison import compare
from earmark.review.corrections import Written, write_corrections
from earmark.review.cutting import ClipsConfig, cut_clips


def test_the_data_set_states_what_a_person_has_decided(detected, tmp_path, recordings):
    folder = tmp_path / "clips"
    names = ("dog", "dog", "dog", "dog", "dog", "a;b")
    rows = cut_clips(detected(*[(name, 0.9 - 0.1 * n) for n, name in enumerate(names)]), folder).rows
    for row, target in zip(rows[1:4], ("fox", "_noise", "_later"), strict=True):
        (folder / target).mkdir()
        shutil.move(folder / row.clip, folder / target)
    (folder / rows[4].clip).unlink()
    compared = compare(folder)
    table = tmp_path / "sets" / "corrected.csv"
    assert write_corrections(table, folder, compared.verdicts, compared.labels) == Written(2, 1, 1, 1, 0)
    data = open_data(f"csv:{table}")
    assert data.labels.names == ("a;b", "dog", "fox")
    assert [(clip.labels, clip.known) for clip in data] == [
        (("dog",), ("dog",)),
        (("fox",), ("fox", "dog")),
        ((), ("a;b", "dog", "fox")),
        (("a;b",), ("a;b",)),
        ((), ("dog",)),
    ]
    assert {clip.group for clip in data} == {os.path.realpath(recordings / "a.wav")}
    deleted = data[4].audio
    assert deleted.path.samefile(recordings / "a.wav")
    assert (deleted.onset, deleted.onset + deleted.duration) == (rows[4].start, rows[4].end)
    assert all(clip.load(8000).duration > 0.9 for clip in data)


def test_deleted_clips_with_the_same_onset_are_one_and_those_without_a_recording_are_left_out(tmp_path, recordings):
    shutil.copy(recordings / "a.wav", tmp_path / "gone.wav")
    events = [
        FileEvents(
            str(recordings / "a.wav"),
            (Annotation(2.0, 4.0, "dog"), Annotation(2.0, 3.0, "fox"), Annotation(9.9, 10.0, "owl")),
        ),
        FileEvents(str(tmp_path / "gone.wav"), (Annotation(2.0, 3.0, "dog"),)),
    ]
    cut_clips(events, tmp_path / "clips", ClipsConfig(pad=0.0))
    for path in (tmp_path / "clips").glob("*/*.flac"):
        path.unlink()
    (tmp_path / "gone.wav").unlink()
    compared = compare(tmp_path / "clips")
    written = write_corrections(tmp_path / "c.csv", tmp_path / "clips", compared.verdicts, compared.labels)
    assert written == Written(0, 0, 0, 3, 1)
    first, second = open_data(f"csv:{tmp_path / 'c.csv'}")
    assert (first.known, first.audio.duration) == (("dog", "fox"), 1.0) and second.known == ("owl",)


def test_nothing_judged_is_nothing_to_train_on(detected, tmp_path):
    cut_clips(detected(("dog", 0.5)), tmp_path)
    compared = compare(tmp_path)
    aside = [replace(verdict, kind="aside") for verdict in compared.verdicts]
    with pytest.raises(DataError, match="no clip was judged"):
        write_corrections(tmp_path / "c.csv", tmp_path, aside, compared.labels)
