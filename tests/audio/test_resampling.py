"""Resampling of streams."""

import numpy as np
import pytest

from earmark.audio.recording import resample
from earmark.audio.resampling import StreamResampler, validate_rate
from earmark.errors import AudioError


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 16000), (8000, 32000), (16000, 16000)])
def test_resampling_in_pieces_equals_the_whole_exactly(from_rate: int, to_rate: int) -> None:
    waveform = np.random.default_rng(0).standard_normal(from_rate // 3).astype(np.float32)
    stream = StreamResampler(from_rate, to_rate)
    pieces = [stream.push(piece) for piece in np.array_split(waveform, 11)]
    np.testing.assert_array_equal(np.concatenate([*pieces, stream.finish()]), resample(waveform, from_rate, to_rate))


@pytest.mark.parametrize("rate", [0, -1, 44100.0, True, None])
def test_invalid_rates_are_refused(rate: object) -> None:
    with pytest.raises(AudioError, match="a sample rate is a positive whole number of Hz"):
        validate_rate(rate)
