"""TensorFlow's SequenceExample records, read without TensorFlow: where their values lie."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from earmark.errors import DataError

_VARINT: Final = 0
_LONG: Final = 1
_PIECE: Final = 2
_SHORT: Final = 5
_LISTS: Final = (1, 2, 3)
"""Fields of a feature: its texts, floats or whole numbers."""

Span = tuple[int, int]
"""Start and end of a value in the buffer."""


class Example(NamedTuple):
    """One record."""

    context: dict[str, list[Span]]
    """Values of each feature of the whole record: texts, or packed numbers."""
    lists: dict[str, Span]
    """Each list of features, one feature a time step; `steps` reads it."""


def read_example(buffer: bytes, start: int, end: int) -> Example:
    """The SequenceExample at this place of the buffer.

    Raises:
        DataError: It is none.
    """
    example = Example({}, {})
    for number, (first, last) in _pieces(buffer, start, end):
        for _, (entry, entry_end) in _pieces(buffer, first, last):
            key, value = "", (entry, entry)
            for part, span in _pieces(buffer, entry, entry_end):
                if part == 1:
                    key = buffer[span[0] : span[1]].decode()
                else:
                    value = span
            if number == 1:
                example.context[key] = _values(buffer, value)
            else:
                example.lists[key] = value
    return example


def steps(buffer: bytes, span: Span) -> Iterator[list[Span]]:
    """The values of each time step of a list."""
    for _, feature in _pieces(buffer, *span):
        yield _values(buffer, feature)


def whole_numbers(buffer: bytes, spans: list[Span]) -> tuple[int, ...]:
    """The whole numbers of a feature."""
    numbers = []
    for place, end in spans:
        while place < end:
            number, place = _varint(buffer, place)
            numbers.append(number)
    return tuple(numbers)


def _values(buffer: bytes, feature: Span) -> list[Span]:
    """The values of a feature, which has one list of texts, floats or whole numbers."""
    return [span for kind, inner in _pieces(buffer, *feature) if kind in _LISTS for _, span in _pieces(buffer, *inner)]


def _pieces(buffer: bytes, place: int, end: int) -> list[tuple[int, Span]]:
    """Number and span of each field of a message; a whole number outside a packed list spans its own bytes."""
    found = []
    while place < end:
        tag = buffer[place]
        place += 1
        if tag >= 128:
            raise DataError("a field that a SequenceExample does not have")
        kind, start = tag & 7, place
        if kind == _PIECE:
            length = buffer[place]
            place += 1
            if length >= 128:
                length, place = _varint(buffer, place - 1)
            start = place
            place += length
        elif kind == _VARINT:
            place = _varint(buffer, place)[1]
        elif kind in (_SHORT, _LONG):
            place += 4 if kind == _SHORT else 8
        else:
            raise DataError("a field of an unknown kind")
        if place > end:
            raise DataError("a field that is longer than its record")
        found.append((tag >> 3, (start, place)))
    return found


def _varint(buffer: bytes, place: int) -> tuple[int, int]:
    """A whole number of variable length, and the place after it."""
    value = shift = 0
    while True:
        byte = buffer[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise DataError("a whole number of more than 64 bits")
