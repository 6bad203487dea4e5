"""Locks on files: one process at a time."""

import sys
from typing import IO, Any


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
