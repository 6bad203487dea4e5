"""Sounds with known times."""

from dataclasses import dataclass

import numpy as np
import pytest

from earmark.audio.recording import Audio


@dataclass(frozen=True)
class Burst:
    """A reader: silence but for noise from `onset` to `offset`."""

    onset: float = 1.0
    offset: float = 1.6
    duration: float = 3.0
    seed: int = 0
    level: float = 0.3

    def load(self, sample_rate):
        waveform = np.zeros(round(self.duration * sample_rate), np.float32)
        start, stop = (round(seconds * sample_rate) for seconds in (self.onset, self.offset))
        waveform[start:stop] = self.level * np.random.default_rng(self.seed).standard_normal(stop - start)
        return Audio(waveform, sample_rate)


@pytest.fixture
def burst():
    """The class of the reader."""
    return Burst
