"""Lines of text files that other programs wrote."""

import pytest

from earmark.errors import DataError
from earmark.storage.text_files import read_lines


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
