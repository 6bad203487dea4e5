"""Weights read straight from an `.onnx` file, for a second graph that shares them with the first.

ONNX Runtime gives no access to the weights of a graph that it has loaded, and the package onnx is not needed to tag. An
`.onnx` file is a Protocol Buffers message, of which five fields are needed here.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

_GRAPH: Final = 7
"""Field of the graph in the model."""
_INITIALIZER: Final = 5
"""Field of a weight in the graph; it is repeated."""
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9
"""Fields of a weight."""
_DTYPES: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 10: np.dtype("<f2")}
"""Data types by their number in ONNX: single and half precision."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Kinds of fields in Protocol Buffers."""
Value = int | memoryview
"""A number, or the bytes of a text, an array or a message."""


def read_weights(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Copies of the weights with these names.

    Args:
        path: The `.onnx` file.
        names: Names of initializers in single or half precision, stored as raw data.

    Raises:
        ValueError: The file is not a readable model, or a weight is missing or of another type.
    """
    found = {}
    for graph in _select(np.memmap(path, np.uint8, "r").data, _GRAPH):
        for tensor in _select(graph, _INITIALIZER):
            fields = list(_fields(tensor))
            name = _last(fields, _NAME)
            if isinstance(name, memoryview) and (text := str(name, "utf-8")) in names:
                found[text] = _array(fields, text)
    if missing := sorted(set(names) - set(found)):
        raise ValueError(f"the weight {missing[0]!r} is missing")
    return found


def _array(fields: list[tuple[int, Value]], name: str) -> np.ndarray:
    kind, raw = _last(fields, _DATA_TYPE), _last(fields, _RAW_DATA)
    dtype = _DTYPES.get(kind) if isinstance(kind, int) else None
    if dtype is None or not isinstance(raw, memoryview):
        raise ValueError(f"the weight {name!r} is not stored as raw data in single or half precision")
    shape: list[int] = []
    for number, value in fields:
        if number == _DIMS:
            shape.extend([value] if isinstance(value, int) else _varints(value))
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _last(fields: list[tuple[int, Value]], number: int) -> Value | None:
    """The value of a field that is not repeated."""
    return next((value for at, value in reversed(fields) if at == number), None)


def _select(message: memoryview, number: int) -> Iterator[memoryview]:
    for at, value in _fields(message):
        if at == number and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message.

    >>> [number for number, value in _fields(memoryview(b"\\x08\\x96\\x01\\x12\\x02hi"))]
    [1, 2]
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield key >> 3, number
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}, which no .onnx file has")
        if place + length > len(message):
            raise ValueError("cut off within a field")
        yield key >> 3, message[place : place + length]
        place += length


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        number, place = _varint(packed, place)
        yield number


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number that begins at a place, in groups of seven bits, and the place after it."""
    number = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
    raise ValueError("cut off within a number")
