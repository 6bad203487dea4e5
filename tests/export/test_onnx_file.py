"""The exported network has the same segments, logits and scores, for all poolings and lengths."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import earmark
from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError
from earmark.export import onnx_file as exporting
from earmark.export.onnx_file import Exported, check_parity, export
from earmark.inference.onnx_engine import OnnxEngine
from earmark.inference.torch_engine import TorchEngine
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.model.pooling import POOLINGS
from tests.networks import LABELS, graphs_made_once, small_network

RATE = 16000
WHOLE = ("max", "gmap", "decision_attention")
"""Poolings that are tested with the rest of the network: without attention, with it, and at the instance level."""
KINDS = {
    **{pooling: {"pooling": pooling} for pooling in WHOLE},
    "light": {"backbone": "light"},
    "mn": {"backbone": "mn", "width": 4, "frontend": replace(FrontendConfig.at_16k(), preemphasis=0.97)},
    "fine": {"frontend": replace(FrontendConfig.at_16k(), n_mels=128, hop_length=160)},
}
"""Settings of the tested networks, by name."""


class Pair:
    """A network and its exported file."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.path = folder / "exported.onnx"
        self.exported = Exported(*json.loads((folder / "exported.json").read_text()))
        self.torch, self.onnx = TorchEngine(net), OnnxEngine(self.path, n_threads=1)


@pytest.fixture(scope="module")
def pairs(write_once: Callable[[str, Callable[[Path], object]], Path]) -> Iterator[Callable[[str], Pair]]:
    @cache
    def pair(kind: str) -> Pair:
        net = small_network(**KINDS[kind])

        def write(folder: Path) -> None:
            exported = export(net, folder / "exported.onnx")
            (folder / "exported.json").write_text(json.dumps(exported))

        return Pair(net, write_once(f"pair-{kind}", write))

    with graphs_made_once(write_once):
        yield pair


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, pairs: Callable[[str], Pair]) -> Pair:
    return pairs(request.param)


@pytest.fixture
def gmap(pairs: Callable[[str], Pair]) -> Pair:
    return pairs("gmap")


def lengths(rng: np.random.Generator) -> list[int]:
    """A hundred: a sample, each side of a frame and of a segment, and anything up to 12 s."""
    edges = [n + d for n in (400, 512, 6400, 12800, 25600) for d in (-1, 0, 1)]
    return [1, 2, 3, 255, 256, 257, *edges, *rng.integers(1, 12 * RATE, 79).tolist()]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_scores_of_a_hundred_inputs_of_many_lengths_are_the_same(pair: Pair) -> None:
    rng = np.random.default_rng(0)
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    plain = onnxruntime.InferenceSession(pair.path, one_thread)
    for n_samples in lengths(rng):
        waveform = (10 ** rng.uniform(-4, 0) * rng.standard_normal(n_samples)).astype(np.float32)
        segments, ours = pair.torch.encode(waveform[None])[0], pair.onnx.encode(waveform[None])[0]
        assert ours.shape == segments.shape and ours.dtype == np.float32
        expected = sigmoid(pair.torch.classify(segments[None]))
        np.testing.assert_allclose(sigmoid(pair.onnx.classify(ours[None])), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(plain.run(["scores"], {"waveform": waveform[None]})[0], expected, rtol=0, atol=1e-4)


def test_classify_pool_and_attention_are_the_same_with_masks(pair: Pair) -> None:
    rng = np.random.default_rng(1)
    n_channels = pair.torch.network.backbone.n_channels
    for n_bags, n_segments in ((1, 1), (1, 9), (5, 1), (7, 30)):
        segments = rng.standard_normal((n_bags, n_segments, n_channels)).astype(np.float32)
        mask = rng.random((n_bags, n_segments)) < 0.5
        mask[:, rng.integers(n_segments)] = True
        for given in (None, mask, np.ones_like(mask)):
            for method in ("classify", "pool"):
                expected = getattr(pair.torch, method)(segments, given)
                np.testing.assert_allclose(getattr(pair.onnx, method)(segments, given), expected, rtol=0, atol=1e-5)
        spoilt = np.where(mask[..., None], segments, np.nan).astype(np.float32)
        np.testing.assert_array_equal(pair.onnx.classify(spoilt, mask), pair.onnx.classify(segments, mask))
        if pair.torch.network.config.pooling == "max":
            assert pair.onnx.attention(segments[0]) is None
        else:
            attention = pair.onnx.attention(segments[0])
            np.testing.assert_allclose(attention, pair.torch.attention(segments[0]), rtol=0, atol=1e-6)
            np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-5)
            of_label = attention[[2]] if pair.torch.network.pooling.level == "instance" else attention
            for engine in (pair.onnx, pair.torch):
                np.testing.assert_allclose(engine.attention(segments[0], 2), of_label, rtol=0, atol=1e-6)


class Heads(torch.nn.Module):
    """The exported part after the encoder, for several networks at once: one export takes as long as one pooling's."""

    def __init__(self, networks: dict[str, Network]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(exporting._Classify(network) for network in networks.values())

    def forward(self, segments: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output for part in self.parts for output in part(segments, mask))


@pytest.fixture(scope="module")
def heads() -> dict[str, Network]:
    return {pooling: small_network(pooling=pooling) for pooling in POOLINGS}


@pytest.fixture(scope="module")
def graph(heads: dict[str, Network], write_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    segments, mask = torch.zeros(3, 5, 16), torch.ones(3, 5, dtype=torch.bool)
    inputs = {"segments": (segments, ("bag", "segment")), "mask": (mask, ("bag", "segment"))}
    outputs: dict[str, tuple[str | int, ...]] = {}
    for pooling, net in heads.items():
        outputs |= {f"{pooling}.logits": ("bag", len(net.labels)), f"{pooling}.clip": ("bag", net.pooling.n_features)}
        if (attention := net.attention(segments, mask)) is not None:
            outputs[f"{pooling}.attention"] = ("bag", attention.shape[1], "segment")

    def write(folder: Path) -> None:
        model = exporting._export_module(Heads(heads), inputs, outputs)
        (folder / "heads.onnx").write_bytes(model.SerializeToString())

    return write_once("heads", write) / "heads.onnx"


@pytest.fixture(scope="module")
def session(graph: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graph)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_graph_of_each_pooling_computes_the_same(
    pooling: str, heads: dict[str, Network], session: onnxruntime.InferenceSession
) -> None:
    net, rng = heads[pooling], np.random.default_rng(3)
    engine = TorchEngine(net)
    names = [output.name for output in session.get_outputs() if output.name.split(".")[0] == pooling]
    assert len(names) == 2 + (net.attention(torch.zeros(1, 2, 16), None) is not None)
    for n_bags, n_segments in ((1, 1), (2, 9), (3, 10), (7, 31)):
        segments = 5 * rng.standard_normal((n_bags, n_segments, 16)).astype(np.float32)
        mask = rng.random((n_bags, n_segments)) < 0.5
        mask[:, rng.integers(n_segments)] = True
        for given in (np.ones_like(mask), mask):
            ours = session.run(names, {"segments": np.where(given[..., None], segments, np.nan), "mask": given})
            expected = engine.classify(segments, given), engine.pool(segments, given)
            np.testing.assert_allclose(sigmoid(ours[0]), sigmoid(expected[0]), rtol=0, atol=1e-5)
            np.testing.assert_allclose(ours[0], expected[0], rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(ours[1], expected[1], rtol=1e-5, atol=1e-4)
            if len(ours) > 2:
                np.testing.assert_allclose(ours[2][0], net.attention(*_tensors(segments, given))[0].detach(), atol=1e-6)


def _tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def test_unusual_sounds_have_the_same_scores(gmap: Pair) -> None:
    time = np.arange(3 * RATE) / RATE
    click = np.zeros(3 * RATE)
    click[20000] = 1
    sounds = [np.zeros(3 * RATE), np.ones(3 * RATE), click, np.sign(np.sin(3000 * time))]
    sounds += [10.0**level * np.sin(2 * np.pi * hz * time) for hz in (60, 440, 1031.25, 7900) for level in (-5, -2, 0)]
    sounds += [clip.load(RATE).waveform for clip in synthetic_bank(2).select(splits=("test",))]
    for sound in sounds:
        waveform = sound.astype(np.float32)
        ours, expected = (sigmoid(engine.classify(engine.encode(waveform[None]))) for engine in (gmap.onnx, gmap.torch))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_a_batch_equals_its_recordings_one_by_one(gmap: Pair) -> None:
    waveforms = np.random.default_rng(2).standard_normal((3, 20001)).astype(np.float32)
    segments, scores = onnxruntime.InferenceSession(gmap.path).run(None, {"waveform": waveforms})
    assert segments.shape == (3, 4, 16) and scores.shape == (3, 3)
    for waveform, expected in zip(waveforms, segments, strict=True):
        np.testing.assert_allclose(gmap.onnx.encode(waveform[None])[0], expected, rtol=0, atol=1e-5)


def test_the_file_describes_itself(gmap: Pair) -> None:
    model = onnx.load(gmap.path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert sorted(metadata) == ["earmark", "earmark.classify"]
    about = json.loads(metadata["earmark"])
    assert about["format"] == 2 and about["earmark"] == earmark.__version__ and about["precision"] == "float32"
    assert NetworkConfig.from_json(about["network"]) == gmap.torch.network.config
    engine = gmap.onnx
    assert (engine.labels, engine.thresholds, engine.clip_duration) == (LABELS, (0.25, 0.5, 0.75), 5.0)
    assert (engine.sample_rate, engine.samples_per_segment, engine.halo) == (RATE, 6400, gmap.torch.halo)
    assert (engine.extra, engine.precision) == ({"clip_duration": 5.0, "seed": 7}, "float32")
    assert gmap.exported == Exported(gmap.exported.difference, gmap.path.stat().st_size, "float32")
    assert 0 < gmap.exported.difference < 1e-4
    # readable by older versions of ONNX Runtime
    assert model.ir_version <= 10 and [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]


def test_large_weights_are_stored_once(gmap: Pair) -> None:
    model = onnx.load(gmap.path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    large = [weight for weight in model.graph.initializer if len(weight.raw_data) > 1023]
    shared = json.loads(metadata["earmark"])["shared"]
    assert {f"classify.{name}" for name in shared} == {w.name for w in large if w.name.startswith("classify.")} != set()
    second = base64.b64decode(metadata["earmark.classify"])
    assert all(weight.raw_data not in second for weight in large)


def test_the_file_holds_no_paths_of_this_machine(gmap: Pair) -> None:
    content = gmap.path.read_bytes()
    assert str(Path(earmark.__file__).parent).encode() not in content
    assert b"site-packages" not in content and b"stack_trace" not in content


def test_a_file_with_different_scores_is_removed(
    gmap: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other, graph = small_network(), exporting._export_encode(gmap.torch.network)
    other.backbone.bn0.bias.data += 1
    monkeypatch.setattr(exporting, "_export_encode", lambda network: graph)
    with pytest.raises(CheckpointError, match=r"bad\.onnx: scores differ by .* expected at most 0\.0001") as caught:
        export(other, tmp_path / "bad.onnx")
    assert str(tmp_path / "bad.onnx") in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_parity_with_another_network_fails(gmap: Pair) -> None:
    assert check_parity(gmap.torch.network, gmap.path) == gmap.exported.difference
    with pytest.raises(CheckpointError, match="scores differ by"):
        check_parity(small_network(pooling="max"), gmap.path)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a file that ends in \.onnx was expected"):
        export(small_network(), tmp_path / "a.safetensors")
