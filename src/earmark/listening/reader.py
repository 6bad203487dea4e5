"""A source of live sound, read in a thread of its own."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final

import numpy as np

from earmark.audio.live import LiveSource

_QUEUED: Final = 32
"""Maximum blocks that wait; then the source waits too."""
_SLICE: Final = 0.2
"""Seconds after which a waiting thread checks whether it must end."""

_SECONDS_TO_CLOSE: Final = 0.5


@dataclass(frozen=True)
class Opened:
    """The source has been opened."""

    sample_rate: int
    n_channels: int


@dataclass(frozen=True, eq=False)
class Block:
    """Samples, and the clock's time when they arrived."""

    samples: np.ndarray
    time: float


@dataclass(frozen=True)
class Ended:
    """The sound has ended, or an error has ended it."""

    error: Exception | None


class Reader:
    """Reads a source in a thread, so that a blocked network or device cannot keep the program from ending.

    Args:
        open_source: Opens the source.
        clock: Returns seconds.
    """

    def __init__(self, open_source: Callable[[], LiveSource], clock: Callable[[], float] = time.monotonic) -> None:
        self._open_source, self._clock = open_source, clock
        self._queue: Queue[Opened | Block | Ended] = Queue(_QUEUED)
        self._is_closed = Event()
        self._thread = Thread(target=self._run, name="live source", daemon=True)
        self._thread.start()

    def next(self) -> Opened | Block | Ended | None:
        """The next item; None if there is none for a fraction of a second."""
        try:
            return self._queue.get(timeout=_SLICE)
        except Empty:
            return None

    def close(self) -> None:
        """Ends the thread as soon as the source lets it; waits a moment."""
        self._is_closed.set()
        self._thread.join(_SECONDS_TO_CLOSE)

    def _run(self) -> None:
        source, error = None, None
        try:
            source = self._open_source()
            self._put(Opened(source.sample_rate, source.n_channels))
            while not self._is_closed.is_set() and (samples := source.read()) is not None:
                self._put(Block(samples, self._clock()))
        except Exception as raised:  # the listener raises it
            error = raised
        # before the source is closed: a device that has been pulled out may never let go
        self._put(Ended(error))
        if source is not None:
            with suppress(Exception):  # it has ended, however it closes
                source.close()

    def _put(self, item: Opened | Block | Ended) -> None:
        while not self._is_closed.is_set():
            try:
                self._queue.put(item, timeout=_SLICE)
            except Full:
                continue
            return
