"""What the commands share: errors of one line, progress on standard error, results on standard output or in a file."""

import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

from cyclopts import CycloptsError, Parameter
from rich.console import Console

from earmark.errors import AudioError, ConfigError, EarmarkWarning
from earmark.storage.files import atomic_write

Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]


def _check_score(type_: Any, value: float | str | None) -> None:
    if isinstance(value, float) and not 0 <= value <= 1:
        raise ValueError(f"a score from 0 to 1 was expected, not {value:g}")


Score = Annotated[float | Literal["auto"] | None, Parameter(validator=_check_score)]
_WIDTH_OF_FILES = 160
_SUFFIXES: Final = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "table",
    "": "table",
}
_PICTURES: Final = (".png", ".svg", ".pdf")
_ADVICE: Final = re.compile(r"()(?:(?<=\bset )|(?<=; ))([a-z]+(?:_[a-z]+)+)(?:=(\w+))?(?=[ ,;)]|$)")
_SETTING: Final = re.compile(r"^([a-z_]+): |(?:^|(?<= ))([a-z]+(?:_[a-z]+)+)(?:=(\w+))?(?=[ ,;)]|$)")
Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


def one_line(error: BaseException | str) -> str:
    """The text of an error without line breaks or control characters, whatever file names it quotes."""
    if isinstance(error, OSError) and error.strerror:
        # of a failed rename the second name is the one that its user knows
        name = error.filename2 or error.filename
        text = error.strerror if name is None else f"{name}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else " " for c in text).strip()


def report_error(error: BaseException | str) -> None:
    """Prints `error: ...` on standard error."""
    text = one_line(error)
    # files, labels and columns may have the name of a setting
    named = text if isinstance(error, AudioError | OSError) else in_flags(text, isinstance(error, ConfigError | str))
    sys.stderr.write(f"error: {named}\n")


def in_flags(text: str, is_about_settings: bool = True) -> str:
    """The text of an error of the library with settings called as the command line calls them.

    Args:
        text: Of the error.
        is_about_settings: Whether a word that is one means it anywhere; else only where the text says to set it.

    >>> in_flags("n_heads: a divisor of 16 was expected; or set gradient_clip=1")
    '--n-heads: a divisor of 16 was expected; or set --gradient-clip 1'
    """

    def as_flag(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in _settings():
            return match[0]
        flag = f"--{name.replace('_', '-')}"
        return f"{flag}: " if match[1] else f"{flag} {match[3]}" if match[3] else flag

    return (_SETTING if is_about_settings else _ADVICE).sub(as_flag, text)


@cache
def _settings() -> frozenset[str]:
    # loaded only when there is an error that may name one
    from dataclasses import fields

    from earmark.data.soundscapes import SoundscapeConfig
    from earmark.packing import PackConfig
    from earmark.training.settings import TrainConfig

    named = {entry.name for settings in (TrainConfig, SoundscapeConfig, PackConfig) for entry in fields(settings)}
    return frozenset(
        named
        | {
            "top",
            "threshold",
            "window",
            "hop",
            "release",
            "labels",
            "split",
            "actors",
            "cpus_per_actor",
            "rows_per_part",
            "skip_bad",
            "min_seconds",
            "silent_dbfs",
            "clipped_share",
            "min_clips",
            "keep",
            "drop",
        }
    )


def tell_warnings(quiet: bool) -> None:
    """Has the library's warnings printed as notes on standard error, each once."""
    told: set[str] = set()

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if not issubclass(category, EarmarkWarning):
            sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
        elif (text := in_flags(one_line(str(message)), is_about_settings=False)) not in told:
            told.add(text)
            note(f"note: {text}", quiet)

    warnings.showwarning = show
    warnings.simplefilter("always", EarmarkWarning)


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Keeps off standard error, while the block runs, what C libraries print there themselves, such as libmpg123 every
    frame of a damaged mp3 that it cannot make out; what Python writes gets there as ever.

    For the time before threads start until after they have ended: standard error is one for all of them.
    """
    sys.stderr.flush()
    own, kept = sys.stderr, os.dup(2)
    try:
        if _descriptor(own) == 2:
            sys.stderr = open(  # noqa: SIM115
                kept, "w", buffering=1, encoding=own.encoding, errors=own.errors, closefd=False
            )
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = own
        os.dup2(kept, 2)
        os.close(kept)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1  # no file stands behind it


def note(text: str, quiet: bool) -> None:
    """Prints a line for people on standard error, unless they want quiet."""
    if not quiet:
        sys.stderr.write(f"{text}\n")


def say(text: str) -> None:
    """Prints a line of the result on standard output."""
    sys.stdout.write(f"{text}\n")


def paper(stream: TextIO) -> Console:
    """A console for tables that takes labels and file names as they are, and has room where no screen limits it."""
    width = None if stream.isatty() else _WIDTH_OF_FILES
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def progress(doing: str, quiet: bool) -> Iterator[Progress]:
    """A progress bar on standard error while the block runs, where a person sees it."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not console.is_terminal
    with Bar(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def chosen_form(form: str | None, json: bool, out: Path | None, forms: Collection[str]) -> str:
    """The form of a result: what --format or --json says, else the suffix of --out, else a table.

    Args:
        form: Of --format.
        json: Of --json.
        out: Of --out.
        forms: What the command can write.

    Raises:
        CycloptsError: --json and --format contradict each other, or the suffix names none of the forms.
    """
    if json and form not in (None, "json"):
        raise CycloptsError(f"--json is short for --format json, and --format {form} says otherwise: give one of them")
    if json or form is not None:
        return form or "json"
    suffix = out.suffix.lower() if out is not None else ""
    named = _SUFFIXES.get(suffix)
    if named in forms:
        return str(named)
    listed = ", ".join(forms)
    raise CycloptsError(f"--out {out}: its suffix names none of the formats {listed}; say which by --format")


def refuse_overwriting(out: Path | None, inputs: Iterable[Path | str]) -> None:
    """Refuses an --out that is one of the files that the command reads, by whatever name.

    Raises:
        CycloptsError: It is.
    """
    if out is None or not out.exists():
        return
    for path in inputs:
        with suppress(OSError):  # a file that is not there is told when it is read
            if out.samefile(path):
                raise CycloptsError(f"--out {out} is {path} itself, which would be lost; give another name")


def check_picture(plot: Path | None, others: Iterable[Path | str]) -> None:
    """Refuses a --plot before the work that could not be drawn after it.

    Raises:
        CycloptsError: It is no name of a picture, or that of a file that is read or written.
        EarmarkError: matplotlib is not installed.
    """
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise CycloptsError(f"--plot {plot}: a picture ends in {', '.join(_PICTURES)}")
    for other in others:
        if Path(other).resolve() == plot.resolve():
            raise CycloptsError(f"--plot {plot} is {other} itself, which would be lost; give another name")
    from earmark.plots import require_matplotlib

    require_matplotlib()


@contextmanager
def recording(file: Path) -> Iterator[Path]:
    """The file itself, or for - a temporary one of what comes from standard input."""
    if str(file) != "-":
        yield file
        return
    from earmark.audio.recording import temporary_copy  # brings numpy, which --help does without

    with temporary_copy(sys.stdin.buffer) as path:
        yield path


@contextmanager
def destination(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there when the block has ended well."""
    if out is None:
        yield sys.stdout
        return
    with (
        atomic_write(out) as temporary,
        temporary.open(
            # names of files need not be text: the bytes that are none pass through as they came
            "w",
            encoding="utf-8",
            errors="surrogateescape",
            newline="",
        ) as stream,
    ):
        yield stream


def write_json(value: Any, stream: TextIO | None = None) -> None:
    """One JSON object on a line of its own; ASCII alone, so that no terminal or pipe can spoil it."""
    stream = stream or sys.stdout
    stream.write(json.dumps(value, allow_nan=False) + "\n")
    stream.flush()


def write_failure(file: str, error: BaseException, form: str, out: Path | None) -> int:
    """Reports that a file cannot be read, to a machine that reads JSON too; returns the exit status."""
    report_error(error)
    if form == "json":
        with destination(out) as stream:
            write_json({"file": file, "error": one_line(error)}, stream)
    return 1


def rounded(value: float) -> float:
    """Six significant digits: more would be noise."""
    return float(f"{value:.6g}")


def bar(share: float, width: int = 20, mark: str = "━") -> str:
    """A bar for a share of 1.

    >>> bar(0.5, width=4)
    '━━  '
    """
    return (mark * round(min(max(share, 0.0), 1.0) * width)).ljust(width)
