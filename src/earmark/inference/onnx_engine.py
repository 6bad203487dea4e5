"""The engine of an exported network, which runs in ONNX Runtime without PyTorch."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.inference.engine import BATCH_SIZE, OVERLAP, check_device_name
from earmark.inference.merged_calls import MergedCalls
from earmark.inference.onnx_weights import read_weights
from earmark.labels import LabelSet
from earmark.storage.files import utf8_name

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from onnxruntime import InferenceSession

FORMAT: Final = 2
"""Format number of exported files; other numbers are refused."""
DESCRIPTION: Final = "earmark"
"""Metadata key of labels, thresholds and config, as JSON."""
CLASSIFY: Final = "earmark.classify"
"""Metadata key of the graph of pooling and classifier, a separate model in base64."""
SHARED_PREFIX: Final = "classify."
"""Prefix in the whole network: a weight `w` that the second graph shares is stored only there, as `classify.w`."""
ATTENTION: Final[Mapping[str, str]] = {"embedding": "attention", "instance": "label_attention"}
"""Output of that graph with the attention, by the level of the pooling; at the instance level each label has a head."""
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_CORE_ML: Final = "CoreMLExecutionProvider"
_FATAL: Final = 4
"""Severity from which ONNX Runtime prints: it raises errors as exceptions anyway."""


class OnnxEngine:
    """The `Engine` of a network exported by `earmark export`.

    `encode` raises ValueError for an empty waveform; `classify` and `pool` raise ConfigError for an empty bag and for a
    wrong shape or dtype.

    Args:
        path: The `.onnx` file.
        n_threads: Threads of ONNX Runtime; by default its own choice.
        device: auto, cpu, cuda, cuda:N or mps, Apple's CoreML; auto is CUDA where ONNX Runtime has it, else the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, of a later format, or was not exported by earmark.
        ConfigError: ONNX Runtime does not have the device.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, path: Path | str, n_threads: int | None = None, device: str = "cpu") -> None:
        if n_threads is not None and n_threads < 1:
            raise ConfigError(f"a positive whole number was expected, not {n_threads}", "n_threads")
        path = Path(path)
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; one written by `earmark export MODEL {path}` was expected")
        with utf8_name(path) as name:
            self._encode = _read(path, name, "not a readable .onnx file", n_threads, device)
        metadata = self._encode.get_modelmeta().custom_metadata_map
        about = _description(path, metadata.get(DESCRIPTION))
        complaint = f"{path}: its graphs do not have earmark's inputs and outputs; export it again"
        if _names(self._encode) != ({"waveform"}, {"segments", "scores"}):
            raise CheckpointError(complaint)
        try:
            self.labels = LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
            thresholds, seconds = about["thresholds"], about["clip_duration"]
            self.thresholds: Sequence[float] | None = None if thresholds is None else tuple(map(float, thresholds))
            self.clip_duration: float | None = None if seconds is None else float(seconds)
            self.sample_rate = int(about["sample_rate"])
            self.samples_per_segment = int(about["samples_per_segment"])
            self.halo = None if about["halo"] is None else int(about["halo"])
            self.overlap = OVERLAP
            self.config: dict[str, Any] = dict(about["network"])
            self.extra: dict[str, Any] = dict(about["extra"])
            self.precision = str(about["precision"])
            graph = base64.b64decode(metadata[CLASSIFY], validate=True)
            shared = read_weights(path, [SHARED_PREFIX + name for name in about["shared"]])
        except (KeyError, TypeError, ValueError, OverflowError, OSError, DataError) as error:
            raise CheckpointError(f"{path}: its metadata is damaged ({error!r}); export it again") from error
        self._weights = {name.removeprefix(SHARED_PREFIX): weight for name, weight in shared.items()}
        damaged = "its graph `classify` is damaged; export it again"
        self._classify = _read(path, graph, damaged, n_threads, weights=self._weights)
        outputs = _names(self._classify)[1]
        if not outputs >= {"logits", "clip"}:
            raise CheckpointError(complaint)
        self._n_channels = self._classify.get_inputs()[0].shape[2]
        self._attention = next((name for name in ATTENTION.values() if name in outputs), None)
        is_gpu = self._encode.get_providers()[0] != _CPU
        self.batch_size = BATCH_SIZE if is_gpu else 1
        self._run_encode = MergedCalls(self._segments, BATCH_SIZE) if is_gpu else self._segments

    def encode(self, waveforms: Float[np.ndarray, "clip sample"]) -> Float[np.ndarray, "clip segment channel"]:
        if waveforms.size == 0:
            raise ValueError("a clip of at least one sample was expected")
        return self._run_encode(waveforms)

    def classify(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]:
        return self._run("logits", segments, mask)

    def pool(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]:
        return self._run("clip", segments, mask)

    def attention(
        self, segments: Float[np.ndarray, "segment channel"], label: int | None = None
    ) -> Float[np.ndarray, "head segment"] | None:
        if self._attention is None:
            return None
        attention = self._run(self._attention, segments[None], None)[0]
        is_per_label = self._attention == ATTENTION["instance"]
        return attention[[label]] if is_per_label and label is not None else attention

    def _segments(self, waveforms: np.ndarray) -> np.ndarray:
        inputs = {"waveform": np.ascontiguousarray(waveforms, np.float32)}
        segments: np.ndarray = self._encode.run(["segments"], inputs)[0]
        return segments

    def _run(self, output: str, segments: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        if segments.ndim != 3 or segments.shape[2] != self._n_channels:
            raise ConfigError(
                f"segments of shape (bag, segment, {self._n_channels} channels) were expected, not {segments.shape}"
            )
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != segments.shape[:2]):
            raise ConfigError(
                f"mask: booleans of shape {segments.shape[:2]}, True for a real segment, were expected, not "
                f"{mask.dtype} of shape {mask.shape}"
            )
        if segments.shape[1] == 0 or (mask is not None and not mask.any(axis=1).all()):
            # a graph cannot raise: it would return nan
            raise ConfigError("a bag without segments cannot be pooled: every bag needs a real segment")
        whole = np.ones(segments.shape[:2], np.bool_) if mask is None else np.ascontiguousarray(mask)
        inputs = {"segments": np.ascontiguousarray(segments, np.float32), "mask": whole}
        result: np.ndarray = self._classify.run([output], inputs)[0]
        return result


def onnx_runtime() -> ModuleType:
    """The module `onnxruntime`, which then sends no usage statistics.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    # the module reads it when it is first imported; without it, files stay in the temporary folder and the cache
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def has_device(device: str) -> bool:
    """Whether ONNX Runtime runs networks on this device, as far as its installation says."""
    return len(_providers(device)) > 1 or device in ("auto", "cpu")


def session(
    model: str | bytes,
    n_threads: int | None = None,
    device: str = "cpu",
    weights: Mapping[str, np.ndarray] | None = None,
) -> InferenceSession:
    """A session of ONNX Runtime for a graph, given by its path or its bytes; it prints no warnings.

    Args:
        model: Path or bytes of the graph.
        n_threads: Threads of ONNX Runtime; by default its own choice.
        device: As in `OnnxEngine`.
        weights: Weights by name that the graph declares but does not contain; they must outlive the session.

    Raises:
        ConfigError: ONNX Runtime does not have the device, or cannot use it; `auto` takes the CPU then.
    """
    onnxruntime = onnx_runtime()
    check_device_name(device)
    if not has_device(device):
        there = ", ".join(onnxruntime.get_available_providers())
        raise ConfigError(
            f"{device} was requested, but ONNX Runtime has {there} only; take cpu, install onnxruntime-gpu in place of "
            "onnxruntime, or use a checkpoint in PyTorch",
            "device",
        )
    onnxruntime.disable_telemetry_events()  # versions for Windows do not read the variable
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    if n_threads is not None:
        options.intra_op_num_threads = n_threads
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights.values()]
        options.add_external_initializers(list(weights), values)
    # the two sessions of an engine take turns: spinning threads of one would slow the other down
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made: InferenceSession = onnxruntime.InferenceSession(model, options, providers=_providers(device))
    if device not in ("auto", "cpu") and made.get_providers()[0] == _CPU:
        raise ConfigError(f"{device} was requested, but ONNX Runtime cannot load its libraries; take cpu", "device")
    return made


def _providers(device: str) -> list[Any]:
    """Providers of ONNX Runtime for a device in the order of choice; the last is the CPU."""
    kind, _, index = device.partition(":")
    there = onnx_runtime().get_available_providers()
    if kind in ("auto", "cuda") and _CUDA in there:
        # in TF32, scores would differ by more than 0.001 from those of the CPU
        return [(_CUDA, {"device_id": index or "0", "use_tf32": "0"}), _CPU]
    # not for auto: it compiles the graph again for each new length of a recording
    return [_CORE_ML, _CPU] if kind == "mps" and _CORE_ML in there else [_CPU]


def _read(
    path: Path,
    model: str | bytes,
    complaint: str,
    n_threads: int | None,
    device: str = "cpu",
    weights: Mapping[str, np.ndarray] | None = None,
) -> InferenceSession:
    try:
        return session(model, n_threads, device, weights)
    except (ModuleNotFoundError, ConfigError):
        raise
    except Exception as error:  # the exceptions of ONNX Runtime have no other common base class
        raise CheckpointError(f"{path}: {complaint} ({str(error).splitlines()[0]})") from error


def _names(session: InferenceSession) -> tuple[set[str], set[str]]:
    return {entry.name for entry in session.get_inputs()}, {entry.name for entry in session.get_outputs()}


def _description(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise CheckpointError(
            f"{path}: not exported by earmark: its metadata does not describe its outputs; `earmark export MODEL "
            "OUT.onnx` writes a file that does"
        )
    try:
        about = json.loads(text)
        number = about["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged ({error!r}); export it again") from error
    if number != FORMAT:
        remedy = "update earmark" if not isinstance(number, int) or number > FORMAT else "export it again"
        raise CheckpointError(
            f"{path}: format {number} of exported files, this version of earmark reads format {FORMAT}; {remedy}"
        )
    return dict(about)
