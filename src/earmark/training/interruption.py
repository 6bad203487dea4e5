"""Ctrl-C that waits for the end of a step."""

from types import FrameType


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped the training after it was saved; the text says how to continue.

    A KeyboardInterrupt, so that a script with several trainings stops as a whole.
    """


class Interruption:
    """A signal handler that notes the first SIGINT or SIGTERM; a second one ends the program at once.

    A step that is cut in half could not be resumed exactly.
    """

    requested = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal."""
        if self.requested:
            raise KeyboardInterrupt("stopped at once; --resume continues from the run's last checkpoint")
        self.requested = True
