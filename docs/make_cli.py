"""Writes docs/cli.md: the help of every command, as printed by `earmark COMMAND --help`."""

import io
from pathlib import Path

from rich.console import Console

from earmark.cli import _COMMANDS, app
from earmark.storage.files import atomic_write


def page() -> str:
    """The page in Markdown."""
    parts = ["# Command line\n\nWritten by `make docs` from the program itself.\n"]
    commands = [(), *((name,) for name in _COMMANDS)]
    for command in commands:
        console = Console(file=io.StringIO(), width=100, force_terminal=False, color_system=None)
        app.help_print(list(command), console=console)
        lines = "\n".join(line.rstrip() for line in console.file.getvalue().strip().splitlines())
        parts.append(f"## {' '.join(('earmark', *command))}\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    with atomic_write(Path(__file__).parent / "cli.md") as path:
        path.write_text(page(), encoding="utf-8")
