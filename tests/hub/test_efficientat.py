"""Published weights of EfficientAT's mn networks, compared with a plain implementation."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import earmark
from earmark.errors import CheckpointError
from earmark.hub.efficientat import FRONTEND
from earmark.hub.torch_files import read_network
from earmark.inference.torch_engine import TorchEngine
from earmark.model.network import Network
from tests.hub.sounds import noise

# kernel, expanded channels, channels, squeeze, hardswish, stride
BLOCKS = [
    (3, 16, 16, 0, 0, 1),
    (3, 64, 24, 0, 0, 2),
    (3, 72, 24, 0, 0, 1),
    (5, 72, 40, 1, 0, 2),
    (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1),
    (3, 240, 80, 0, 1, 2),
    (3, 200, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1),
    (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1),
    (3, 672, 112, 1, 1, 1),
    (5, 672, 160, 1, 1, 2),
    (5, 960, 160, 1, 1, 1),
    (5, 960, 160, 1, 1, 1),
]
State = dict[str, Tensor]


def eighths(channels: float) -> int:
    """A multiple of 8 near the number."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def random_state(width: float, n_labels: int = 527) -> State:
    """Weights under the published names."""
    state: State = {}

    def convolution(name: str, n_out: int, n_in: int, kernel: int) -> None:
        state[f"{name}.0.weight"] = torch.randn(n_out, n_in, kernel, kernel) * (2 / (n_in * kernel**2)) ** 0.5
        state[f"{name}.1.weight"] = torch.empty(n_out).uniform_(0.7, 1.5)
        state[f"{name}.1.bias"] = torch.randn(n_out) * 0.3
        state[f"{name}.1.running_mean"] = torch.randn(n_out) * 0.3
        state[f"{name}.1.running_var"] = torch.empty(n_out).uniform_(0.5, 2)
        state[f"{name}.1.num_batches_tracked"] = torch.tensor(7)

    def linear(name: str, n_out: int, n_in: int) -> None:
        state[f"{name}.weight"] = torch.randn(n_out, n_in) / n_in**0.5
        state[f"{name}.bias"] = torch.randn(n_out) * 0.1

    torch.manual_seed(0)
    n_in = eighths(16 * width)
    convolution("features.0", n_in, 1, 3)
    for number, (kernel, expanded, channels, squeeze, _, _) in enumerate(BLOCKS, 1):
        n_expanded, n_out = eighths(expanded * width), eighths(channels * width)
        parts: Iterator[str] = iter(f"features.{number}.block.{part}" for part in range(4))
        if n_expanded != n_in:
            convolution(next(parts), n_expanded, n_in, 1)
        convolution(next(parts), n_expanded, 1, kernel)
        if squeeze:
            name, n_squeezed = next(parts), eighths(n_expanded // 4)
            linear(f"{name}.conc_se_layers.0.fc1", n_squeezed, n_expanded)
            linear(f"{name}.conc_se_layers.0.fc2", n_expanded, n_squeezed)
        convolution(next(parts), n_out, n_expanded, 1)
        n_in = n_out
    convolution("features.16", 6 * n_in, n_in, 1)
    linear("classifier.2", eighths(1280 * width), 6 * n_in)
    linear("classifier.5", n_labels, eighths(1280 * width))
    return state


def plain_log_mel(waveform: np.ndarray) -> np.ndarray:
    """The published front end, frame by frame: (mel, frame)."""
    emphasized = waveform[1:].astype(float) - 0.97 * waveform[:-1]
    padded = np.pad(emphasized, 512, mode="reflect")
    window = np.zeros(1024)
    window[112:912] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(800) / 799)
    mel = 1127 * np.log(1 + np.arange(513) * 32000 / 1024 / 700)
    edges = np.linspace(0, 1127 * np.log(1 + 15000 / 700), 130)
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rise, fall), 0, None)
    frames = []
    for start in range(0, len(emphasized) + 1, 320):
        power = np.abs(np.fft.rfft(padded[start : start + 1024] * window)) ** 2
        frames.append((np.log(power @ filters + 1e-5) + 4.5) / 5)
    return np.array(frames).T


def plain_segments(state: State, log_mel: Tensor) -> Tensor:
    """The published backbone, and its last feature maps averaged over frequency: (batch, segment, channel)."""

    def convolution(name: str, x: Tensor, act: Callable[[Tensor], Tensor], stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.0.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        norm = (state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return act(F.batch_norm(x, *norm, eps=0.001))

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def same(x: Tensor) -> Tensor:
        return x

    x = convolution("features.0", log_mel[:, None], F.hardswish, 2)
    for number, (*_, squeeze, is_hardswish, stride) in enumerate(BLOCKS, 1):
        act = F.hardswish if is_hardswish else F.relu
        names = sorted({name[: len(f"features.{number}.block.0")] for name in state if f"features.{number}.b" in name})
        y = convolution(names.pop(0), x, act) if len(names) == 3 + squeeze else x
        y = convolution(names.pop(0), y, act, stride, y.shape[1])
        if squeeze:
            name = f"{names.pop(0)}.conc_se_layers.0"
            weight = torch.sigmoid(linear(f"{name}.fc2", F.relu(linear(f"{name}.fc1", y.mean((2, 3))))))
            y = y * weight[:, :, None, None]
        y = convolution(names.pop(0), y, same)
        x = x + y if x.shape == y.shape else y
    return convolution("features.16", x, F.hardswish).mean(2).transpose(1, 2)


def plain_logits(state: State, segments: Tensor) -> Tensor:
    hidden = F.hardswish(F.linear(segments.mean(1), state["classifier.2.weight"], state["classifier.2.bias"]))
    return F.linear(hidden, state["classifier.5.weight"], state["classifier.5.bias"])


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(0.1)


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mn") / "mn01_as_mAP_298.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def ours(file: Path) -> Network:
    return read_network(file)


def normalized(log_mel: Any) -> np.ndarray:
    """The published scale, from decibels."""
    return (np.asarray(log_mel) * np.log(10) / 10 + 4.5) / 5


def close(got: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


# whole segments and not, whole frames and not
@pytest.mark.parametrize("n_samples", [10_240, 20_479, 20_480, 20_481, 40_001, 61_440, 61_761])
def test_random_weights_give_what_the_plain_definition_gives(state: State, ours: Network, n_samples: int) -> None:
    clip = torch.from_numpy(noise(n_samples))[None]
    with torch.inference_mode():
        log_mel = ours.frontend(clip)
        # single precision of the Fourier transform shows in the quietest bins
        close(normalized(log_mel[0]).T, plain_log_mel(clip[0].numpy()), 1e-4)
        segments = plain_segments(state, torch.from_numpy(normalized(log_mel)).float().transpose(1, 2))
        got, scale = ours.backbone(log_mel), float(segments.abs().max())
        close(got, segments, 1e-5 * scale)
        close(ours.backbone.folded()(log_mel), segments, 1e-5 * scale)
        logits = plain_logits(state, segments)
        close(ours.classify(got), logits, 1e-5 * float(logits.abs().max()))


@pytest.mark.parametrize("n_samples", [1, 2, 320, 321, 513, 5000])
def test_clips_shorter_than_the_fourier_transform_have_finite_scores(ours: Network, n_samples: int) -> None:
    engine = TorchEngine(ours)
    segments = engine.encode(noise(n_samples)[None])[0]
    assert segments.shape == (1, ours.backbone.n_channels) and np.isfinite(engine.classify(segments[None])).all()


def test_padding_in_a_batch_does_not_change_scores(ours: Network) -> None:
    lengths = [50_000, 1, 2, 321, 10_240, 10_241, 33_333]
    batch = torch.full((len(lengths), 50_000), 3.0)
    for row, n_samples in zip(batch, lengths, strict=True):
        row[:n_samples] = torch.from_numpy(noise(n_samples))
    with torch.inference_mode():
        together = ours(batch, torch.tensor(lengths))
        for row, n_samples in zip(together, lengths, strict=True):
            close(row, ours(torch.from_numpy(noise(n_samples))[None])[0], 1e-4)


def test_the_published_weights_give_the_published_values(published_models: Path) -> None:
    reference = np.load(published_models / "mn04_reference.npz")
    clips = torch.from_numpy(reference["waveform"].astype(np.float32) / 32768)
    network = read_network(published_models / "mn04_as_mAP_432.pt")
    with torch.inference_mode():
        log_mel = network.frontend(clips)
        segments = network.backbone(log_mel)
        logits = network.classify(segments)
    close(normalized(log_mel).transpose(0, 2, 1)[:, :, ::50], reference["log_mel"], 1e-4)
    close(segments, reference["segments"], 1e-4)
    close(logits, reference["logits"], 1e-4)
    engine = TorchEngine(network)
    for clip, wanted, scores in zip(clips.numpy(), reference["segments"], reference["logits"], strict=True):
        close(engine.encode(clip[None])[0], wanted, 1e-4)
        close(engine.classify(engine.encode(clip[None]))[0], scores, 1e-4)


def test_a_file_of_the_published_name_tags(published_models: Path) -> None:
    tagger = earmark.load(published_models / "mn04_as_mAP_432.pt")
    assert len(tagger.labels) == 527 and tagger.sample_rate == 32_000
    assert tagger.seconds_per_segment == pytest.approx(0.32) and tagger.engine.clip_duration == 10.0
    reference = np.load(published_models / "mn04_reference.npz")
    audio = earmark.Audio(reference["waveform"][0].astype(np.float32) / 32768, 32_000)
    best = reference["logits"][0].argsort()[::-1][:5]
    assert [tag.label for tag in tagger.tag(audio)] == [tagger.labels.names[i] for i in best]


def test_the_front_end_is_that_of_the_published_network(ours: Network) -> None:
    assert ours.config.frontend == FRONTEND and FRONTEND.floor_db == pytest.approx(-50)
    assert FRONTEND.n_frames(320_000) == 1000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: {**state, "classifier.5.weight": torch.zeros(50, 128)}, "expected 527 outputs.* got 50"),
        (
            lambda state: {name: value for name, value in state.items() if ".16." not in name},
            "5 tensors are missing, for example features.16.0.weight",
        ),
        (lambda state: {**state, "more": torch.zeros(1)}, "1 tensors are unknown, for example more"),
        (lambda state: {**state, "classifier.2.weight": torch.zeros(7, 96)}, "its width is none of those of mn01"),
        (lambda state: {**state, "features.0.0.weight": torch.zeros(3)}, "do not have the shapes of an mn"),
    ],
)
def test_other_networks_are_refused_in_one_line(state: State, tmp_path: Path, change: Any, text: str) -> None:
    torch.save(change(state), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=text) as caught:
        earmark.load(tmp_path / "a.pt")
    assert str(caught.value).startswith(str(tmp_path / "a.pt")) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["mn10_as_hop_20_mAP_456.pt", "mn10_as_mels_64_mAP_461.pt"])
def test_networks_with_another_front_end_are_refused_by_their_name(state: State, tmp_path: Path, name: str) -> None:
    torch.save(state, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"frames of 10 ms and 128 mel bins, the file's name says '_(hop|mels)_"):
        earmark.load(tmp_path / name)
