"""Spectrograms of clips."""

import pytest

from earmark.review.cutting import cut_clips
from earmark.review.pictures import draw_clips


def test_each_clip_in_its_place_gets_a_picture_once(detected, tmp_path):
    pytest.importorskip("matplotlib")
    rows = cut_clips(detected(("dog", 0.5), ("a/b", None)), tmp_path).rows
    (tmp_path / rows[1].clip).unlink()
    draw_clips(tmp_path, rows)
    (picture,) = (tmp_path / "plots").rglob("*.png")
    assert picture.relative_to(tmp_path / "plots").as_posix() == "dog/a_00000.00s_0.500.png"
    before = picture.stat().st_mtime_ns
    steps = []
    draw_clips(tmp_path, rows, lambda *step: steps.append(step))
    assert picture.stat().st_mtime_ns == before and steps == [(1, 2), (2, 2)]
