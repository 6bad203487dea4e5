"""The data set of audioset-shaped."""

from pathlib import Path

import numpy as np

from earmark.audio.recording import Audio
from earmark.data import open_data
from earmark.data.clips import Clip
from earmark.labels import LabelSet
from experiments.audioset_shaped import NAMES, row, video_id, write


class Tone:
    """A tenth of a second of a tone."""

    def load(self, sample_rate: int) -> Audio:
        times = np.arange(sample_rate // 10) / sample_rate
        return Audio((0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32), sample_rate)


def clip(number: int) -> Clip:
    return Clip(f"clip {number}", ("dog", "rain"), Tone())


def test_every_label_is_one_of_audioset() -> None:
    labels = LabelSet.audioset()
    assert len({labels.index(name) for name in NAMES.values()}) == len(NAMES) == 46


def test_a_split_is_audioset_to_earmark_with_its_bad_rows(tmp_path: Path) -> None:
    write(tmp_path / "data" / "eval", [clip(number) for number in range(24)])
    data = open_data(f"parquet:{tmp_path / 'data'}")
    assert len(data) == 26 and set(data[0].labels) == {"Dog", "Rain"}
    assert len({video_id(f"clip {number}") for number in range(1000)}) == 1000


def test_a_tenth_is_at_44_1_khz_and_two_rows_are_silent() -> None:
    labels = LabelSet.audioset()
    sizes = {number: len(row(clip(number), number, labels)["audio"]["bytes"]) for number in (0, 9, 11, 21)}  # type: ignore[index]
    assert sizes[11] < sizes[21] < sizes[9] < sizes[0]
