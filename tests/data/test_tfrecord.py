import numpy as np
import pytest

from earmark.data.tfrecord import damaged_records, find_records, masked_crc32c
from earmark.errors import DataError
from tests.tfrecords import crc32c, framed, masked

RECORDS = [b"12345678", bytes(range(256)) * 3, b"\x00" * 9, b"x" * 77]
CONTENT = b"".join(map(framed, RECORDS))


def places(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    found = np.array(find_records(content), np.int64)
    return found[:, 0], found[:, 1]


def test_the_slow_reference_is_crc_32c():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the standard


def test_records_are_found_and_whole():
    assert [CONTENT[start : start + length] for start, length in find_records(CONTENT)] == RECORDS
    assert damaged_records(np.frombuffer(CONTENT, np.uint8), *places(CONTENT)).tolist() == []
    assert find_records(b"") == []


def test_checksums_equal_the_reference_for_all_lengths():
    rng = np.random.default_rng(0)
    parts = [rng.bytes(n) for n in range(4, 60)]
    lengths = np.array([len(part) for part in parts])
    found = masked_crc32c(np.frombuffer(b"".join(parts), np.uint8), np.cumsum(lengths) - lengths, lengths)
    assert [int(crc).to_bytes(4, "little") for crc in found] == [masked(part) for part in parts]


@pytest.mark.parametrize("byte", [9, 20, 30, 12 + 8 + 4 + 12 + 500, len(CONTENT) - 1])
def test_one_wrong_bit_is_noticed(byte):
    content = bytearray(CONTENT)
    content[byte] ^= 4
    assert len(damaged_records(np.frombuffer(bytes(content), np.uint8), *places(CONTENT))) == 1


@pytest.mark.parametrize("n_bytes", [1, 11, 13, 23, len(CONTENT) - 1])
def test_a_file_that_is_cut_off_is_an_error(n_bytes):
    with pytest.raises(DataError, match=f"cut off within record ., at byte {n_bytes}"):
        find_records(CONTENT[:n_bytes])


def test_an_impossible_length_is_an_error():
    with pytest.raises(DataError, match="states a length of"):
        find_records(b"\xff" * 100)
