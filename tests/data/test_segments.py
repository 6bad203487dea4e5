import numpy as np
import pytest

from earmark.data.clips import Clip, Dataset
from earmark.data.segments import Encoder, SegmentedClip, SegmentTable, segments_of
from earmark.errors import DataError
from earmark.labels import LabelSet
from tests.data.conftest import Burst

ENCODER = Encoder("a", "0" * 64, 2, 0.5, 16000)
LABELS = LabelSet(("dog", "rain"))


def table(dtype: type = np.float16) -> SegmentTable:
    """Clips of 2, 3 and 1 segments in two blocks."""
    values = np.arange(12).reshape(6, 2).astype(dtype)
    return SegmentTable(ENCODER, [values[:5], values[5:]], np.array([2, 3, 1]))


def test_clips_of_several_blocks_come_together_with_zeros_after_their_end():
    rows = np.array([2, 0, 1, 2])
    values = table().gather(rows, np.zeros(4, np.int64), np.array([1, 2, 3, 1]))
    ten, two, three = [[10, 11], [0, 0], [0, 0]], [[0, 1], [2, 3], [0, 0]], [[4, 5], [6, 7], [8, 9]]
    assert values.dtype == np.float32 and values.tolist() == [ten, two, three, ten]


def test_a_clip_is_cropped():
    values = table().gather(np.array([1, 0]), np.array([1, 0]), np.array([2, 1]))
    assert values.tolist() == [[[6, 7], [8, 9]], [[0, 1], [0, 0]]]


def test_bytes_are_steps_around_128():
    values = SegmentTable(ENCODER, [np.array([[0, 255], [128, 129]], np.uint8)], np.array([2]))
    one = values.gather(np.array([0]), np.array([0]), np.array([2]))
    assert one.tolist() == [[[-1.0, 127 / 128], [0.0, 1 / 128]]]


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="7 segments of clips were expected, not 6"):
        SegmentTable(ENCODER, table().blocks, np.array([2, 3, 2]))


def test_a_selection_of_clips_keeps_their_segments():
    held = table()
    clips = tuple(Clip(name, ("dog",), SegmentedClip(held, row), name) for row, name in enumerate("abc"))
    segments = segments_of(Dataset("x", LABELS, clips).select(splits=("c", "b")))
    assert segments.rows.tolist() == [1, 2] and segments.lengths.tolist() == [3, 1]


def test_sound_and_segments_do_not_mix():
    clips = (Clip("a", ("dog",), SegmentedClip(table(), 0)), Clip("b", ("dog",), Burst()))
    assert segments_of(Dataset("x", LABELS, clips[1:])) is None
    with pytest.raises(DataError, match="mixed"):
        segments_of(Dataset("x", LABELS, clips))
