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
