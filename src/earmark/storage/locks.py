"""Locks on files: one process at a time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from earmark.errors import DataError

LOCK: Final = ".lock"
"""Name of the locked file of a folder; it also exists when no process holds the lock."""


def lock_file(file: IO[Any], per_process: bool = False) -> bool:
    """Locks a file that is open for writing until it is closed or its process ends; False if another process has it.

    A lock `per_process` is not inherited by forks, and a second call in the same process succeeds too. Windows has no
    such locks: there the answer is always True.

    Raises:
        OSError: The file system has no locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        (fcntl.lockf if per_process else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def alone(folder: Path, per_process: bool = False) -> Iterator[None]:
    """Keeps other processes out of the folder until the block ends, if its file system has locks.

    Args:
        folder: It must exist; the file `LOCK` in it is locked and stays. Nothing happens if it is read-only.
        per_process: As for `lock_file`.

    Raises:
        DataError: Another process is at work there.
    """
    if sys.platform == "win32" or not os.access(folder, os.W_OK):
        yield
        return
    with (folder / LOCK).open("w") as file:
        try:
            is_ours = lock_file(file, per_process)
        except OSError:
            is_ours = True
        if not is_ours:
            raise _occupied(folder)
        yield


def claim(file: IO[Any], path: Path) -> None:
    """Locks a file that is open for writing and that its owner may remove.

    Raises:
        DataError: Another process holds the lock, or held it and has removed the file.
        OSError: The file system has no locks.
    """
    try:
        is_ours = lock_file(file) and (
            sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat())
        )
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        raise _occupied(path.parent)


def _occupied(folder: Path) -> DataError:
    return DataError(f"{folder}: another process is at work there; wait for it, or stop it")
