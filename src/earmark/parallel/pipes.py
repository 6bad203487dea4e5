"""Pipes between threads, which forked processes do not keep open."""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from threading import RLock, Thread
from typing import Final

_ENDS: Final[set[int]] = set()
"""The open ends of all pipes of this process."""
_LOCK: Final = RLock()  # closing a lost file may happen at any time, also while this thread holds the lock


def feed_pipe(pieces: Iterable[bytes]) -> int:
    """A pipe, into which a thread writes the pieces: the end to read, which `close_end` closes.

    The end of the pieces is the end of the pipe, even if this process forks in between.
    """
    _watch_forks()
    with _LOCK:
        incoming, outgoing = os.pipe()
        _ENDS.update((incoming, outgoing))
    Thread(target=_feed, args=(pieces, outgoing), daemon=True).start()
    return incoming


def close_end(end: int) -> None:
    """Closes an end of a pipe; a second call does nothing."""
    with _LOCK:
        if end in _ENDS:
            _ENDS.remove(end)
            os.close(end)


def _feed(pieces: Iterable[bytes], outgoing: int) -> None:
    try:
        # the reader may close the pipe early
        with suppress(BrokenPipeError):
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(outgoing, rest) :]
    finally:
        close_end(outgoing)


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_LOCK.acquire, after_in_parent=_LOCK.release, after_in_child=_forget_pipes)


def _forget_pipes() -> None:
    """In a forked process, all ends become ends of nothing.

    Otherwise its copies would keep the pipes open: a reader of the other process would wait for their end.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for end in _ENDS:
        os.dup2(nothing, end, inheritable=False)
    os.close(nothing)
    _LOCK.release()
