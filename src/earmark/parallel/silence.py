"""Standard error without the messages of C libraries."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discards what C libraries write to standard error in the block; what Python writes there is still printed.

    Some libraries report every problem there, such as libmpg123 each damaged frame of an MP3. All threads share
    standard error: enter the block before they start and leave it after they end.
    """
    sys.stderr.flush()
    own, kept = sys.stderr, os.dup(2)
    try:
        if _descriptor(own) == 2:
            sys.stderr = open(  # noqa: SIM115
                kept, "w", buffering=1, encoding=own.encoding, errors=own.errors, closefd=False
            )
        silence_process()
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = own
        os.dup2(kept, 2)
        os.close(kept)


def silence_process() -> None:
    """Discards all that this process writes to standard error from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1  # the stream is not a file
