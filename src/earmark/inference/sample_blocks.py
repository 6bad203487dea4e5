"""The samples of a recording as an engine takes them: one channel, at the network's rate, in blocks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Final

import numpy as np

from earmark.audio.recording import Audio, load_blocks, samples_to_seconds
from earmark.audio.tracks import Track, check_exists, check_track
from earmark.errors import AudioError
from earmark.parallel.prefetch import one_ahead
from earmark.storage.remote import url_of

_BLOCK_SECONDS: Final = 10.0
"""Seconds decoded at a time."""


class SampleBlocks:
    """A recording of any length, block by block.

    Args:
        audio: A path or an `Audio`.
        sample_rate: The network's, in Hz.
        track: As for `load_audio`.
        progress: Called with the seconds read so far.
        cancel: When set, `blocks` raises CancelledError.

    Raises:
        AudioError: `audio` is another object, a URL, or lacks the track.
        ConfigError: `track` is invalid.
    """

    def __init__(
        self,
        audio: object,
        sample_rate: int,
        track: Track,
        *,
        progress: Callable[[float], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        check_track(track)
        if not isinstance(audio, Audio | str | os.PathLike):
            raise AudioError(
                f"a path or earmark.Audio(waveform, sample_rate) was expected, not {type(audio).__name__}: "
                "an array of samples has no sample rate"
            )
        if isinstance(audio, Audio):
            check_exists(track, 1, "an earmark.Audio")
        elif (url := url_of(audio)) is not None:
            raise AudioError(f"{url}: a local file was expected, not a URL; download it first")
        self._audio, self._track = audio, track
        self._sample_rate = sample_rate
        self._progress, self._cancel = progress, cancel
        self._n_samples = 0

    @property
    def duration(self) -> float:
        """Seconds read so far."""
        return samples_to_seconds(self._n_samples, self._sample_rate)

    def blocks(self) -> Iterator[np.ndarray]:
        """The recording, block by block.

        Raises:
            CancelledError: `cancel` was set.
        """
        # decode while the network runs: it seldom keeps all processors busy
        for block in one_ahead(self._read()):
            if self._cancel is not None and self._cancel.is_set():
                raise CancelledError
            self._n_samples += block.size
            if self._progress is not None:
                self._progress(self.duration)
            yield block

    def _read(self) -> Iterator[np.ndarray]:
        if isinstance(self._audio, Audio):
            return iter([self._audio.mono(self._sample_rate).waveform])
        return load_blocks(os.fspath(self._audio), self._sample_rate, _BLOCK_SECONDS, self._track)
