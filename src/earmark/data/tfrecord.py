"""TFRecord files: their records, with checksums verified for many records at a time."""

import struct
from typing import Final

import numpy as np
from jaxtyping import Int64, UInt8, UInt32

from earmark.errors import DataError

_POLYNOMIAL: Final = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_MASK: Final = 0xA282EAD8
_HEAD: Final = 12
"""Bytes before a record: its length and the checksum of that."""
_TAIL: Final = 4
"""Bytes after a record: its checksum."""
LONGEST: Final = 1 << 16
"""Bytes of the longest record that is read."""
_BYTES_AT_ONCE: Final = 1 << 20


def find_records(content: bytes) -> list[tuple[int, int]]:
    """Start and length of each record of a file; their checksums are not verified.

    Raises:
        DataError: The file is cut off, or a length is impossible.
    """
    records: list[tuple[int, int]] = []
    place, end = 0, len(content)
    while place < end:
        start = place + _HEAD
        length = struct.unpack_from("<Q", content, place)[0] if start <= end else 0
        if length > LONGEST:
            raise DataError(f"record {len(records) + 1} is damaged: it states a length of {length} bytes")
        place = start + length + _TAIL
        if place > end:
            raise DataError(f"cut off within record {len(records) + 1}, at byte {end}")
        records.append((start, length))
    return records


def damaged_records(
    buffer: UInt8[np.ndarray, " byte"], starts: Int64[np.ndarray, " record"], lengths: Int64[np.ndarray, " record"]
) -> Int64[np.ndarray, " damaged"]:
    """Numbers of the records whose length or content fails its checksum."""
    if not len(starts):
        return np.zeros(0, np.int64)
    eight = np.full(len(starts), 8, np.int64)
    is_wrong = masked_crc32c(buffer, starts - _HEAD, eight) != _stored(buffer, starts - _TAIL)
    is_wrong |= masked_crc32c(buffer, starts, lengths) != _stored(buffer, starts + lengths)
    return np.flatnonzero(is_wrong)


def masked_crc32c(
    buffer: UInt8[np.ndarray, " byte"], starts: Int64[np.ndarray, " part"], lengths: Int64[np.ndarray, " part"]
) -> UInt32[np.ndarray, " part"]:
    """TFRecord's masked CRC-32C of parts of a buffer, each of 4 bytes or more.

    A CRC is linear: it is the exclusive or of one table entry for each byte, chosen by the byte's value and its
    distance from the end. So all bytes of all parts are looked up together.

    >>> part = np.frombuffer(b"123456789", np.uint8)
    >>> hex(masked_crc32c(part, np.array([0]), np.array([9]))[0])
    '0xc78ab0e5'
    """
    longest = int(lengths.max())
    tables = _tables(longest)
    if int((starts + lengths).min()) < longest:
        buffer, starts = np.concatenate([np.zeros(longest, np.uint8), buffer]), starts + longest
    windows = np.lib.stride_tricks.sliding_window_view(buffer, longest)
    place = np.arange(longest, dtype=np.int32)
    result = np.empty(len(starts), np.uint32)
    step = max(1, _BYTES_AT_ONCE // longest)
    for first in range(0, len(starts), step):
        some, sizes = starts[first : first + step], lengths[first : first + step]
        # the parts side by side, all with the same end; a zero before a part changes nothing
        values = windows[some + sizes - longest].astype(np.int32)
        if int(sizes.min()) < longest:
            values *= place >= (longest - sizes)[:, None]
        values += (longest - 1 - place) << 8
        result[first : first + step] = np.bitwise_xor.reduce(tables.take(values), axis=1)
    # the register begins with ones, which is the same as inverting the first four bytes
    for number in range(4):
        result ^= tables[((lengths - 1 - number) << 8) + 0xFF]
    crc = ~result
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(_MASK)


def _tables(n_bytes: int) -> UInt32[np.ndarray, " entry"]:
    """The change of the CRC by each value of a byte, at each distance from the end: entry `256 * distance + value`."""
    entry = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        entry = np.where(entry & 1, (entry >> 1) ^ np.uint32(_POLYNOMIAL), entry >> 1)
    tables = np.empty((n_bytes, 256), np.uint32)
    tables[0] = entry
    for distance in range(1, n_bytes):
        before = tables[distance - 1]
        tables[distance] = (before >> 8) ^ entry[before & 0xFF]
    return tables.reshape(-1)


def _stored(buffer: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(buffer[places[:, None] + np.arange(4)]).view("<u4")[:, 0]
