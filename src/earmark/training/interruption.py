"""Ctrl-C that waits for the end of a step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM, after it had been saved; the text says how to go on, if need be.

    A KeyboardInterrupt, so that a script with several trainings stops as a whole.
    """


class Interruption:
    """While entered, the first SIGINT or SIGTERM is only noted; a second one ends the program at once.

    A step cut in half could not be resumed exactly. Only the main thread receives signals; in another, this does
    nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def take_over(self) -> None:
        """Puts aside handlers that were installed since: Lightning's ends the run between two steps, unsaved."""
        for number in self._previous:
            signal.signal(number, self._note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python, which cannot be put back from here
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt("stopped at once; the run goes on from its last checkpoint with --resume")
        self.requested = True
