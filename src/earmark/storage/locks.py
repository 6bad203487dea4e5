"""Locks on files."""

import os
import sys
from pathlib import Path
from typing import IO, Any

from earmark.errors import DataError


def hold(file: IO[Any], by_process: bool = False) -> bool:
    """Locks an open file until it is closed or its process ends; False if another process holds the lock.

    Args:
        file: Open for writing.
        by_process: The lock belongs to this process alone: forks do not inherit it, and a second call in the same
            process succeeds.

    Raises:
        OSError: The file system has no locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        (fcntl.lockf if by_process else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        is_ours = hold(file) and (sys.platform == "win32" or os.path.samestat(os.fstat(file.fileno()), path.stat()))
    except FileNotFoundError:
        is_ours = False
    if not is_ours:
        raise DataError(f"{path.parent}: another process is at work there; wait for it, or stop it")
