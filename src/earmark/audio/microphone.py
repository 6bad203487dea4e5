"""Sound from a microphone. Only this module imports sounddevice."""

from queue import Empty, Full, Queue
from typing import Any, Final

import numpy as np

from earmark.errors import AudioError

_BLOCK_SECONDS: Final = 0.1
_QUEUED: Final = 100
"""Blocks that wait at most, for a computer that is busy."""


class Microphone:
    """A sound card's input.

    Args:
        device: Number of the device, or a part of its name; None for the system's default.
        sample_rate: Hz; None for the device's own.
        n_channels: Number of channels.
        timeout: Seconds without sound after which the device counts as lost.

    Raises:
        AudioError: There is no such device, it cannot be used, or the library PortAudio is missing.
        ModuleNotFoundError: sounddevice is not installed.
    """

    def __init__(
        self, device: str | None = None, sample_rate: int | None = None, n_channels: int = 1, timeout: float = 30.0
    ) -> None:
        try:
            import sounddevice
        except OSError as error:
            raise AudioError(f"microphone: {error}; install it, for example: apt-get install libportaudio2") from error
        self._name = f"microphone {device}" if device else "microphone"
        self._blocks: Queue[np.ndarray] = Queue(_QUEUED)
        self._timeout, self._is_overrun = timeout, False
        chosen = int(device) if device and device.isdecimal() else device
        try:
            rate = sample_rate or int(sounddevice.query_devices(chosen, "input")["default_samplerate"])
            self._stream: Any = sounddevice.InputStream(
                samplerate=rate,
                blocksize=max(1, int(_BLOCK_SECONDS * rate)),
                device=chosen,
                channels=n_channels,
                dtype="float32",
                callback=self._take,
            )
            try:
                self._stream.start()
            except BaseException:
                self._stream.close()
                raise
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AudioError(
                f"{self._name}: cannot be used ({' '.join(str(error).split())}); `python -m sounddevice` lists devices"
            ) from error
        self.sample_rate, self.n_channels = rate, n_channels

    def _take(self, samples: np.ndarray, n_samples: int, time: object, status: Any) -> None:
        try:
            self._is_overrun = self._is_overrun or bool(status.input_overflow)
            self._blocks.put_nowait(samples.T.copy())
        except Full:
            self._is_overrun = True

    def read(self) -> np.ndarray:
        """As in `LiveSource`; it never ends.

        Raises:
            AudioError: The device gives no sound any more, or samples were lost.
        """
        if self._is_overrun:
            raise AudioError(f"{self._name}: samples were lost because the computer was too slow")
        try:
            return self._blocks.get(timeout=self._timeout)
        except Empty as error:
            raise AudioError(f"{self._name}: it gives no sound any more") from error

    def close(self) -> None:
        """As in `LiveSource`."""
        self._stream.close()
