"""Decoders that fail or return fewer samples than stated."""

from collections.abc import Sequence

import numpy as np
import pytest

from earmark.audio.decoding import DecodingError, mono_blocks
from earmark.errors import AudioError


class Decoder:
    """Returns the given blocks one by one, whatever is requested; None raises a DecodingError."""

    sample_rate = 100
    slack = 0

    def __init__(self, blocks: Sequence[np.ndarray | None], n_samples: int | None = None) -> None:
        self.n_channels = 2
        self.n_samples = n_samples
        self.blocks = list(blocks)

    def read(self, n_samples: int) -> np.ndarray:
        block = self.blocks.pop(0) if self.blocks else np.zeros((0, 2), np.float32)
        if block is None:
            raise DecodingError("bad luck")
        return block

    def skip(self, n_samples: int) -> None:
        self.blocks.pop(0)

    def close(self) -> None:
        pass


STEREO = np.ones((100, 2), np.float32)


def test_the_error_states_the_time_of_the_damage() -> None:
    decoded = mono_blocks(Decoder([STEREO, STEREO, None]), "a", 0, None)
    assert sum(block.size for _, block in zip(range(2), decoded, strict=False)) == 200
    with pytest.raises(
        AudioError, match=r"^a: damaged or cut off somewhere from 2\.00 s on; copy it again \(bad luck\)"
    ):
        next(decoded)


def test_the_number_of_channels_may_change() -> None:
    decoded = mono_blocks(Decoder([STEREO, np.full((50, 6), 3, np.float32)]), "a", 0, None)
    assert np.concatenate(list(decoded)).tolist() == [1.0] * 100 + [3.0] * 50


def test_fewer_samples_than_stated_are_refused() -> None:
    with pytest.raises(AudioError, match=r"^a: cut off, its header states 300 samples but the file holds 200;"):
        list(mono_blocks(Decoder([STEREO, STEREO], 300), "a", 0, None))
    with pytest.raises(AudioError, match=r"^a: holds no sound from 1\.000 s on"):
        list(mono_blocks(Decoder([STEREO]), "a", 100, None))
