"""Files of PyTorch that hold no network that is read."""

from pathlib import Path

import pytest
import torch

import earmark
from earmark.errors import CheckpointError


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("content", [None, b"", b"no weights", b"PK\x03\x04"])
def test_missing_and_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes | None, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pth?: (no such file|.*damaged)") as caught:
        earmark.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.0.weight": torch.zeros(9000)}, tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"a\.pt: .*is damaged"):
        earmark.load(tmp_path / "a.pt")


def test_the_networks_that_are_read_are_named(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a state dict of PANNs or of an mn of EfficientAT, the only PyTorch"):
        earmark.load(tmp_path / "a.pt")
