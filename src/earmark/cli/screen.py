"""What the commands share: errors of one line, progress on standard error, results on standard output or in a file."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import Parameter
from rich.console import Console

from earmark.files import atomic_write

Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")]
AsJson = Annotated[bool, Parameter(name="--json", negative="")]
_WIDTH_OF_FILES = 160
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
    sys.stderr.write(f"error: {one_line(error)}\n")


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


@contextmanager
def destination(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there when the block has ended well."""
    if out is None:
        yield sys.stdout
        return
    with atomic_write(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def write_json(value: Any, stream: TextIO | None = None) -> None:
    """One JSON object on a line of its own; ASCII alone, so that no terminal or pipe can spoil it."""
    stream = stream or sys.stdout
    stream.write(json.dumps(value, allow_nan=False) + "\n")
    stream.flush()


def rounded(value: float) -> float:
    """Six significant digits: more would be noise."""
    return float(f"{value:.6g}")


def bar(share: float, width: int = 20) -> str:
    """A bar for a share of 1.

    >>> bar(0.5, width=4)
    '━━  '
    """
    return ("━" * round(min(max(share, 0.0), 1.0) * width)).ljust(width)
