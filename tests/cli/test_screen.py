"""Output and errors that all commands share."""

import os
import warnings
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from earmark import cli
from earmark.cli import screen
from earmark.errors import AudioError, ConfigError, DataError, EarmarkError, EarmarkWarning

FORMS = ("table", "json", "csv")


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
def test_bars_show_values_from_0_to_1(share: float, bar: str) -> None:
    assert screen.bar(share, width=4) == bar


def test_numbers_have_six_digits() -> None:
    assert screen.rounded(1.2345678e-9) == 1.23457e-9


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (ConfigError("at least 1 was expected", "width"), "--width: at least 1 was expected"),
        (ConfigError("two numbers were expected", "n_events"), "--n-events: two numbers were expected"),
        (DataError("clips are damaged", remedy={"skip_bad": True}), "clips are damaged (--skip-bad)"),
        (
            ConfigError("off was expected", "shuffle", remedy={"balanced": False}),
            "--shuffle: off was expected (--no-balanced)",
        ),
        (
            EarmarkError("not finite", remedy={"gradient_clip": 1, "precision": "float32"}),
            "not finite (--gradient-clip 1, --precision float32)",
        ),
    ],
)
def test_errors_spell_settings_as_flags(error: EarmarkError, printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    screen.report_error(error)
    assert capfd.readouterr().err == f"error: {printed}\n"


@pytest.mark.parametrize(
    "text",
    [
        "x.json: n_heads: a divisor was expected",
        "n_heads: no such clip",
        "labels are dog, sea_waves, rain",
        "a sample_rate dir/n_workers: no such folder",
    ],
)
def test_names_in_a_text_are_unchanged(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    for error in (ConfigError(text), DataError(text), text):
        screen.report_error(error)
        assert capfd.readouterr().err == f"error: {text}\n"


def test_warnings_are_notes_each_once(capfd: pytest.CaptureFixture[str]) -> None:
    screen.show_warnings(quiet=False)
    for text in ("a\nb", "skip_bad", "a\nb"):
        warnings.warn(text, EarmarkWarning, stacklevel=1)
    warnings.warn(EarmarkWarning("slow", remedy={"width": 16}), stacklevel=1)
    assert capfd.readouterr().err == "note: a b\nnote: skip_bad\nnote: slow (--width 16)\n"
    screen.show_warnings(quiet=True)
    warnings.warn("a", EarmarkWarning, stacklevel=1)
    assert capfd.readouterr().err == ""
    warnings.warn("another library's", UserWarning, stacklevel=1)
    assert "UserWarning: another library's" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("form", "json", "out", "chosen"),
    [
        (None, False, None, "table"),
        (None, True, None, "json"),
        ("json", True, "x.csv", "json"),
        ("csv", False, "x.json", "csv"),
        (None, False, "x.JSONL", "json"),
        (None, False, "x.json", "json"),
        (None, False, "x.csv", "csv"),
        (None, False, "x.txt", "table"),
        (None, False, "pipe", "table"),
    ],
)
def test_the_format_of_a_result(form: str | None, json: bool, out: str | None, chosen: str) -> None:
    assert screen.chosen_form(form, json, Path(out) if out else None, FORMS) == chosen


@pytest.mark.parametrize(
    ("form", "json", "out", "forms", "message"),
    [
        ("csv", True, None, FORMS, "contradicts --format csv"),
        (
            None,
            False,
            "x.xml",
            FORMS,
            "x.xml: a suffix of one of the formats table, json, csv was expected; or give --format",
        ),
        (None, False, "x.csv", ("table", "json"), "a suffix of one of the formats table, json was expected"),
    ],
)
def test_an_invalid_format_is_refused(
    form: str | None, json: bool, out: str | None, forms: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CycloptsError, match=message):
        screen.chosen_form(form, json, Path(out) if out else None, forms)


def test_inputs_are_not_overwritten(tmp_path: Path) -> None:
    recording, link = tmp_path / "a.wav", tmp_path / "link"
    recording.touch()
    screen.refuse_overwriting(None, [recording])
    screen.refuse_overwriting(tmp_path / "new.csv", [recording])
    (tmp_path / "other").touch()
    screen.refuse_overwriting(tmp_path / "other", [recording, tmp_path / "gone", "earmark-esc50"])
    os.link(recording, link)
    for out in (recording, link):
        with pytest.raises(CycloptsError, match=r"is .*a\.wav itself, which would be lost; give another name"):
            screen.refuse_overwriting(out, [tmp_path / "gone", recording])
    (tmp_path / "folder").symlink_to(tmp_path)
    with pytest.raises(CycloptsError, match=r"--out .*new\.csv is .*folder.new\.csv itself"):
        screen.refuse_overwriting(tmp_path / "new.csv", [tmp_path / "folder" / "new.csv"])  # neither exists yet
    with pytest.raises(CycloptsError, match=r"--plot .*new\.png is .*folder.new\.png itself, which would be lost"):
        screen.check_files(tmp_path / "folder" / "new.png", tmp_path / "new.png", [recording])


def test_no_help_text_spans_lines_of_its_source() -> None:
    # help is printed as it is written: a line break in a docstring would be one in the middle of a sentence
    names = [(name,) for name in cli._COMMANDS]
    for command in names:
        arguments = cli.app[command[0]].assemble_argument_collection(parse_docstring=True)
        broken = [argument.name for argument in arguments if "\n" in (argument.parameter.help or "")]
        assert broken == [], command
