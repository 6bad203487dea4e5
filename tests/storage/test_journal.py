"""Journals survive the death of their writer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError
from earmark.storage import journal as module
from earmark.storage.journal import open_journal, read_journal

HEAD = {"format": 1, "seed": 0}
VALUES = [{"id": "a\udcff.wav", "n": n, "text": "ü" * n} for n in range(4)]


def same(value: Any) -> Any:
    return value


def written(path: Path, head: Any = None) -> bytes:
    with open_journal(path, head) as journal:
        for value in VALUES:
            journal.append(value)
    return path.read_bytes()


@pytest.mark.parametrize("head", [None, HEAD])
def test_values_are_read_in_order(tmp_path: Path, head: Any) -> None:
    path = tmp_path / "folder" / "journal.jsonl"
    written(path, head)
    with open_journal(path, head) as journal:
        assert journal.head == head
        assert list(journal.read(same)) == VALUES
        journal.append("last")
    with open_journal(path, head) as journal:
        assert list(journal.read(same)) == [*VALUES, "last"]


@pytest.mark.parametrize("head", [None, HEAD])
@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_a_line_that_was_cut_off_is_dropped(
    tmp_path: Path, head: Any, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    path = tmp_path / "journal.jsonl"
    whole = written(path, head)
    for n_bytes in range(len(whole) + 1):
        path.write_bytes(whole[:n_bytes])
        n_lines = whole[:n_bytes].count(b"\n")
        known = VALUES[: max(0, n_lines - (head is not None))]
        if head is None:
            assert list(read_journal(path, same)) == known
        with open_journal(path, head) as journal:
            assert list(journal.read(same)) == known
            journal.append("new")
        with open_journal(path, head) as journal:
            assert list(journal.read(same)) == [*known, "new"]


def test_a_journal_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    content = written(path) + b'{"cut'
    path.write_bytes(content)
    with open_journal(path) as journal:
        list(journal.read(same))
    assert path.read_bytes() == content
    assert list(read_journal(tmp_path / "nowhere", same)) == []


def test_the_head_of_an_earlier_call_is_kept(tmp_path: Path) -> None:
    written(tmp_path / "j", HEAD)
    with open_journal(tmp_path / "j", {"format": 2}) as journal:
        assert journal.head == HEAD


@pytest.mark.parametrize("content", [b"my diary", b"my diary\n", b'{"format": 2'])
def test_other_files_are_refused_and_stay(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"journal\.jsonl, line 1: damaged"), open_journal(path, HEAD):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"{", b"null", b"[1]", b'{"m": 1}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line + b"\n")
    with pytest.raises(DataError, match="line 2: damaged"):
        list(read_journal(path, lambda value: value["n"]))
    with open_journal(path) as journal, pytest.raises(DataError, match="line 2: damaged"):
        list(journal.read(lambda value: value["n"]))


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with open_journal(path) as journal:
        with pytest.raises(DataError, match="another process is at work there"), open_journal(path):
            pass
        journal.remove()
        assert not path.exists()
    written(path)


def test_a_kill_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom earmark.storage.journal import open_journal\n"
        "with open_journal(Path(sys.argv[1]), is_synced=True) as journal:\n"
        "    journal.append([1, 2])\n    print(flush=True)\n    input()\n"
    )
    words = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.kill()
    assert list(read_journal(path, same)) == [[1, 2]]


def test_lines_may_wait_to_be_flushed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with open_journal(path, seconds=3600.0) as journal:
        journal.append(1)
        assert path.read_bytes() == b""
    assert path.read_bytes() == b"1\n"
