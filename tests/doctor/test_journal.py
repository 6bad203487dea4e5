"""The journal of an examination, and the stamps of files."""

from dataclasses import replace

import pytest

from earmark.data import FileAudio
from earmark.data.synthetic import SyntheticSound
from earmark.doctor.facts import Facts
from earmark.doctor.journal import Entry, Stamp, open_facts_journal, stamp_of
from earmark.errors import DataError

RATE = 16000
FACTS = Facts(1.0, 44100, 2, 0.1, 0.0, "ab" * 32, None, None)


def test_entries_are_read_as_written(tmp_path, written):
    written(tmp_path / "journal.jsonl")
    with open_facts_journal(tmp_path / "journal.jsonl") as journal:
        assert list(journal.read(Entry.from_json)) == [
            Entry(f"clip {p}", replace(FACTS, seconds=p / 3), Stamp(p, 2**60, 7) if p else None) for p in range(3)
        ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"my diary\n", "line 1: damaged"),
        (b"[1, 2]\n", "begun by another version of earmark"),
        (b'HEAD["a", null, 1.0]\nnonsense\n', "line 3: damaged"),
        (b'HEAD["a", null, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n', "line 2: damaged"),
        (b"HEAD[]\n", "line 2: damaged"),
        (b"HEAD[0, [1], 1.0]\n", "line 2: damaged"),
    ],
)
def test_other_journals_are_refused_and_stay(tmp_path, content, message, written):
    path = tmp_path / "journal.jsonl"
    written(path, 0)
    path.write_bytes(content.replace(b"HEAD", path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(DataError, match=message), open_facts_journal(path) as journal:
        list(journal.read(Entry.from_json))
    assert path.read_bytes() == before


def test_only_existing_files_have_a_stamp(tmp_path, noise, saved):
    audio = saved(tmp_path / "a.wav", noise())
    assert stamp_of(audio).n_bytes == 44 + 2 * RATE
    assert stamp_of(FileAudio(tmp_path / "gone.wav")) is None
    assert stamp_of(FileAudio("a\0b")) is None
    assert stamp_of(SyntheticSound("bell", (0, 1))) is None
