"""The convolutions of an exported network in 8 bits; the only door to ONNX Runtime's quantisation."""

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.errors import ConfigError
from earmark.inference.engine import CHUNK_SECONDS
from earmark.inference.onnx_engine import session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_PERCENTILE: Final = 99.99
"""Of a recording's activations, those below fit into the 8 bits: the largest alone would take resolution from all."""


def quantized(model: "ModelProto", recordings: Iterable[np.ndarray], sample_rate: int) -> "ModelProto":
    """The same graph, its convolutions but the first in 8 bits: the front end, pooling and classifier stay as they are.

    The first convolution has one input channel, whose quantisation would be the coarsest and save nothing.

    Args:
        model: From `waveform` on, convolutions in its backbone alone.
        recordings: (sample,) each, whose activations set the scales; of a long one its first `CHUNK_SECONDS` count.
        sample_rate: Of the recordings (Hz).

    Raises:
        ConfigError: There is no recording.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = copy.deepcopy(model)
    first, *nodes = _backbone(model)
    ranges = _ranges(model, nodes, (recording[: round(CHUNK_SECONDS * sample_rate)] for recording in recordings))
    pools = [node for node in nodes if node.op_type == "AveragePool"]
    padded = [node.name for node in pools if any(a.name == "ceil_mode" and a.i for a in node.attribute)]
    for node in pools:
        _as_convolution(model, node)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        # 7 bits of the weights: products of 8 times 8 bits overflow the sums of processors without VNNI
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,  # nothing is below 0 after a ReLU
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[first.name],
        op_types_to_quantize=["Conv", "Relu"],
        extra_options={},
    )
    quantizer.quantize_model()
    eight_bits: ModelProto = quantizer.model.model
    _pad(eight_bits, padded)
    return eight_bits


def _backbone(model: "ModelProto") -> Iterator["NodeProto"]:
    """The convolutions, and what follows them up to the next."""
    convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    for node in model.graph.node:
        if node.op_type in ("Conv", "AveragePool") or (node.op_type == "Relu" and node.input[0] in convolved):
            yield node


def _ranges(
    model: "ModelProto", nodes: list["NodeProto"], recordings: Iterable[np.ndarray]
) -> dict[str, tuple[np.float32, np.float32]]:
    """Lowest and highest value of each tensor that is to be kept: the largest of `_PERCENTILE` over the recordings."""
    from onnx import helper

    names = list(dict.fromkeys(name for node in nodes for name in (node.input[0], node.output[0])))
    watched = copy.deepcopy(model)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    runs = session(watched.SerializeToString())
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    n_recordings = 0
    for waveform in recordings:
        n_recordings += 1
        for position, values in enumerate(runs.run(names, {"waveform": waveform[None]})):
            least, most = np.percentile(values, [100 - _PERCENTILE, _PERCENTILE])
            low[position], high[position] = min(low[position], least), max(high[position], most)
    if not n_recordings:
        raise ConfigError("an int8 network is calibrated with recordings like those to come, but there is none")
    return {name: (np.float32(a), np.float32(b)) for name, a, b in zip(names, low, high, strict=True)}


def _as_convolution(model: "ModelProto", pool: "NodeProto") -> None:
    """Makes an average pooling a convolution of each channel by itself, as which it is many times as fast in 8 bits.

    It drops a last frame without a partner; `_pad` has to give it one where that frame is to be its own average.
    """
    from onnx import helper, numpy_helper

    made = {node.output[0]: node for node in model.graph.node}
    relu = made[pool.input[0]]
    weight = made[relu.input[0]].input[1]
    n_channels = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == weight)
    quarters = numpy_helper.from_array(np.full((n_channels, 1, 2, 2), 0.25, np.float32), f"{pool.name}_quarters")
    model.graph.initializer.append(quarters)
    pool.op_type = "Conv"
    pool.input.append(quarters.name)
    del pool.attribute[:]
    for key, value in {"kernel_shape": [2, 2], "strides": [2, 2], "group": n_channels}.items():
        pool.attribute.append(helper.make_attribute(key, value))


def _pad(model: "ModelProto", pools: list[str]) -> None:
    """Repeats the last frame before each of these: the average of a pair of equals is either; others don't see it."""
    from onnx import helper, numpy_helper

    if not pools:
        return
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 0]), "pool_pads")
    model.graph.initializer.append(pads)
    made = {node.output[0]: node for node in model.graph.node}
    named = {node.name: node for node in model.graph.node}
    for name in pools:
        dequantize = made[named[name].input[0]]
        padded = f"{name}_padded"
        node = helper.make_node("Pad", [dequantize.input[0], pads.name], [padded], f"{name}_pad", mode="edge")
        model.graph.node.insert(list(model.graph.node).index(dequantize), node)
        dequantize.input[0] = padded
