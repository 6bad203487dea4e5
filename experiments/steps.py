"""Steps of the scripts: run `earmark` commands as a user would, resume a run, check inputs, name the commit."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from earmark.errors import ConfigError
from earmark.storage.files import sha256_of
from earmark.storage.json_files import write_json
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


def check_inputs(work: Path, **files: Path | None) -> None:
    """Checks that a folder's steps were begun with the same files; their hashes are kept there.

    Args:
        work: The folder.
        files: The files by name, or None; one that is missing so far is checked once it is there.

    Raises:
        ConfigError: Earlier steps took other files.
    """
    kept = work / "inputs.json"
    before = json.loads(kept.read_text()) if kept.exists() else {}
    now = {name: sha256_of(path) for name, path in files.items() if path is not None and path.exists()}
    if changed := [name for name, digest in now.items() if before.get(name, digest) != digest]:
        raise ConfigError(f"{work}: other files were expected for {', '.join(changed)}; take another folder", "work")
    write_json(kept, {**before, **now})


def commit() -> str:
    """The commit of earmark's source, as pages name it; empty without version control.

    Edited files in `results/` don't count: the scripts write them.
    """
    found = short_commit(provenance.commit())
    if not found.endswith("-dirty"):
        return found
    edited = ["git", "-C", str(RESULTS.parent), "diff", "--quiet", "HEAD", "--", ".", ":!results"]
    return found if subprocess.run(edited, check=False).returncode else found.removesuffix("-dirty")


def short_commit(commit: str | None) -> str:
    """The first ten digits of a commit, with `-dirty` if files were edited.

    >>> short_commit("0123456789abcdef-dirty")
    '0123456789-dirty'
    """
    text = commit or ""
    return text[:10] + "-dirty" * text.endswith("-dirty")
