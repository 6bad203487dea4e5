"""Export of a network to one `.onnx` file, which ONNX Runtime runs without PyTorch.

The graph of the file is the whole network, for ONNX Runtime in any language: from `waveform (batch, sample)` to
`segments (batch, segment, channel)` and `scores (batch, label)`. A second, small graph is stored in the metadata for
`OnnxEngine`: from `segments (bag, segment, channel)` and `mask (bag, segment)` to `logits (bag, label)`,
`clip (bag, feature)` and, for poolings with attention, `attention (bag, head, segment)` or, at the instance level,
`label_attention (bag, label, segment)`. ONNX Runtime cannot run half of a graph, and two files would get separated.
Large weights of the second graph are stored once, in the first.
"""

import base64
import copy
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

import earmark
from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError
from earmark.export.encoders import encoder_of
from earmark.inference.onnx_engine import ATTENTION, CLASSIFY, DESCRIPTION, FORMAT, SHARED_PREFIX, OnnxEngine
from earmark.inference.torch_engine import TorchEngine
from earmark.inference.windows import sigmoid
from earmark.model.network import Network
from earmark.storage.files import atomic_write

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE: Final = 1e-4
"""Maximum difference between the scores of a network and of its float32 export."""
_TOLERANCES: Final = {"float32": TOLERANCE, "float16": 0.01, "int8": 1.0}
_OPSET: Final = 18
_MIN_SHARED: Final = 1024
"""Minimum bytes of a shared weight."""
_FLOAT_ONLY: Final = ("resnet38", "wavegram", "mobilenetv1", "mobilenetv2")
"""Backbones whose activations between the convolutions have no 8-bit form here."""


class Exported(NamedTuple):
    """An exported file."""

    difference: float
    """The largest difference between the scores of the network and of the file."""
    n_bytes: int
    precision: str
    """float32, float16 (weights only) or int8."""


def export(
    network: Network, path: Path | str, calibration: Iterable[np.ndarray] | None = None, *, float16: bool = False
) -> Exported:
    """Writes a network as one `.onnx` file, after comparing the scores of both.

    Args:
        network: The network; it is set to evaluation mode.
        path: The file to write.
        calibration: Recordings (sample,) at the network's rate, whose activations determine the scales of an int8
            backbone; the other weights are then stored in half precision. None keeps float32.
        float16: Store the weights in half precision, which halves the file; not with `calibration`.

    Raises:
        CheckpointError: The scores of a float32 file differ by more than `TOLERANCE`.
        ConfigError: The suffix is not `.onnx`, `calibration` is empty, or it is given with `float16`.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is not installed.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ConfigError(f"{path}: a file that ends in .onnx was expected")
    if float16 and calibration is not None:
        raise ConfigError("int8 and float16 exclude each other; choose one", "float16")
    if calibration is not None and network.config.backbone in _FLOAT_ONLY:
        raise ConfigError(
            f"8 bits are not available for the backbone {network.config.backbone}; float16 halves its file",
            "int8",
            remedy={"float16": True},
        )
    network.eval()
    classify = _export_classify(network)
    whole = _join_graphs(_export_encode(network), classify)
    if calibration is not None:
        from earmark.export.quantization import quantize

        whole = quantize(whole, calibration, network.config.frontend.sample_rate)
    if float16 or calibration is not None:
        from earmark.export.quantization import halve_weights

        for graph in (whole, classify):
            halve_weights(graph, keep="spectrum.")
    precision = "int8" if calibration is not None else "float16" if float16 else "float32"
    _add_metadata(whole, classify, network, precision)
    with atomic_write(path) as temporary:
        temporary.write_bytes(whole.SerializeToString())
        try:
            difference = check_parity(network, temporary, _TOLERANCES[precision])
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(temporary), str(path))) from error
    return Exported(difference, path.stat().st_size, precision)


def check_parity(network: Network, path: Path | str, tolerance: float = TOLERANCE) -> float:
    """The largest difference between the scores of a network and of a file, over noise and synthetic sounds.

    Raises:
        CheckpointError: The difference exceeds `tolerance`, or the file cannot be read.
    """
    engine, reference = OnnxEngine(path), TorchEngine(network)
    difference = max(
        float(np.abs(_scores(engine, waveform) - _scores(reference, waveform)).max())
        for waveform in _test_sounds(engine.sample_rate, engine.samples_per_segment)
    )
    if not difference <= tolerance:  # also true for nan
        raise CheckpointError(
            f"{path}: scores differ by {difference:.2g} from those of the network, expected at most {tolerance:g}; "
            "try another version of onnx, onnxscript or onnxruntime"
        )
    return difference


def _test_sounds(sample_rate: int, samples_per_segment: int) -> list[np.ndarray]:
    """Noise of one sample, of odd lengths and of some seconds, and one synthetic sound of each kind."""
    rng = np.random.default_rng(0)
    lengths = (1, 2, samples_per_segment // 3, samples_per_segment, 5 * samples_per_segment + 1, 3 * sample_rate)
    noises = [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in lengths]
    return noises + [clip.load(sample_rate).waveform for clip in synthetic_bank(2).select(splits=("train",))]


def _scores(engine: OnnxEngine | TorchEngine, waveform: np.ndarray) -> np.ndarray:
    return sigmoid(engine.classify(engine.encode(waveform[None]))[0])


class _Classify(nn.Module):
    """Perceptron (if the network has one), pooling and classifier."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.perceptron, self.pooling, self.classifier = network.perceptron, network.pooling, network.classifier
        self.affine = network.affine

    def forward(self, segments: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        if self.perceptron is not None:
            segments = self.perceptron(segments, mask)
        if self.affine is not None:
            segments = self.classifier(segments)
        clip = self.pooling.finalize(self.pooling.summarize(segments, mask))
        outputs = (self.classifier(clip) if self.affine is None else self.affine(clip), clip)
        attention = self.pooling.attention(segments, mask)
        return outputs if attention is None else (*outputs, attention)


def _export_encode(network: Network) -> "ModelProto":
    waveform = torch.zeros(2, 5 * network.backbone.frames_per_segment * network.config.frontend.hop_length + 7)
    return _export_module(
        encoder_of(network),
        {"waveform": (waveform, ("batch", "sample"))},
        {"segments": ("batch", "segment", network.backbone.n_channels)},
    )


def _export_classify(network: Network) -> "ModelProto":
    n_channels = network.backbone.n_channels
    segments, mask = torch.zeros(3, 5, n_channels), torch.ones(3, 5, dtype=torch.bool)
    outputs: dict[str, tuple[str | int, ...]] = {
        "logits": ("bag", len(network.labels)),
        "clip": ("bag", network.pooling.n_features),
    }
    attention = network.attention(segments, mask)
    if attention is not None:
        outputs[ATTENTION[network.pooling.level]] = ("bag", attention.shape[1], "segment")
    inputs = {"segments": (segments, ("bag", "segment")), "mask": (mask, ("bag", "segment"))}
    return _export_module(_Classify(network), inputs, outputs)


def _join_graphs(encode: "ModelProto", classify: "ModelProto") -> "ModelProto":
    """The whole network: `encode`, then `classify` of all segments, then the sigmoid."""
    from onnx import TensorProto, compose, helper

    whole, n_labels = copy.deepcopy(encode), classify.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    after = compose.add_prefix(classify, SHARED_PREFIX, rename_inputs=False, rename_outputs=False)
    true = helper.make_tensor("true", TensorProto.BOOL, [1], [True])
    whole.graph.node.extend(
        [
            helper.make_node("Shape", ["segments"], ["n_segments"], "n_segments", start=0, end=2),
            helper.make_node("ConstantOfShape", ["n_segments"], ["mask"], "mask", value=true),
            *after.graph.node,
            helper.make_node("Sigmoid", ["logits"], ["scores"], "scores"),
        ]
    )
    whole.graph.initializer.extend(after.graph.initializer)
    whole.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", n_labels]))
    return whole


def _add_metadata(whole: "ModelProto", classify: "ModelProto", network: Network, precision: str) -> None:
    """Adds the metadata that `OnnxEngine` reads: a description, and the second graph without the weights it shares."""
    engine = TorchEngine(network)
    about = {
        "format": FORMAT,
        "earmark": earmark.__version__,
        "precision": precision,
        "labels": {"names": list(network.labels.names), "ids": list(network.labels.ids)},
        "thresholds": None if network.thresholds is None else list(network.thresholds),
        "clip_duration": engine.clip_duration,
        "sample_rate": engine.sample_rate,
        "samples_per_segment": engine.samples_per_segment,
        "halo": engine.halo,
        "shared": _take_out_weights(classify, whole),
        "network": network.config.to_json(),
        "extra": network.extra,
    }
    graph = base64.b64encode(classify.SerializeToString()).decode("ascii")
    for key, value in ((DESCRIPTION, json.dumps(about)), (CLASSIFY, graph)):
        whole.metadata_props.add(key=key, value=value)
    whole.producer_name, whole.producer_version = "earmark", earmark.__version__


def _take_out_weights(classify: "ModelProto", whole: "ModelProto") -> list[str]:
    """Removes the values of large weights that the whole network also has; returns the names of these weights."""
    from onnx import TensorProto

    there = {
        tensor.name: tensor.raw_data for tensor in whole.graph.initializer if tensor.name.startswith(SHARED_PREFIX)
    }
    taken = []
    for tensor in classify.graph.initializer:
        is_read = tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16) and len(tensor.raw_data) >= _MIN_SHARED
        if is_read and there.get(SHARED_PREFIX + tensor.name) == tensor.raw_data:
            tensor.ClearField("raw_data")
            # ONNX Runtime requires a location; OnnxEngine passes the values
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="shared")
            taken.append(tensor.name)
    return taken


def _export_module(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, tuple[str, ...]]],
    outputs: Mapping[str, tuple[str | int, ...]],
) -> "ModelProto":
    """A module as an ONNX model.

    Args:
        module: The module to export.
        inputs: An example of each input, and the names of its leading axes, which may have any length.
        outputs: The axes of each output.
    """
    import onnx
    import onnxscript  # noqa: F401 (PyTorch's exporter needs it; fails here before the work)

    try:
        with _hide_notes():
            program = torch.onnx.export(
                module.eval(),
                tuple(tensor for tensor, _ in inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(dict(enumerate(axes)) for _, axes in inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=_OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise CheckpointError(f"PyTorch's exporter failed ({reason}); try another version of torch") from error
    model: ModelProto = cast(Any, program).model_proto  # a program, because of `dynamo`
    graph = model.graph
    # intermediate shapes; ONNX Runtime infers them
    graph.ClearField("value_info")
    for output, axes in zip(graph.output, outputs.values(), strict=True):
        output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, axes))
    # origins of the nodes, with paths of this machine
    for part in (model, graph, *graph.node, *graph.input, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


@contextmanager
def _hide_notes() -> Iterator[None]:
    """Hides the exporter's notes about deprecations and optional libraries."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    try:
        registration.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        registration.setLevel(level)
