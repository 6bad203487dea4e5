"""Weights read straight from an `.onnx` file, for a second graph that shares them with the first.

ONNX Runtime gives no access to the weights of a graph that it has loaded, and the package onnx is not needed to tag. An
`.onnx` file is a Protocol Buffers message, of which six fields are needed here.
"""

from collections.abc import Collection, Iterator
from itertools import islice
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
_MOST_FIELDS: Final = 100_000
"""Maximum number of fields in a message; a graph has one for each node and each weight."""
_MOST_DIMS: Final = 8
_Value = int | memoryview
"""A number, or the bytes of a text, an array or a message."""


def read_weights(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Copies of the weights with these names.

    Args:
        path: The `.onnx` file.
        names: Names of initializers in single or half precision, stored as raw data.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a readable model, or a weight is missing or of another type.
    """
    wanted = {name.encode(): name for name in names}
    if not wanted:
        return {}
    found = {}
    for graph in _select(memoryview(path.read_bytes()), _GRAPH):
        for tensor in _select(graph, _INITIALIZER):
            name = next((value for number, value in _fields(tensor) if number == _NAME), None)
            if isinstance(name, memoryview) and (text := wanted.get(bytes(name))) is not None:
                found[text] = _array(tensor, text)
    if missing := sorted(set(names) - set(found)):
        raise ValueError(f"the weight {missing[0]!r} is missing")
    return found


def _array(tensor: memoryview, name: str) -> np.ndarray:
    dtype: np.dtype[Any] | None = None
    raw: memoryview | None = None
    shape: list[int] = []
    for number, value in _fields(tensor):
        if number == _DIMS:
            shape += [value] if isinstance(value, int) else islice(_varints(value), _MOST_DIMS + 1)
            if len(shape) > _MOST_DIMS:
                raise ValueError(f"the weight {name!r} has more than {_MOST_DIMS} dimensions")
        elif number == _DATA_TYPE and isinstance(value, int):
            dtype = _DTYPES.get(value)
        elif number == _RAW_DATA and isinstance(value, memoryview):
            raw = value
    if dtype is None or raw is None:
        raise ValueError(f"the weight {name!r} is not stored as raw data in single or half precision")
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _select(message: memoryview, number: int) -> Iterator[memoryview]:
    for at, value in _fields(message):
        if at == number and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Number and value of each field of a message.

    >>> [number for number, value in _fields(memoryview(b"\\x08\\x96\\x01\\x12\\x02hi"))]
    [1, 2]
    """
    place = 0
    for _ in range(_MOST_FIELDS):
        if place == len(message):
            return
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
    raise ValueError(f"more than {_MOST_FIELDS:,} fields in a message")


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        number, place = _varint(packed, place)
        yield number


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Decodes the number at a place, stored in groups of seven bits; returns it and the place after it."""
    number = shift = 0
    while place < len(message) and shift < 64:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place
    raise ValueError("cut off within a number")
