"""Networks from PyTorch files of other projects: tensors only, no code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earmark.errors import CheckpointError
from earmark.model.network import Network

EXPECTED = "a state dict of PANNs or of an mn of EfficientAT"
"""Content of the files that are read."""


def read_network(path: Path | str) -> Network:
    """The network of a file, in evaluation mode, on the CPU, with the published network's scores.

    Args:
        path: A file of `torch.save` with a state dict, or a dictionary with one under `model`. Names may begin with
            `module.`. Only tensors and plain values are read, so a file cannot run code.

    Raises:
        CheckpointError: The file is missing or damaged, or holds another network or another front end.
    """
    from earmark.hub import efficientat, panns

    path = Path(path)
    state = state_dict(path)
    reader = efficientat if efficientat.FIRST in state and panns.CLASSIFIER not in state else panns
    return reader.network_of(path, state)


def state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors by name, without the prefix `module.`.

    Raises:
        CheckpointError: The file is missing or damaged, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected {EXPECTED}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler and zip reader raise
        raise CheckpointError(
            f"{path}: expected a PyTorch file with tensors only; this one is damaged or holds code "
            f"({type(error).__name__}); download it again from its publisher"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise wrong_network(path, "it is no state dict")
    state = {str(name).removeprefix("module."): value for name, value in content.items()}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.is_sparse or value.is_quantized:
            raise wrong_network(path, f"{name} is no plain tensor")
    return state


def check_names(path: Path, state: Mapping[str, Tensor], needed: Mapping[str, str], others: set[str]) -> None:
    """Checks that the file has the tensors of a network, and none but those and `others`.

    Raises:
        CheckpointError: It has not.
    """
    if missing := [name for name in needed if name not in state and not name.endswith("num_batches_tracked")]:
        raise wrong_network(path, f"{len(missing)} tensors are missing, for example {missing[0]}")
    if unknown := sorted(set(state) - set(needed) - others):
        raise wrong_network(path, f"{len(unknown)} tensors are unknown, for example {unknown[0]}")


def check_outputs(path: Path, n_outputs: int, n_labels: int) -> None:
    """Checks that the network has an output for each label of AudioSet.

    Raises:
        CheckpointError: It has not.
    """
    if n_outputs != n_labels:
        raise CheckpointError(
            f"{path}: expected {n_labels} outputs (the labels of AudioSet), got {n_outputs}; the file does not name "
            "other labels"
        )


def wrong_network(path: Path, reason: str) -> CheckpointError:
    """The error for a file that holds no network that is read."""
    return CheckpointError(f"{path}: expected {EXPECTED}, the only PyTorch files that are read: {reason}")
