"""Code blocks of Markdown pages."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from earmark.cli import app, main

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^(<!-- parsed only: .+ -->\n)?```(python|sh)\n(.*?)^```", re.M | re.S)


class Block(NamedTuple):
    """A code block."""

    language: str
    code: str
    parsed_only: bool
    """Whether the page says that the block is too slow, or needs what a test has not."""


def blocks(page: Path) -> list[Block]:
    """The blocks of Python and of shell commands, in order."""
    return [Block(language, code, bool(mark)) for mark, language, code in _BLOCK.findall(page.read_text())]


def commands(code: str) -> Iterator[list[str]]:
    """The words of each `earmark` command of a shell block, without the first."""
    for line in code.splitlines():
        for part in line.partition(" #")[0].split(" | "):
            words = shlex.split(part.partition(" > ")[0])
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # NODE_RANK=0 earmark ...
                del words[0]
            if words and words[0] == "earmark":
                yield words[1:]


def check_command(words: list[str]) -> None:
    """Checks that the command exists and takes these flags."""
    words = ["./-" if word == "-" else word for word in words]  # as `main` does
    command, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
    assert callable(command) and bound.arguments, words


def run_command(words: list[str]) -> None:
    """Runs a command in this process."""
    assert main(words) == 0, words


def run_python(page: Path) -> Callable[[str], None]:
    """Runs code in a namespace that the blocks of a page share."""
    namespace: dict[str, object] = {}
    return lambda code: exec(compile(code, str(page), "exec"), namespace)  # noqa: S102
