"""Degraded recordings: repeatable, of the same length and level."""

import numpy as np
import pytest

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.labels import LabelSet
from experiments.degraded import DEGRADATIONS, degrade, table


class Noise:
    """A second of noise at any rate."""

    def load(self, sample_rate: int) -> Audio:
        noise = np.random.default_rng(0).standard_normal(sample_rate)
        return Audio((0.1 * noise).astype(np.float32), sample_rate)


DATA = Dataset("noise", LabelSet(("a",)), tuple(Clip(name, ("a",), Noise()) for name in ("one", "two")))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_degraded_clip_keeps_its_length_and_repeats_itself(name: str) -> None:
    one, two = (clip.load(16000).waveform for clip in degrade(DATA, name))
    assert len(one) == 16000 and np.isfinite(one).all()
    assert np.array_equal(one, degrade(DATA, name)[0].load(16000).waveform)
    is_drawn = name.startswith(("pink", "room", "another"))
    assert np.array_equal(one, two) != is_drawn, "clips differ in what is drawn for them"
    assert np.array_equal(one, degrade(DATA, name, seed=1)[0].load(16000).waveform) != is_drawn


def test_the_table_shows_the_change_of_top_1() -> None:
    row = {"n": 4, "mAP": 0.8, "low": 0.7, "high": 0.9}
    text = table({"as they are": {**row, "top1": 0.75}, "telephone": {**row, "top1": 0.5}})
    assert "| telephone | 4 | 0.500 | -0.250 | 0.800 | 0.700 to 0.900 |" in text
