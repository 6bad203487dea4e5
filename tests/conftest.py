"""What several test files need."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest


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
