"""Smaller exported networks: weights in half precision, or convolutions in 8 bits by ONNX Runtime."""

import copy
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.errors import ConfigError
from earmark.inference.engine import CHUNK_SECONDS
from earmark.inference.onnx_engine import onnx_runtime, session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_MIN_HALVED: Final = 4096
"""Number of values from which a weight is stored in half precision; smaller ones save nothing."""
_PERCENTILE: Final = 99.99
"""Percentile of a recording's activations that the 8 bits cover; larger ones are clipped to keep the resolution."""


def quantize(model: "ModelProto", recordings: Iterable[np.ndarray], sample_rate: int) -> "ModelProto":
    """The graph with all convolutions but the first in 8 bits; front end, pooling and classifier are unchanged.

    The first convolution has one input channel: its quantisation would be the coarsest and save nothing.

    Args:
        model: A graph from `waveform` on, with convolutions only in its backbone.
        recordings: Recordings (sample,) whose activations determine the scales; only the first `CHUNK_SECONDS` count.
        sample_rate: Rate of the recordings (Hz).

    Raises:
        ConfigError: `recordings` is empty.
    """
    onnx_runtime()  # first, so that it sends no usage statistics
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    model = copy.deepcopy(model)
    first, *nodes = _backbone_nodes(model)
    ranges = _activation_ranges(
        model, nodes, (recording[: round(CHUNK_SECONDS * sample_rate)] for recording in recordings)
    )
    pools = [node for node in nodes if node.op_type == "AveragePool"]
    padded = [node.name for node in pools if any(a.name == "ceil_mode" and a.i for a in node.attribute)]
    for node in pools:
        _replace_by_convolution(model, node)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        # 7 bits for weights: sums of 8-bit products overflow on processors without VNNI
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,  # a ReLU returns no negative values
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[first.name],
        op_types_to_quantize=["Conv", "Relu"],
        extra_options={},
    )
    quantizer.quantize_model()
    eight_bits: ModelProto = quantizer.model.model
    _pad_last_frame(eight_bits, padded)
    return eight_bits


def halve_weights(model: "ModelProto", keep: str) -> None:
    """Stores large weights in half precision, rounded to 11 bits; the network still computes in single precision.

    Args:
        model: The graph, which is changed.
        keep: Prefix of weights that stay in single precision.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _MIN_HALVED and not tensor.name.startswith(keep):
            half = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half")
            casts.append(
                helper.make_node("Cast", [half.name], [tensor.name], f"{half.name}.cast", to=TensorProto.FLOAT)
            )
            tensor.CopyFrom(half)
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _backbone_nodes(model: "ModelProto") -> Iterator["NodeProto"]:
    """The nodes of the backbone: convolutions and the activations and poolings after them."""
    convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    for node in model.graph.node:
        if node.op_type in ("Conv", "AveragePool") or (node.op_type == "Relu" and node.input[0] in convolved):
            yield node


def _activation_ranges(
    model: "ModelProto", nodes: list["NodeProto"], recordings: Iterable[np.ndarray]
) -> dict[str, tuple[np.float32, np.float32]]:
    """Lowest and highest value to cover for each tensor: the extremes of the percentiles of all recordings."""
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
        raise ConfigError(
            "expected recordings for the calibration of an int8 network, got none; give some like those to be tagged"
        )
    return {name: (np.float32(a), np.float32(b)) for name, a, b in zip(names, low, high, strict=True)}


def _replace_by_convolution(model: "ModelProto", pool: "NodeProto") -> None:
    """Replaces an average pooling by a depthwise convolution, which is many times as fast in 8 bits.

    The convolution drops a last odd frame; `_pad_last_frame` repeats it first where the pooling keeps it.
    """
    from onnx import helper, numpy_helper

    producers = {node.output[0]: node for node in model.graph.node}
    relu = producers[pool.input[0]]
    weight = producers[relu.input[0]].input[1]
    n_channels = next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == weight)
    quarters = numpy_helper.from_array(np.full((n_channels, 1, 2, 2), 0.25, np.float32), f"{pool.name}_quarters")
    model.graph.initializer.append(quarters)
    pool.op_type = "Conv"
    pool.input.append(quarters.name)
    del pool.attribute[:]
    for key, value in {"kernel_shape": [2, 2], "strides": [2, 2], "group": n_channels}.items():
        pool.attribute.append(helper.make_attribute(key, value))


def _pad_last_frame(model: "ModelProto", pools: list[str]) -> None:
    """Repeats the last frame before these poolings; the average of two equal frames is that frame."""
    from onnx import helper, numpy_helper

    if not pools:
        return
    pads = numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 1, 0]), "pool_pads")
    model.graph.initializer.append(pads)
    producers = {node.output[0]: node for node in model.graph.node}
    named = {node.name: node for node in model.graph.node}
    for name in pools:
        dequantize = producers[named[name].input[0]]
        padded = f"{name}_padded"
        node = helper.make_node("Pad", [dequantize.input[0], pads.name], [padded], f"{name}_pad", mode="edge")
        model.graph.node.insert(list(model.graph.node).index(dequantize), node)
        dequantize.input[0] = padded
