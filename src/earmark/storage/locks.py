"""Files that one process at a time holds."""

import sys
from typing import IO, Any


def hold(file: IO[Any], by_process: bool = False) -> bool:
    """Locks an open file until it is closed, however its process ends; False where another one holds it.

    Args:
        file: Open for writing.
        by_process: Processes that are forked do not hold it too, and so not on after a kill; then a second call in the
            same process is not kept out.

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
