"""Output of the commands: errors in one line, progress on standard error, results on standard output or in a file."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, TextIO

from cyclopts import CycloptsError

from earmark.errors import AudioError, ConfigError, EarmarkError, EarmarkWarning
from earmark.storage.files import atomic_write, in_either_form
from earmark.storage.remote import url_of

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 160
_SUFFIXES: Final = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "table",
    "": "table",
}
_PICTURES: Final = (".png", ".svg", ".pdf")
_CONTROL: Final = dict.fromkeys(b"\a\b\v\f\r")
"""Characters of file names that would move the cursor or sound the bell."""
NO_URL: Final = "a local file was expected, not a URL; download it, or give its URL to `earmark bulk` in a listing"
Progress = Callable[[int, int], None]
"""Called with the amount done and the total."""


def one_line(error: BaseException | str) -> str:
    """The text of an error without line breaks and control characters, which file names may contain."""
    if isinstance(error, OSError) and error.strerror:
        # of the two names of a failed rename, the user knows the second
        name = error.filename2 or error.filename
        text = error.strerror if name is None else f"{name}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else " " for c in text).strip()


def in_flags(error: BaseException | str) -> str:
    """The text of an error in one line, with settings spelled as flags.

    >>> from earmark.errors import ConfigError
    >>> in_flags(ConfigError("a divisor of 16 was expected, not 3", "n_heads", remedy={"gate": False}))
    '--n-heads: a divisor of 16 was expected, not 3 (--no-gate)'
    """
    return one_line(error.text(flag, _assigned) if isinstance(error, EarmarkError | EarmarkWarning) else error)


def flag(setting: str) -> str:
    """The flag of a setting.

    >>> flag("n_heads")
    '--n-heads'
    """
    return f"--{setting.replace('_', '-')}"


def _assigned(setting: str, value: object) -> str:
    if isinstance(value, bool):
        return flag(setting if value else f"no_{setting}")
    return f"{flag(setting)} {quote(str(value))}"


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turns an invalid setting in the block, in which no work has begun, into an error of usage."""
    try:
        yield
    except ConfigError as error:
        raise CycloptsError(in_flags(error)) from error


def report_error(error: BaseException | str) -> None:
    """Prints `error: ...` on standard error."""
    _write_to_stderr(f"error: {in_flags(error)}\n")


def _write_to_stderr(text: str) -> None:
    sys.stdout.flush()  # where both go to one file, the text begins after the results so far, on a line of its own
    sys.stderr.write(text)


def show_warnings(quiet: bool) -> None:
    """Prints the library's warnings from now on as notes on standard error, each once."""
    shown: set[str] = set()

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if not issubclass(category, EarmarkWarning):
            _write_to_stderr(warnings.formatwarning(message, category, filename, lineno, line))
        elif (text := in_flags(message if isinstance(message, Warning) else str(message))) not in shown:
            shown.add(text)
            note(f"note: {text}", quiet)

    warnings.showwarning = show
    warnings.simplefilter("always", EarmarkWarning)


def note(text: str, quiet: bool) -> None:
    """Prints a line on standard error unless `quiet`."""
    if not quiet:
        _write_to_stderr(f"{text}\n")


def say(text: str) -> None:
    """Prints a line on standard output."""
    sys.stdout.write(f"{text}\n")


def table_console(stream: TextIO) -> "Console":
    """A console for tables; it prints labels and file names unchanged, and is wide if the stream is no terminal."""
    from rich.console import Console

    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def table(rows: "Iterable[Sequence[RenderableType]]", *headings: str) -> "Table":
    """A table without lines."""
    from rich.table import Table

    result = Table(*headings, show_header=bool(headings), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        result.add_row(*row)
    return result


def print_tags(stream: TextIO, heading: str, rows: Sequence[Sequence[str]]) -> None:
    """Prints a heading and a table of tags or events, which may be empty.

    Only the width of characters comes from rich: its tables take a tenth of a second to load.
    """
    from rich.cells import cell_len

    is_bold = stream.isatty() and os.name == "posix" and os.environ.get("TERM", "dumb") != "dumb"
    lines = [f"\033[1m{heading}\033[0m" if is_bold else heading]
    if not rows:
        lines.append("      nothing reaches the threshold")
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    stream.write("".join(f"{line.translate(_CONTROL)}\n" for line in lines))


@contextmanager
def progress(doing: str, quiet: bool) -> Iterator[Progress]:
    """A progress bar while the block runs, if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not console.is_terminal
    with Bar(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def chosen_form(form: str | None, json: bool, out: Path | None, forms: Collection[str]) -> str:
    """The format of a result: from --format or --json, else from the suffix of --out, else a table.

    Args:
        form: Value of --format.
        json: Value of --json.
        out: Value of --out.
        forms: Formats of the command.

    Raises:
        CycloptsError: --json contradicts --format, or the suffix belongs to none of the formats.
    """
    if json and form not in (None, "json"):
        raise CycloptsError(f"--json means --format json, which contradicts --format {form}: give one of them")
    if json or form is not None:
        return form or "json"
    suffix = out.suffix.lower() if out is not None else ""
    named = _SUFFIXES.get(suffix)
    if named in forms:
        return str(named)
    listed = ", ".join(forms)
    raise CycloptsError(f"--out {out}: a suffix of one of the formats {listed} was expected; or give --format")


def refuse_overwriting(out: Path | None, inputs: Iterable[Path | str]) -> None:
    """Refuses an --out that is one of the files that the command reads, under any name.

    Raises:
        CycloptsError: The files are the same.
    """
    if out is not None:
        _refuse("--out", out, inputs)


def _refuse(written: str, file: Path, others: Iterable[Path | str]) -> None:
    for other in others:
        if _is_same(file, other):
            raise CycloptsError(f"{written} {file} is {other} itself, which would be lost; give another name")


def _is_same(file: Path, other: Path | str) -> bool:
    """Whether both are one file, which may not exist yet."""
    with suppress(OSError):  # a file that does not exist yet
        if file.samefile(other):
            return True
    return os.path.realpath(file) == os.path.realpath(other)


def check_files(out: Path | None, plot: Path | None, inputs: Sequence[Path | str]) -> None:
    """Checks --out and --plot before the work starts.

    Raises:
        CycloptsError: --plot has no suffix of a picture, --out or --plot is an input, or they are the same file.
        EarmarkError: matplotlib is not installed.
    """
    refuse_overwriting(out, inputs)
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise CycloptsError(f"--plot {plot}: a file that ends in {', '.join(_PICTURES)} was expected")
    _refuse("--plot", plot, [*inputs, *([out] if out is not None else [])])
    from earmark.plots import require_matplotlib

    require_matplotlib()


@contextmanager
def recording(file: Path) -> Iterator[Path]:
    """The file itself, or for - a temporary file with the content of standard input.

    Raises:
        AudioError: The path is a URL.
    """
    if (url := url_of(file)) is not None:
        raise AudioError(f"{url}: {NO_URL}")
    if str(file) != "-":
        yield in_either_form(file)
        return
    from earmark.audio.pipes import temporary_copy  # loads numpy, which --help does not need

    # Python cannot end while a thread waits for a buffered stream
    with temporary_copy(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)) as path:
        yield path


@contextmanager
def destination(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when the block succeeds."""
    if out is None:
        yield sys.stdout
        return
    # file names may hold bytes that are not UTF-8; they are written unchanged
    with (
        atomic_write(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        yield stream


def write_json(value: Any, stream: TextIO | None = None) -> None:
    """Writes a JSON value in one line, in ASCII for terminals and pipes with any encoding."""
    stream = stream or sys.stdout
    stream.write(json.dumps(value, allow_nan=False) + "\n")
    stream.flush()


def write_failure(file: str, error: BaseException, form: str, out: Path | None) -> int:
    """Reports an unreadable file on standard error and, for the format json, in the result; returns the exit status."""
    report_error(error)
    if form == "json":
        with destination(out) as stream:
            write_json({"file": file, "error": one_line(error)}, stream)
    return 1


def rounded(value: float) -> float:
    """The number with six significant digits."""
    return float(f"{value:.6g}")


def all_rounded(values: Iterable[float]) -> list[float]:
    """The numbers with six significant digits."""
    return [rounded(value) for value in values]


def bar(share: float, width: int = 20, mark: str = "━") -> str:
    """A bar whose filled part is `share` of its width.

    >>> bar(0.5, width=4)
    '━━  '
    """
    return (mark * round(min(max(share, 0.0), 1.0) * width)).ljust(width)
