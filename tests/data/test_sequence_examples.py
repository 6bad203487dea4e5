import numpy as np
import pytest

from earmark.data.sequence_examples import read_example, steps, whole_numbers
from earmark.errors import DataError
from tests.tfrecords import example

SEGMENTS = np.arange(3 * 128).reshape(3, 128) % 256


@pytest.mark.parametrize("packed", [True, False])
def test_all_values_of_a_record_are_found(packed):
    record = b"before" + example("abc", [0, 7, 526], SEGMENTS, packed) + b"after"
    found = read_example(record, 6, len(record) - 5)
    ((start, end),) = found.context["video_id"]
    assert record[start:end] == b"abc"
    assert whole_numbers(record, found.context["labels"]) == (0, 7, 526)
    rows = [record[slice(*span)] for (span,) in steps(record, found.lists["audio_embedding"])]
    assert rows == [row.astype(np.uint8).tobytes() for row in SEGMENTS]


@pytest.mark.parametrize("record", [b"\x0a\xff\xff\x03abc", b"\x0f", b"\x80\x01", b"\x0a\x02\x0a\x05"])
def test_other_bytes_are_an_error(record):
    with pytest.raises((DataError, IndexError)):
        read_example(record, 0, len(record))
