"""Quantisation to 8 bits: accurate for all lengths, and limited to convolutions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from earmark.errors import ConfigError
from earmark.export.onnx_file import export
from earmark.export.quantization import quantize
from earmark.inference.engine import CHUNK_SECONDS
from earmark.inference.onnx_engine import session
from tests.networks import graphs_made_once, small_network

RATE = 16000


def recordings(n: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(0.1 * rng.standard_normal(2 * RATE)).astype(np.float32) for _ in range(n)]


@pytest.fixture(scope="module", params=["cnn", "light"])
def model(
    request: pytest.FixtureRequest, exported: Path, write_once: Callable[[str, Callable[[Path], object]], Path]
) -> Path:
    """The exported float32 file."""
    if request.param == "cnn":
        return exported
    with graphs_made_once(write_once):
        light = small_network(backbone="light")
        return write_once("quantization-light", lambda folder: export(light, folder / "light.onnx")) / "light.onnx"


@pytest.fixture(scope="module")
def graphs(model: Path) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    graph = onnx.load(model)
    return graph, quantize(graph, recordings(), RATE)


def test_scores_are_close_for_all_lengths(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    exact, rounded = (session(graph.SerializeToString()) for graph in graphs)
    rng = np.random.default_rng(1)
    largest = exact.run(["segments"], {"waveform": recordings(1)[0][None]})[0].max()
    n_samples = [1, 2, *(n + d for n in (400, 800, 1600, 3200, 6400) for d in (0, 1, 400)), 50001, 99999]
    for n in n_samples:
        waveform = (0.1 * rng.standard_normal((1, n))).astype(np.float32)
        expected, ours = (run.run(None, {"waveform": waveform}) for run in (exact, rounded))
        assert [output.shape for output in ours] == [output.shape for output in expected]
        # one sample is unlike the recordings that determined the scales
        np.testing.assert_allclose(ours[0], expected[0], rtol=0, atol=0.2 * largest)
        np.testing.assert_allclose(ours[1], expected[1], rtol=0, atol=0.03)


def test_all_convolutions_but_the_first_are_in_8_bits(graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    before, after = graphs
    weights = {tensor.name: tensor.data_type for tensor in after.graph.initializer}
    sizes = {tensor.name: tensor.dims[0] if tensor.dims else 0 for tensor in after.graph.initializer}
    made = {output: node for node in after.graph.node for output in node.output}
    convolutions = [node for node in after.graph.node if node.op_type == "Conv"]
    n_pools = sum(node.op_type == "AveragePool" for node in before.graph.node)
    n_convolutions = sum(node.op_type == "Conv" for node in before.graph.node)
    assert (n_convolutions, n_pools) in ((8, 4), (15, 3))
    assert len(convolutions) == n_convolutions + n_pools  # one for each average pooling
    first, *others = convolutions
    assert weights[first.input[1]] == onnx.TensorProto.FLOAT
    for node in others:
        dequantize = made[node.input[1]]
        assert dequantize.op_type == "DequantizeLinear"
        assert weights[dequantize.input[0]] == onnx.TensorProto.INT8
        assert sizes[dequantize.input[1]] == sizes[dequantize.input[0]]  # a scale for each channel
    for kind in ("MatMul", "Gemm"):
        assert [node.name for node in after.graph.node if node.op_type == kind] == [
            node.name for node in before.graph.node if node.op_type == kind
        ]


def test_the_given_graph_is_not_changed(model: Path, graphs: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    assert graphs[0] == onnx.load(model)


def test_calibration_without_recordings_is_refused(exported: Path) -> None:
    with pytest.raises(ConfigError, match="expected recordings for the calibration of an int8 network, got none"):
        quantize(onnx.load(exported), [], RATE)


def test_only_the_beginning_of_a_long_recording_counts(exported: Path) -> None:
    n_counted = round(CHUNK_SECONDS * RATE)
    quiet = np.concatenate(recordings(n_counted // (2 * RATE) + 1))[:n_counted]
    loud_later = np.concatenate([quiet, 100 * quiet])
    ours, expected = (quantize(onnx.load(exported), [waveform], RATE) for waveform in (loud_later, quiet))
    assert ours == expected
