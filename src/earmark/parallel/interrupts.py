"""Ctrl-C while processes are started: neither lost nor heard by those that it is not for."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.resource_tracker import ensure_running
from threading import current_thread, main_thread


@contextmanager
def held_back(signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> Iterator[None]:
    """Signals wait here for the block's end; a process that is started in it has them blocked until it says else."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    ensure_running()  # what else would start it lets the signal through
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in signals}
    # the mask is for the new process, which takes it over; here any other thread would let the signal through
    is_deferred = None not in handlers.values() and current_thread() is main_thread()
    if is_deferred:
        for number in signals:
            signal.signal(number, lambda number, frame: held.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if is_deferred:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for signal_held in dict.fromkeys(held):
            signal.raise_signal(signal_held)
