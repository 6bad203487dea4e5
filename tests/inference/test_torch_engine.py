"""The engine of a PyTorch network returns the network's values."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.audio.recording import Audio
from earmark.errors import ConfigError
from earmark.inference.evidence import explain
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine, torch_device, without_tf32
from earmark.inference.windows import sigmoid
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from tests.networks import small_network

LABELS = LabelSet(("dog", "rain", "siren"))


def network(pooling: str = "gmap") -> Network:
    torch.manual_seed(0)
    net = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, pooling=pooling, n_heads=2), LABELS)
    # one step of statistics, so that batch norm in evaluation is not the identity
    net.train()(torch.randn(8, 16000))
    return net.eval()


def test_the_engine_returns_the_networks_values_as_numpy() -> None:
    net = network()
    engine = TorchEngine(net)
    waveform = np.random.default_rng(0).normal(0, 0.1, 50000).astype(np.float32)
    segments = engine.encode(waveform[None])[0]
    assert segments.shape == (8, 16) and isinstance(segments, np.ndarray)
    torch.testing.assert_close(torch.from_numpy(engine.classify(segments[None])), net(torch.from_numpy(waveform)[None]))
    masks = ~np.eye(8, dtype=bool)
    bags = np.broadcast_to(segments, (8, 8, 16))
    without = engine.classify(bags, masks)
    assert without.shape == (8, 3) and engine.pool(bags, masks).shape == (8, net.pooling.n_features)
    np.testing.assert_allclose(without[0], engine.classify(segments[None, 1:])[0], atol=1e-5)


def test_attention_sums_to_one_or_is_none() -> None:
    segments = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)
    attention = TorchEngine(network()).attention(segments)
    assert attention is not None and attention.shape == (2, 8)
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    assert TorchEngine(network("mean")).attention(segments) is None


@pytest.mark.parametrize("pooling", ["feature_attention", "noisy_or", "decision_attention", "hierarchical"])
def test_timeline_stream_and_evidence_of_other_poolings(pooling: str) -> None:
    net = network(pooling)
    engine = TorchEngine(net)
    tagger = Tagger(engine)
    waveform = np.random.default_rng(0).normal(0, 0.1, 60000).astype(np.float32)
    segments = engine.encode(waveform[None])[0]
    timeline = tagger.timeline(Audio(waveform, 16000), window=1.2, hop=0.4, context=0.0)
    for number, scores in enumerate(timeline.scores):
        expected = sigmoid(engine.classify(segments[None, number : number + 3]))[0]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    live = tagger.stream(16000, window=1.2, hop=0.4, context=0.0)
    for start in range(0, len(waveform), 7000):
        live.push(waveform[start : start + 7000])
    live.finish()
    np.testing.assert_allclose(live.scores, timeline.scores[-1], atol=1e-5)
    evidence = explain(engine, segments, 1, duration=3.75)
    above = engine.classify(segments[None])[0, 1] - engine.classify(segments[:, None])[:, 1].mean()
    assert evidence.weights.sum() == pytest.approx(above, abs=1e-4)
    if pooling in ("noisy_or", "hierarchical"):
        assert evidence.attention is None
    else:
        assert evidence.attention is not None and evidence.attention.shape == (1, len(segments))
        np.testing.assert_allclose(evidence.attention.sum(), 1, atol=1e-5)
        per_label = engine.attention(segments)
        assert per_label is not None
        np.testing.assert_array_equal(evidence.attention, per_label[[1]] if len(per_label) == 3 else per_label)


@pytest.mark.parametrize(
    ("frontend", "backbone", "halo"),
    [
        (FrontendConfig(), "cnn", 2),
        (FrontendConfig.at_16k(), "cnn", 2),
        (FrontendConfig(hop_length=320), "cnn", 2),
        (FrontendConfig(), "light", 2),
        (FrontendConfig.at_16k(), "light", 2),
    ],
)
def test_a_segment_depends_on_its_halo_and_nothing_beyond(frontend: FrontendConfig, backbone: str, halo: int) -> None:
    torch.manual_seed(0)
    engine = TorchEngine(Network(NetworkConfig(frontend, backbone, width=2), LabelSet(("a",))))
    assert engine.halo == halo
    step = engine.samples_per_segment
    waveform = np.random.default_rng(0).normal(0, 0.1, 9 * step).astype(np.float32)
    middle = engine.encode(waveform[None])[0, 4]
    part = engine.encode(waveform[None, (4 - halo) * step : (5 + halo) * step])[0]
    np.testing.assert_allclose(part[halo], middle, atol=1e-5)
    nearer = engine.encode(waveform[None, (5 - halo) * step : (4 + halo) * step])[0]
    assert np.abs(nearer[halo - 1] - middle).max() > 1e-5


def test_the_clip_duration_comes_from_the_checkpoint(tmp_path: Path) -> None:
    net = network()
    assert net.clip_duration is None and TorchEngine(net).clip_duration is None
    net.save(tmp_path / "a.safetensors", {"clip_duration": 5})
    assert TorchEngine(Network.load(tmp_path / "a.safetensors")).clip_duration == 5.0


FORKS = """
import os, signal, sys
import numpy as np
import torch
from earmark.inference.torch_engine import TorchEngine
from earmark.model.network import Network

engine = TorchEngine(Network.load(sys.argv[1]), n_threads=2)
waveform = np.random.default_rng(0).normal(0, 0.1, 50000).astype(np.float32)
before = engine.encode(waveform[None])[0]
child = os.fork()
if child == 0:
    signal.alarm(60)
    after = engine.encode(waveform[None])[0]
    again = TorchEngine(Network.load(sys.argv[1]), n_threads=2).encode(waveform[None])[0]
    os._exit(0 if np.allclose(before, after, atol=1e-5) and np.allclose(before, again, atol=1e-5) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_an_engine_works_in_a_forked_process(tmp_path: Path) -> None:
    network().save(tmp_path / "a.safetensors")
    several = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", FORKS, str(tmp_path / "a.safetensors")], env=several, timeout=120)
    assert done.returncode == 0, "after 60 s the forked process still waits for threads that it does not have"


def test_devices_by_name() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    assert torch_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="device: auto, cpu, cuda, cuda:N or mps was expected, not 'gpu'"):
        torch_device("gpu")
    with pytest.raises(
        ConfigError, match=r"device: cuda:99 was requested, but PyTorch finds \d CUDA devices; take auto"
    ):
        torch_device("cuda:99")
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="device: mps was requested, but PyTorch finds no Apple GPU"):
            torch_device("mps")


def test_tf32_is_off_within_the_block_only() -> None:
    cudnn = torch.backends.cudnn
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    with without_tf32(torch.device("cuda")):
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (*before[:3], False)
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before


@pytest.mark.parametrize("kind", ["cnn", "mn", "wavegram"])
def test_a_batch_gives_the_segments_of_single_clips(kind: str) -> None:
    """As on a GPU: chunks together, and calls of several threads merged."""
    settings = {"frontend": FrontendConfig(hop_length=320)} if kind == "wavegram" else {}
    engine = TorchEngine(small_network(backbone=kind, width=20 if kind == "mn" else 2, **settings))
    rate = engine.sample_rate
    clips = (0.1 * np.random.default_rng(0).standard_normal((3, 2 * rate))).astype(np.float32)
    alone = np.concatenate([engine.encode(clips[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(engine.encode(clips), alone, rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["cnn", "light", "mn"])
def test_a_gpu_gives_the_scores_of_the_cpu(kind: str) -> None:
    net = small_network(backbone=kind, width=20 if kind == "mn" else 8)
    audio = Audio((0.1 * np.random.default_rng(0).standard_normal(95 * 16000)).astype(np.float32), 16000)
    cpu = Tagger(TorchEngine(net)).timeline(audio, window=2.0, hop=0.4).scores
    gpu = Tagger(TorchEngine(net.to("cuda")))
    assert gpu.engine.batch_size > 1
    np.testing.assert_allclose(gpu.timeline(audio, window=2.0, hop=0.4).scores, cpu, rtol=0, atol=1e-3)
    with ThreadPoolExecutor(8) as pool:
        for timeline in pool.map(lambda _: gpu.timeline(audio, window=2.0, hop=0.4), range(8)):
            np.testing.assert_allclose(timeline.scores, cpu, rtol=0, atol=1e-3)
