"""Weights read straight from an .onnx file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from earmark.inference.onnx_weights import read_weights


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "matrix": rng.standard_normal((300, 7)).astype(np.float32),
        "half": rng.standard_normal((2, 3, 4)).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }


@pytest.fixture
def path(weights: dict[str, np.ndarray], tmp_path: Path) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    tensors.append(numpy_helper.from_array(np.arange(3), "whole numbers"))
    tensors.append(helper.make_tensor("typed", TensorProto.FLOAT, [2], [1.0, 2.0]))  # its values are not raw
    graph = helper.make_graph([], "weights", [], [], tensors)
    onnx.save(helper.make_model(graph), tmp_path / "weights.onnx")
    return tmp_path / "weights.onnx"


def test_values_shapes_and_types_are_those_of_onnx(path: Path, weights: dict[str, np.ndarray]) -> None:
    read = read_weights(path, weights)
    assert set(read) == set(weights)
    for name, array in weights.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


def test_only_what_is_asked_for_is_read(path: Path) -> None:
    assert list(read_weights(path, ["half"])) == ["half"]
    assert read_weights(path, []) == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other", "the weight 'other' is missing"),
        ("whole numbers", "not stored as raw data in single or half precision"),
        ("typed", "not stored as raw data in single or half precision"),
    ],
)
def test_other_weights_are_refused(path: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read_weights(path, [name])


def test_a_damaged_file_is_refused_wherever_it_is_cut(
    path: Path, weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
    content, cut = path.read_bytes(), tmp_path / "cut.onnx"
    start = content.index(weights["matrix"].tobytes())
    for length in range(1, start + weights["matrix"].nbytes, 97):
        cut.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cut off within"):
            read_weights(cut, ["matrix"])
    cut.write_bytes(bytes(range(3, 256)) * 4)
    with pytest.raises(ValueError, match="a field of kind 3"):
        read_weights(cut, ["matrix"])


def message(number: int, content: bytes) -> bytes:
    """A field whose value is a message."""
    length, digits = len(content), []
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (128 if length else 0))
        if not length:
            return bytes([number << 3 | 2, *digits]) + content


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (message(8, b"w") + message(1, bytes([1]) * 1000), "the weight 'w' has more than 8 dimensions"),
        (message(8, b"w") + bytes([2 << 3, 1]) * 100_001, "more than 100,000 fields in a message"),
    ],
)
def test_a_hostile_file_takes_no_memory(tmp_path: Path, tensor: bytes, text: str) -> None:
    (tmp_path / "hostile.onnx").write_bytes(message(7, message(5, tensor)))
    with pytest.raises(ValueError, match=text):
        read_weights(tmp_path / "hostile.onnx", ["w"])
