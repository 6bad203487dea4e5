"""Locks on files: one process at a time."""

import os
import sys
from pathlib import Path
from typing import IO, Any

from earmark.errors import DataError


def lock_file(file: IO[Any], per_process: bool = False) -> bool:
    """Locks an open file until it is closed or its process ends; False if another process holds the lock.

    Windows has no such locks: there the answer is always True.

    Args:
        file: Open for writing.
        per_process: The lock is per process and is not inherited by forks. A second call in the same process then
            succeeds too.

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
    """Locks an open file that its owner may remove, or raises.

    Args:
        file: Open for writing.
        path: The file's path.

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
