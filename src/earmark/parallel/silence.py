"""Standard output and standard error without the messages of C libraries."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TextIO


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discards what C libraries print in the block; what Python writes is still printed.

    Some libraries report every problem on standard error, such as libmpg123 each damaged frame of an MP3; libsndfile
    reports a damaged ALAC file on standard output. All threads share both: enter the block before they start and leave
    it after they end.
    """
    sys.stderr.flush()
    own, kept = sys.stderr, os.dup(2)
    printed = _c_output()
    before = None if printed is None else printed.value
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
        if printed is not None:
            printed.value = before


def silence_process() -> None:
    """Discards all that this process writes to standard error from now on, and what C libraries print."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    printed = _c_output()
    if printed is not None and (nothing := _c_nowhere()):
        printed.value = nothing


def _c_output() -> ctypes.c_void_p | None:
    """C's variable for the stream that `printf` writes to; None if the C library has no such variable.

    Python itself writes to the descriptor, past this stream.
    """
    try:
        return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "__stdoutp" if sys.platform == "darwin" else "stdout")
    except (OSError, TypeError, ValueError):
        return None


@cache
def _c_nowhere() -> int | None:
    """A C stream that discards what is written to it."""
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    stream: int | None = library.fopen(os.devnull.encode(), b"w")
    return stream


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return -1  # the stream is not a file
