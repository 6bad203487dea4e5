"""The time limit of decoders: a recording that gives no sound for so long counts as unreadable."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from earmark.errors import AudioError, ConfigError
from earmark.parallel.watched_thread import WatchedThread

if TYPE_CHECKING:
    from earmark.audio.decoding import Decoder

_Value = TypeVar("_Value")

VARIABLE: Final = "EARMARK_DECODE_TIMEOUT"
"""Environment variable with the limit in seconds; processes that this one starts inherit it."""
DEFAULT: Final = 300.0
"""Seconds; far more than a slow disk needs for a piece of sound on a busy machine."""
_SKIPPED_SECONDS: Final = 600
"""Seconds of sound that are skipped in one call: skipping may mean decoding."""
_SECONDS_TO_CLOSE: Final = 5.0
"""Seconds to wait for a decoder to close, for example after Ctrl-C while it hangs."""


def time_limit() -> float:
    """Seconds without progress after which a decoder is given up.

    Raises:
        ConfigError: The environment variable is not a positive number.
    """
    text = os.environ.get(VARIABLE)
    try:
        seconds = DEFAULT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"{VARIABLE}: a positive number of seconds was expected, or inf for no limit, not {text!r}")
    return seconds


def set_time_limit(seconds: float | None) -> None:
    """Sets the limit for this process and those that it starts; None keeps it."""
    if seconds is not None:
        os.environ[VARIABLE] = repr(float(seconds))


class LimitedCalls:
    """Calls about one recording, each with the time limit.

    Args:
        name: Name of the recording in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds = time_limit()
        self._to_close = min(self._seconds, _SECONDS_TO_CLOSE)
        self._thread = WatchedThread()

    def __call__(self, task: Callable[[], _Value]) -> _Value:
        """The value of `task()`.

        Raises:
            AudioError: It has not returned within the limit.
        """
        try:
            return self._thread.call(task, self._seconds)
        except TimeoutError as error:
            self._to_close = 0.0
            raise AudioError(
                f"{self._name}: no sound came for {self._seconds:g} s, so it is given up: its decoder hangs, or the "
                f"disk or network does not answer ({VARIABLE} sets the limit)"
            ) from error

    def finish(self, last: Callable[[], object] = lambda: None) -> None:
        """Ends the thread of the calls with a last one; a call that hangs is left alone."""
        self._thread.finish(last, self._to_close)


class LimitedDecoder:
    """A decoder whose calls have the time limit.

    Args:
        open_decoder: Opens the decoder; its errors are raised.
        name: Name of the recording in errors.
    """

    def __init__(self, open_decoder: "Callable[[], Decoder]", name: str) -> None:
        self._calls = LimitedCalls(name)
        try:
            self._decoder = self._calls(open_decoder)
        except BaseException:
            self._calls.finish()
            raise
        self.sample_rate, self.n_channels = self._decoder.sample_rate, self._decoder.n_channels
        self.n_samples, self.slack = self._decoder.n_samples, self._decoder.slack

    def read(self, n_samples: int) -> np.ndarray:
        """As `Decoder.read`.

        Raises:
            AudioError: The decoder hangs.
        """
        return self._calls(partial(self._decoder.read, n_samples))

    def skip(self, n_samples: int) -> None:
        """As `Decoder.skip`.

        Raises:
            AudioError: The decoder hangs.
        """
        piece = _SKIPPED_SECONDS * self.sample_rate
        for start in range(0, n_samples, piece):
            self._calls(partial(self._decoder.skip, min(piece, n_samples - start)))

    def close(self) -> None:
        """As `Decoder.close`."""
        self._calls.finish(self._decoder.close)
