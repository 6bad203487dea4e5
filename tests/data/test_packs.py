"""What the footer of a pack may say, and what it may not; `test_parquet.py` reads whole files."""

import json

import pytest

from earmark.data import packs
from earmark.errors import DataError

ABOUT = {"format": 1, "kind": "pack", "name": "x", "labels": {"names": ["a"], "ids": ["/a"]}, "sample_rate": 1}


@pytest.mark.parametrize("text", [None, b"{}", b'{"kind": "other"}'])
def test_other_files_say_nothing(text):
    assert packs.about("f", text) == {}


def test_a_pack_says_what_it_is():
    about = packs.about("f", json.dumps(ABOUT).encode())
    assert about == ABOUT and packs.label_set("f", about).names == ("a",)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({**ABOUT, "format": 2}, "f: format 1 of `earmark pack` was expected, got 2"),
        ({**ABOUT, "labels": {"names": ["a", "a"], "ids": ["/a", "/b"]}}, "f: the label name 'a' is repeated"),
        ({**ABOUT, "labels": 3}, "f: the description of its data set is damaged"),
        ([], "f: the description of its data set is damaged"),
    ],
)
def test_a_damaged_description_is_refused(said, text):
    with pytest.raises(DataError, match=text):
        packs.about("f", json.dumps(said).encode() if said else b"[")


def test_ranges_are_there_for_every_row_or_not_at_all():
    assert packs.ranges("f", None, 2) is None and packs.ranges("f", b'{"id": ["a", "b"]}', 2) is None
    assert packs.ranges("f", b'{"start": [4, 9], "n_bytes": [5, 1]}', 2) == ([4, 9], [5, 1])
    for said in ('{"start": [4]}', '{"start": [4], "n_bytes": [5]}', '{"start": [4, -1], "n_bytes": [5, 1]}'):
        with pytest.raises(DataError, match="f: the rows that its footer repeats are damaged: 2 ranges of bytes"):
            packs.ranges("f", said.encode(), 2)
