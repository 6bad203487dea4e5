"""Locks on files: one process at a time."""

import os
import sys
from pathlib import Path
from typing import IO, Any

from earmark.errors import DataError


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
        raise DataError(f"{path.parent}: another process is at work there; wait for it, or stop it")
