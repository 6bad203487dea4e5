"""Verdicts on clips."""

import shutil

import pytest

from earmark.errors import DataError
from earmark.review.comparison import compare
from earmark.review.cutting import cut_clips


@pytest.fixture
def folder(detected, tmp_path):
    out = tmp_path / "out"
    cut_clips(detected(*[("dog", 0.9 - 0.1 * n) for n in range(7)], ("fox", 0.5)), out)
    return out


def move(folder, clip, target, name=None):
    source = next(folder.glob(f"*/*{clip}*"))
    (folder / target).mkdir(parents=True, exist_ok=True)
    shutil.move(source, folder / target / (name or source.name))


def test_a_clip_is_judged_by_where_it_lies(folder):
    move(folder, "_0.800", "fox")
    move(folder, "_0.700", "_noise")
    move(folder, "_0.600", "_unsure")
    next(folder.glob("dog/*_0.500*")).unlink()
    move(folder, "_0.400", "caf%C3%A9", name="renamed.flac")
    shutil.copy(next(folder.glob("dog/*_0.300*")), folder / "fox")
    (folder / "fox" / "notes.txt").touch()
    (folder / "plots" / "dog").mkdir(parents=True)
    shutil.copy(next(folder.glob("dog/*_0.900*")), folder / "plots" / "dog" / "x.flac")
    compared = compare(folder)
    assert [(v.row.score, v.kind, v.labels) for v in compared.verdicts] == [
        (pytest.approx(0.9), "confirmed", ("dog",)),
        (pytest.approx(0.8), "corrected", ("fox",)),
        (pytest.approx(0.7), "noise", ()),
        (pytest.approx(0.6), "aside", ()),
        (pytest.approx(0.5), "deleted", ()),
        (pytest.approx(0.4), "corrected", ("café",)),
        (pytest.approx(0.3), "confirmed", ("dog", "fox")),
        (0.5, "confirmed", ("fox",)),
    ]
    assert compared.labels == ("café", "dog", "fox") and not compared.others
    assert [v.is_right for v in compared.verdicts] == [True, False, False, False, False, False, True, True]


def test_recordings_that_were_not_cut_do_not_count(folder, recordings):
    shutil.copy(recordings / "a.wav", folder / "dog" / "mine.wav")
    compared = compare(folder)
    assert compared.others == (folder / "dog" / "mine.wav",) and len(compared.verdicts) == 8


def test_a_clip_beside_the_folders_is_not_judged(folder):
    move(folder, "_0.900", ".")
    assert compare(folder).verdicts[0].kind == "aside"


def test_contradictions_and_unfinished_folders_are_refused(folder):
    (folder / "_noise").mkdir()
    shutil.copy(next(folder.glob("dog/*_0.900*")), folder / "_noise")
    with pytest.raises(DataError, match="lies in _noise and in the folder of 'dog'"):
        compare(folder)
    (folder / "clips.json").unlink()
    with pytest.raises(DataError, match="no folder of `earmark clips`"):
        compare(folder)
    (folder / "_clips.jsonl").touch()
    with pytest.raises(DataError, match="unfinished"):
        compare(folder)
