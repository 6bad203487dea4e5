"""Ctrl-C that waits for the end of a step."""

import signal
import threading
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped the training after it was saved; the text says how to continue.

    A KeyboardInterrupt, so that a script with several trainings stops as a whole.
    """


class Interruption:
    """While entered, notes the first SIGINT or SIGTERM; a second one ends the program at once.

    A step that is cut in half could not be resumed exactly. Outside the main thread, which alone receives signals, this
    does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python and cannot be restored from here
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt("stopped at once; --resume continues from the run's last checkpoint")
        self.requested = True
