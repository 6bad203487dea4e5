"""One process at a time in a table's folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from earmark.errors import ConfigError
from earmark.storage.locks import lock_file

LOCK: Final = ".lock"
"""Name of the locked file; it also exists when no process holds the lock."""


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keeps other processes out of the folder until the block ends, if the file system has locks.

    Raises:
        ConfigError: Another process is at work there.
    """
    with (out / LOCK).open("w") as file:
        if not lock_file(file):
            raise ConfigError(f"{out}: another process is at work on this table; wait for it, or stop it")
        yield
