"""What the commands share."""

from pathlib import Path

import pytest

from earmark.cli import screen
from earmark.errors import AudioError, EarmarkError


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    assert screen.one_line(AudioError("a\nb\x1b[31m\u2028c")) == "a b [31m c"
    assert screen.one_line(FileNotFoundError(2, "No such file", "x.wav")) == "x.wav: No such file"
    assert screen.one_line(OSError(28, "No space left on device")) == "No space left on device"
    assert screen.one_line(IsADirectoryError(21, "Is a directory", ".x-tmp", None, "x")) == "x: Is a directory"
    assert screen.one_line(OSError("odd")) == "odd"
    assert screen.one_line(EarmarkError()) == "EarmarkError"


def test_a_file_is_not_written_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(EarmarkError), screen.destination(tmp_path / "out.txt") as stream:
        stream.write("half")
        raise EarmarkError("no more")
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_line_of_ascii(capfd: pytest.CaptureFixture[str]) -> None:
    screen.write_json({"file": "T\u00fcr\udcff", "score": 0.5})
    assert capfd.readouterr().out == '{"file": "T\\u00fcr\\udcff", "score": 0.5}\n'


@pytest.mark.parametrize(("share", "bar"), [(0.0, "    "), (0.5, "━━  "), (1.0, "━━━━"), (2.0, "━━━━"), (-1.0, "    ")])
def test_bars(share: float, bar: str) -> None:
    assert screen.bar(share, width=4) == bar


def test_six_digits() -> None:
    assert screen.rounded(1.2345678e-9) == 1.23457e-9
