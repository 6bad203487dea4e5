"""Clips of live events: the recent sound in memory, and the folder where clips are saved."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np

from earmark.audio.recording import Audio, pcm16, save_audio, seconds_to_samples
from earmark.errors import AudioError, DataError, Limit, check_settings
from earmark.inference.events import Event
from earmark.listening.budget import Budget
from earmark.review.names import clip_names, folder_of

_SLACK: Final = 15.0
"""Seconds kept beyond those that a clip needs, because a network that encodes windows gives events late."""
_MAX_CHANNELS: Final = 8
"""Channels of a FLAC file."""


@dataclass(frozen=True)
class ClipConfig:
    """Extent of a clip."""

    pre_roll: Annotated[float, Limit(at_least=0, at_most=600)] = 2.0
    """Seconds of sound before the event."""
    longest_clip: Annotated[float, Limit(above=0, at_most=600)] = 30.0
    """Maximum seconds of an event that are saved."""

    def __post_init__(self) -> None:
        check_settings(self)


class RecentSound:
    """The latest seconds of a stream, in 16 bits.

    Args:
        sample_rate: Hz.
        seconds: Minimum seconds that are kept.
    """

    def __init__(self, sample_rate: int, seconds: float) -> None:
        self.sample_rate = sample_rate
        self._n_kept = seconds_to_samples(seconds, sample_rate)
        self._blocks: deque[np.ndarray] = deque()
        self._end = self._n_held = 0

    def push(self, samples: np.ndarray) -> None:
        """Takes samples, (channel, sample), and forgets old ones."""
        audio = samples if samples.dtype == np.int16 else pcm16(_as_float(samples))
        self._blocks.append(audio[:_MAX_CHANNELS].copy())
        self._end += audio.shape[1]
        self._n_held += audio.shape[1]
        while self._n_held - self._blocks[0].shape[1] >= self._n_kept:
            self._n_held -= self._blocks.popleft().shape[1]

    def cut(self, onset: float, offset: float) -> np.ndarray:
        """The samples between two times in seconds, as far as they are known; empty if none are."""
        first = self._end - self._n_held
        start = max(seconds_to_samples(onset, self.sample_rate), first)
        stop = min(seconds_to_samples(offset, self.sample_rate), self._end)
        pieces, at = [self._blocks[0][:, :0]] if self._blocks else [np.zeros((1, 0), np.int16)], first
        for block in self._blocks:
            if at < stop and at + block.shape[1] > start:
                pieces.append(block[:, max(0, start - at) : stop - at])
            at += block.shape[1]
        return np.concatenate(pieces, axis=1)


def _as_float(samples: np.ndarray) -> np.ndarray:
    return (samples / 2**31).astype(np.float32) if samples.dtype == np.int32 else samples.astype(np.float32)


class ClipFolder:
    """Saves clips as `FOLDER/LABEL/TIME_ONSET_SCORE.flac`, with the name of the recording where the time is unknown.

    Args:
        folder: The folder.
        config: Extent of a clip.
        budget: Limit on the clips in an hour.
        report: Receives a line about a clip that could not be saved, at most once an hour.
        recording: Name of the recording.
    """

    def __init__(
        self,
        folder: Path,
        config: ClipConfig,
        budget: Budget,
        report: Callable[[str], object],
        recording: str | None = None,
    ) -> None:
        self._name = recording or "clip"
        self.longest_clip = config.longest_clip
        self._folder, self._config, self._budget, self._report = folder, config, budget, report
        self._reports = Budget(1)

    def seconds(self, delay: float) -> float:
        """Seconds of sound that must be kept if events come `delay` seconds late."""
        return self._config.pre_roll + self._config.longest_clip + delay + _SLACK

    def save(self, sound: RecentSound, event: Event, base: float, time: datetime | None) -> str | None:
        """The path of the event's clip; None if the hour's clips are used up, or the clip cannot be saved.

        Args:
            sound: The recent sound.
            event: The event, in seconds of `sound`.
            base: Seconds at which `sound` begins.
            time: Time of day of the onset.
        """
        offset = min(event.offset, event.onset + self._config.longest_clip)
        samples = sound.cut(event.onset - self._config.pre_roll, offset)
        if samples.shape[1] <= samples.shape[0] or not self._budget.take(base + event.onset):
            return None
        stamp = self._name if time is None else time.strftime("%Y%m%dT%H%M%S%z")
        name = clip_names([(stamp, base + event.onset, event.score)], ".flac")[0]
        try:
            path = self._folder / folder_of(event.label) / name
            save_audio(path, Audio(samples, sound.sample_rate))
        except (AudioError, DataError) as error:
            self._budget.give_back()
            if self._reports.take(base + event.onset):
                self._report(f"{error}; the listening continues")
            return None
        return str(path)
