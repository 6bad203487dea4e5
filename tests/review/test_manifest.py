"""`manifest.csv`."""

from dataclasses import replace

import pytest

from earmark.errors import DataError
from earmark.review.manifest import CutClip, read_manifest, write_manifest

ROW = CutClip("dog/x.flac", "x.wav", 1.0, 2.0, "dog", 0.9, "", 0.5, 2.5, 9, 3, "../x.wav", "abc")


def test_a_manifest_comes_back_with_odd_names(tmp_path):
    rows = [
        ROW,
        replace(ROW, clip="dog/z.flac", file="a\rb.wav"),
        replace(ROW, clip="dog/y.flac", file='a,"\udcff\n.wav', label="a;b, c", score=None, time="2024-05-01T05:30:00"),
    ]
    write_manifest(tmp_path, rows)
    assert read_manifest(tmp_path) == rows and ROW.name == "x.flac"


def test_no_manifest_and_damaged_ones_are_named_in_one_line(tmp_path):
    with pytest.raises(DataError, match="expected a folder of `earmark clips`"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, [ROW, replace(ROW, clip="fox/x.flac")])
    with pytest.raises(DataError, match=r"the clip x.flac occurs twice"):
        read_manifest(tmp_path)
    path = tmp_path / "manifest.csv"
    path.write_text(path.read_text().replace("0.9", "high"))
    with pytest.raises(DataError, match=r"manifest.csv, row 2: could not convert"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, [replace(ROW, onset=1.5)])
    path.write_text(path.read_text().replace("1.5", "early"))
    with pytest.raises(DataError, match=r"manifest.csv, row 2: expected a time in seconds"):
        read_manifest(tmp_path)
