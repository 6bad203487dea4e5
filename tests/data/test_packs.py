"""Footers of packs, valid and damaged; `test_parquet.py` reads whole files."""

import json

import pytest

from earmark.data import packs
from earmark.errors import DataError

ABOUT = {"format": 1, "kind": "pack", "name": "x", "labels": {"names": ["a"], "ids": ["/a"]}, "sample_rate": 1}


@pytest.mark.parametrize("text", [None, b"{}", b'{"kind": "other"}'])
def test_other_files_have_no_description(text):
    assert packs.about("f", text) == {}


def test_a_pack_has_a_description():
    about = packs.about("f", json.dumps(ABOUT).encode())
    assert about == ABOUT and packs.label_set("f", about).names == ("a",)


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ({**ABOUT, "format": 2}, "f: expected format 1 of `earmark pack`, got 2"),
        ({**ABOUT, "labels": {"names": ["a", "a"], "ids": ["/a", "/b"]}}, "f: the label name 'a' is repeated"),
        ({**ABOUT, "labels": 3}, "f: the description of its data set is damaged"),
        ([], "f: the description of its data set is damaged"),
    ],
)
def test_a_damaged_description_is_refused(description, text):
    with pytest.raises(DataError, match=text):
        packs.about("f", json.dumps(description).encode() if description else b"[")


def test_byte_ranges_cover_all_rows_or_none():
    assert packs.ranges("f", None, 2) is None and packs.ranges("f", b'{"id": ["a", "b"]}', 2) is None
    assert packs.ranges("f", b'{"start": [4, 9], "n_bytes": [5, 1]}', 2) == ([4, 9], [5, 1])
    for description in ('{"start": [4]}', '{"start": [4], "n_bytes": [5]}', '{"start": [4, -1], "n_bytes": [5, 1]}'):
        with pytest.raises(DataError, match="f: the rows that its footer repeats are damaged: expected 2 byte ranges"):
            packs.ranges("f", description.encode(), 2)
