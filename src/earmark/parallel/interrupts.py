"""Ctrl-C and SIGTERM: delayed while a process starts, or both handled as an interruption."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.resource_tracker import ensure_running
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn


@contextmanager
def held_back(signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> Iterator[None]:
    """Delays signals until the block ends; a process started in the block has them blocked until it unblocks them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    ensure_running()  # multiprocessing unblocks the signals when it starts its resource tracker
    held: list[int] = []
    handlers = {number: signal.getsignal(number) for number in signals}
    # the new process inherits the mask; in this process another thread would still receive the signal
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


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None], *signals: signal.Signals) -> Iterator[None]:
    """In the block, the signals call the handler. Without effect outside the main thread, which alone gets signals."""
    if current_thread() is not main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, previous in before.items():
            # None stands for a handler that was not installed from Python and cannot be restored from here
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


def sigterm_as_interrupt() -> AbstractContextManager[None]:
    """In the block, SIGTERM raises KeyboardInterrupt as Ctrl-C does. Without effect outside the main thread."""
    return handled(_interrupt, signal.SIGTERM)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
