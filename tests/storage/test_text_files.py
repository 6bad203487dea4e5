"""Lines of text files that other programs wrote."""

import csv

import pytest

from earmark.errors import DataError
from earmark.storage.text_files import read_lines, row_writer


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_are_read_in_unicode_with_any_line_end(encoding, tmp_path):
    (tmp_path / "a.txt").write_bytes("ä\r\nb\rc\n".encode(encoding))
    assert list(read_lines(tmp_path / "a.txt")) == ["ä\n", "b\n", "c\n"]
    assert list(read_lines(tmp_path / "a.txt", newline="")) == ["ä\r\n", "b\r", "c\n"]


def test_other_bytes_are_refused_or_kept(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: it is not UTF-8"):
        list(read_lines(tmp_path / "a.txt"))
    assert list(read_lines(tmp_path / "a.txt", "surrogateescape")) == ["\udcff\n"]
    with pytest.raises(DataError, match=r"none\.txt: cannot be read: No such file"):
        list(read_lines(tmp_path / "none.txt"))


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_rows_come_back_with_any_character(delimiter, tmp_path):
    rows = [["dog, barking", "a\tb"], ["a\rb.wav", "0.5"], ['"\n', ""], ["plain", "x"]]
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        for row in rows:
            row_writer(stream, delimiter)(row)
    with (tmp_path / "a.csv").open(newline="") as stream:
        assert list(csv.reader(stream, delimiter=delimiter, strict=True)) == rows
    assert (tmp_path / "a.csv").read_bytes().endswith(f"plain{delimiter}x\n".encode())
