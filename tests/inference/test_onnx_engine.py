"""The engine of exported files: its errors, and that it needs no PyTorch."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from earmark.errors import CheckpointError, ConfigError
from earmark.inference.engine import ChunkedEncoder, Engine, encode_blocks
from earmark.inference.onnx_engine import OnnxEngine, has_device
from earmark.inference.torch_engine import TorchEngine
from earmark.model.network import Network


@pytest.fixture(scope="module")
def engine(exported: Path) -> OnnxEngine:
    return OnnxEngine(exported, n_threads=1)


def test_the_engine_has_the_properties_of_the_checkpoint(exported: Path, engine: OnnxEngine) -> None:
    reference = TorchEngine(Network.load(exported.with_suffix(".safetensors")))
    assert isinstance(engine, Engine)
    for name in ("labels", "thresholds", "clip_duration", "sample_rate", "samples_per_segment", "halo"):
        assert getattr(engine, name) == getattr(reference, name), name
    assert engine.config == reference.network.config.to_json()
    assert (engine.extra, engine.precision) == (reference.network.extra, "float32")


def test_the_number_of_threads_changes_nothing(exported: Path, engine: OnnxEngine) -> None:
    waveform = np.random.default_rng(0).standard_normal(40000).astype(np.float32)
    for n_threads in (None, 2):
        ours = OnnxEngine(exported, n_threads=n_threads).encode(waveform[None])[0]
        np.testing.assert_allclose(ours, engine.encode(waveform[None])[0], rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="n_threads: a positive whole number was expected, not 0"):
        OnnxEngine(exported, n_threads=0)


@pytest.mark.parametrize("n_samples", [1, 6400 * 4, 6400 * 30 + 1, 6400 * 33 - 1])
@pytest.mark.parametrize("n_segments", [1, 4, 7])
def test_chunks_equal_the_whole_recording(engine: OnnxEngine, n_samples: int, n_segments: int) -> None:
    waveform = np.random.default_rng(1).standard_normal(n_samples).astype(np.float32)
    encoder = ChunkedEncoder(engine, n_segments)
    pieces = [piece for block in np.array_split(waveform, 5) for piece in encoder.push(block)]
    np.testing.assert_allclose(
        np.concatenate([*pieces, encoder.finish()]), engine.encode(waveform[None])[0], rtol=0, atol=1e-4
    )


@pytest.mark.usefixtures("unchecked")
def test_wrong_shapes_and_empty_bags_are_refused(engine: OnnxEngine) -> None:
    segments = np.zeros((2, 3, 16), np.float32)
    with pytest.raises(ConfigError, match="a bag without segments cannot be pooled"):
        engine.classify(segments[:, :0])
    with pytest.raises(ConfigError, match="every bag needs a real segment"):
        engine.classify(segments, np.array([[True, False, False], [False, False, False]]))
    with pytest.raises(ConfigError, match=r"\(bag, segment, 16 channels\) were expected, not \(2, 3, 8\)"):
        engine.classify(segments[..., :8])
    with pytest.raises(ConfigError, match=r"mask: booleans of shape \(2, 3\), .* not bool of shape \(2, 2\)"):
        engine.pool(segments, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="a clip of at least one sample was expected"):
        engine.encode(np.zeros((1, 0), np.float32))


def damaged(exported: Path, path: Path, change: Callable[[dict[str, str]], object]) -> Path:
    """The exported file with other metadata."""
    model = onnx.load(exported)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    change(metadata)
    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def about(**changes: object) -> Callable[[dict[str, str]], object]:
    def change(metadata: dict[str, str]) -> None:
        values = {**json.loads(metadata["earmark"]), **changes}
        kept = {key: value for key, value in values.items() if value is not ...}
        metadata["earmark"] = json.dumps(kept)

    return change


def cut_graph(metadata: dict[str, str]) -> None:
    graph = base64.b64decode(metadata["earmark.classify"])
    metadata["earmark.classify"] = base64.b64encode(graph[: len(graph) // 2]).decode()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda metadata: metadata.pop("earmark"),
            "not exported by earmark: its metadata does not describe its outputs",
        ),
        (about(format=3), "format 3 of exported files, this version of earmark reads format 2; update earmark"),
        (about(format=1), "format 1 of exported files, this version of earmark reads format 2; export it again"),
        (about(sample_rate=float("inf")), "its metadata is damaged"),
        (about(format="new"), "format new of exported files"),
        (about(format=...), "its metadata is damaged"),
        (lambda metadata: metadata.update({"earmark": "{"}), "its metadata is damaged"),
        (lambda metadata: metadata.update({"earmark": "[]"}), "its metadata is damaged"),
        (about(labels=None), "its metadata is damaged"),
        (about(labels={"names": ["a", "a"], "ids": ["b", "c"]}), "its metadata is damaged"),
        (about(halo=...), "its metadata is damaged"),
        (about(shared=...), "its metadata is damaged"),
        (about(shared=["no such weight"]), "the weight 'classify.no such weight' is missing"),
        (about(sample_rate="fast"), "its metadata is damaged"),
        (about(thresholds=["high"]), "its metadata is damaged"),
        (lambda metadata: metadata.pop("earmark.classify"), "its metadata is damaged"),
        (lambda metadata: metadata.update({"earmark.classify": "*"}), "its metadata is damaged"),
        (
            lambda metadata: metadata.update({"earmark.classify": ""}),
            "its graph `classify` is damaged; export it again",
        ),
        (cut_graph, "its graph `classify` is damaged; export it again"),
    ],
)
def test_a_damaged_file_is_reported_in_one_line(
    exported: Path, tmp_path: Path, change: Callable[[dict[str, str]], object], text: str
) -> None:
    path = damaged(exported, tmp_path / "bad.onnx", change)
    with pytest.raises(CheckpointError, match=text) as caught:
        OnnxEngine(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{path}: ")


def other_graph(kept: str) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [value], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if kept:
        helper.set_model_props(model, {entry.key: entry.value for entry in onnx.load(kept).metadata_props})
    return model.SerializeToString()


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut", "somebody's", "swapped"])
def test_a_foreign_file_is_reported_in_one_line(
    exported: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.onnx"
    content, text = {
        "missing": (None, "no such file; one written by `earmark export MODEL"),
        "empty": (b"", r"(not a readable \.onnx file|not exported by earmark)"),
        "text": (b"no graph at all", r"not a readable \.onnx file"),
        "cut": (exported.read_bytes()[:5000], r"not a readable \.onnx file"),
        "somebody's": (other_graph(""), "not exported by earmark"),
        "swapped": (other_graph(str(exported)), "its graphs do not have earmark's inputs and outputs; export it again"),
    }[kind]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=text) as caught:
        OnnxEngine(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{path}: ")
    assert capfd.readouterr() == ("", "")


def test_the_engine_needs_neither_pytorch_nor_onnx_and_prints_nothing(exported: Path) -> None:
    code = f"""
import sys, numpy, earmark
engine = earmark.load({str(exported)!r}).engine
segments = engine.encode(numpy.zeros((1, 20000), numpy.float32))[0]
assert engine.classify(segments[None], numpy.ones((1, len(segments)), bool)).shape == (1, 3)
heavy = {{"torch", "onnx", "onnxscript", "scipy", "pandas", "matplotlib", "tensorboard", "sympy"}}
sys.exit(", ".join(heavy & set(sys.modules)) or None)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_batch_gives_the_segments_of_single_clips(engine: OnnxEngine) -> None:
    clips = np.random.default_rng(2).standard_normal((3, 20000)).astype(np.float32)
    alone = np.concatenate([engine.encode(clips[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(engine.encode(clips), alone, rtol=0, atol=1e-5)


def test_a_device_that_is_not_there_is_refused(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert OnnxEngine(exported, device="auto").batch_size == 1
    assert [has_device(name) for name in ("auto", "cpu", "cuda", "mps")] == [True, True, False, False]
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(
            ConfigError,
            match=f"device: {device} was requested, but ONNX Runtime has CPUExecutionProvider only; take cpu",
        ):
            OnnxEngine(exported, device=device)
    with pytest.raises(ConfigError, match="device: auto, cpu, cuda, cuda:N or mps was expected, not 'gpu'"):
        OnnxEngine(exported, device="gpu")


def test_each_device_has_its_provider_before_the_cpu(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    options: list[dict[str, str]] = []

    def make(model: object, settings: object, providers: list[object]) -> object:
        asked.append([each if isinstance(each, str) else each[0] for each in providers])
        options.extend(each[1] for each in providers if not isinstance(each, str))
        return real(model, settings, providers=["CPUExecutionProvider"])

    real = onnxruntime.InferenceSession
    there = ["CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: there)
    monkeypatch.setattr("onnxruntime.InferenceSession", make)
    assert OnnxEngine(exported, device="auto").batch_size == 1, "its libraries cannot be loaded: the CPU is taken"
    OnnxEngine(exported, device="cpu")
    for device in ("cuda:1", "mps"):
        with pytest.raises(ConfigError, match=f"device: {device} was requested, but ONNX Runtime cannot load"):
            OnnxEngine(exported, device=device)
    cuda, core_ml, cpu = there
    # the second graph, pooling and classifier, stays on the CPU
    assert asked == [[cuda, cpu], [cpu], [cpu], [cpu], [cuda, cpu], [core_ml, cpu]]
    assert options == [{"device_id": name, "use_tf32": "0"} for name in ("0", "1")]


def test_on_a_gpu_chunks_are_encoded_in_batches(
    exported: Path, engine: OnnxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnGpu:
        """A session of the CPU that says it is one of a GPU."""

        def __init__(self, *arguments: object, providers: object) -> None:
            self._session = real(*arguments, providers=["CPUExecutionProvider"])

        def __getattr__(self, name: str) -> object:
            return getattr(self._session, name)

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            if names == ["segments"]:
                shapes.append(inputs["waveform"].shape)
            return self._session.run(names, inputs)

    shapes: list[tuple[int, ...]] = []
    real = onnxruntime.InferenceSession
    monkeypatch.setattr("onnxruntime.get_available_providers", OnGpu.get_providers.__get__(object()))
    monkeypatch.setattr("onnxruntime.InferenceSession", OnGpu)
    monkeypatch.setattr("earmark.inference.engine.CHUNK_SECONDS", 1.2)
    waveform = np.random.default_rng(3).standard_normal(16000 * 20).astype(np.float32)
    on_gpu = OnnxEngine(exported, device="cuda")
    segments = np.concatenate(list(encode_blocks(on_gpu, np.array_split(waveform, 4))))
    np.testing.assert_allclose(segments, engine.encode(waveform[None])[0], rtol=0, atol=1e-4)
    assert max(n_chunks for n_chunks, _ in shapes) == on_gpu.batch_size > 1
