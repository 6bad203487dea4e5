"""Steps of the scripts: run `earmark` commands as a user would, resume a run, name the commit."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from earmark.training import provenance

RESULTS: Final = Path(__file__).parent.parent / "results"


def earmark(*words: object, folder: Path, output: IO[str] | None = None) -> None:
    """Runs a command of earmark in a process of its own; on Ctrl-C waits until that process has saved its work.

    Args:
        words: The words after `earmark`.
        folder: Working folder of the command.
        output: Receives its standard output; None lets it through.

    Raises:
        SystemExit: The command failed, and has reported why; with its exit status.
    """
    run([sys.executable, "-m", "earmark", *map(str, words)], folder, output)


def run(command: Sequence[str], folder: Path, output: IO[str] | None = None) -> None:
    """Runs a command like `earmark` above.

    Raises:
        SystemExit: The command failed; with its exit status.
    """
    with subprocess.Popen(command, cwd=folder, stdout=output, text=True) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C reached this process too, which is saving
            raise
    if status:
        raise SystemExit(status)


def resume(run_folder: Path) -> list[str]:
    """`--resume` if the training in this folder has started, else nothing."""
    return ["--resume"] if (run_folder / "run.json").exists() else []


def commit() -> str:
    """The first ten digits of the commit of earmark's source; empty without version control."""
    return (provenance.commit() or "")[:10]
