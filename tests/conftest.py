"""What several test files need."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from earmark.audio import Audio
from earmark.errors import ConfigError
from earmark.labels import LabelSet

# a shell that starts the tests in the background has them ignore Ctrl-C, which some of them are about
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

RATE = 1000
STEP = 400  # samples of a segment of 0.4 s


class MeanEngine:
    """Segments are means of 0.4 s; the logits of a bag are 10 x its mean, its negative, and a constant."""

    labels = LabelSet(("low", "high", "never"), ("/l", "/h", "/n"))
    sample_rate = RATE
    samples_per_segment = STEP
    halo = 2

    def __init__(
        self, attentive: bool = True, clip_duration: float | None = None, thresholds: tuple[float, ...] | None = None
    ) -> None:
        self.attentive = attentive
        self.clip_duration = clip_duration
        self.thresholds = thresholds
        self.n_encoded = 0
        self.n_bags: list[int] = []
        self.n_values: list[int] = []

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        self.n_encoded += 1
        blocks = [waveform[i : i + STEP].mean() for i in range(0, len(waveform), STEP)]
        return np.repeat(np.array(blocks, dtype=np.float32)[:, None], 2, axis=1)

    def pool(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        mask = np.ones(segments.shape[:2], bool) if mask is None else mask
        if not mask.any(axis=1).all():
            raise ValueError("empty bag")
        self.n_bags.append(len(segments))
        self.n_values.append(segments.size)
        return np.stack([own[real].mean(0) for own, real in zip(segments, mask, strict=True)])

    def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        level = 10 * self.pool(segments, mask)[:, 0]
        return np.stack([level, -level, np.full_like(level, -9)], axis=1)

    def attention(self, segments: np.ndarray) -> np.ndarray:
        if not self.attentive:
            raise ConfigError("this pooling has no attention")
        return np.full((2, len(segments)), 1 / len(segments), dtype=np.float32)


@pytest.fixture
def mean_engine() -> type[MeanEngine]:
    """An engine of a few lines of NumPy, of which one can tell by heart what it says."""
    return MeanEngine


@pytest.fixture
def levels() -> Callable[..., Audio]:
    """Recordings for it whose segments have these means; the last one has `last` samples."""

    def made(*values: float, last: int = STEP) -> Audio:
        waveform = np.repeat(np.array(values, dtype=np.float32), STEP)
        return Audio(waveform[: len(waveform) - STEP + last], RATE)

    return made


@pytest.fixture(scope="session")
def esc50_dir() -> Path:
    """ESC-50 with four of its folds: where EARMARK_ESC50 points, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "esc50"
    folder = Path(os.environ.get("EARMARK_ESC50") or beside)
    if (folder / "meta" / "esc50.csv").is_file():
        return folder
    reason = f"no ESC-50 in {folder}: set EARMARK_ESC50 to its folder"
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(f"{reason} (in CI the real recordings must be there)")
    pytest.skip(reason)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Without the type checks that the tests put around the package: as a user has it."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tagger as `earmark export` writes it; beside it, as .safetensors, what it was exported from."""
    import torch

    from earmark.export import export
    from earmark.frontend import FrontendConfig
    from earmark.labels import LabelSet
    from earmark.network import Network, NetworkConfig

    torch.manual_seed(0)
    config = NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2)
    network = Network(config, LabelSet(("dog", "rain", "siren"), ("/d", "/r", "/s")))
    # one step of statistics, so that batch norm in evaluation is not the identity
    network.train()(torch.randn(8, 16000))
    network.thresholds, network.extra = (0.25, 0.5, 0.75), {"clip_duration": 5.0, "seed": 7}
    path = tmp_path_factory.mktemp("exported") / "tagger.onnx"
    network.save(path.with_suffix(".safetensors"))
    export(network, path)
    return path
