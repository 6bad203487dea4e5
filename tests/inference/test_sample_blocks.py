"""The samples of a recording in blocks, at the network's rate."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from earmark.audio.recording import Audio
from earmark.errors import AudioError, ConfigError
from earmark.inference.sample_blocks import SampleBlocks

RATE = 16000
TONE = Audio(np.sin(np.arange(RATE, dtype=np.float32)), RATE)


def test_blocks_and_their_duration():
    seen: list[float] = []
    source = SampleBlocks(TONE, RATE, None, progress=seen.append)
    assert sum(block.size for block in source.blocks()) == RATE
    assert source.duration == seen[-1] == 1.0


@pytest.mark.parametrize(
    ("audio", "text"),
    [
        (np.zeros(9, np.float32), "an array of samples has no sample rate"),
        ("https://example.org/a.wav", "a local file was expected, not a URL"),
    ],
)
def test_other_objects_are_refused(audio, text):
    with pytest.raises(AudioError, match=text):
        SampleBlocks(audio, RATE, None)


def test_tracks_of_samples():
    with pytest.raises(AudioError, match="one sound track, and track 2 was asked for"):
        SampleBlocks(TONE, RATE, 2)
    with pytest.raises(ConfigError, match="track"):
        SampleBlocks(TONE, RATE, 0)


def test_a_cancelled_recording_stops():
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(CancelledError):
        list(SampleBlocks(TONE, RATE, None, cancel=cancel).blocks())
