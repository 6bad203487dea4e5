"""Training from weak labels: `TrainConfig` says how, `train` does it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from earmark.training.settings import TrainConfig

if TYPE_CHECKING:
    from earmark.training.interruption import TrainingInterrupted
    from earmark.training.training_run import TrainResult, train

__all__ = ["TrainConfig", "TrainResult", "TrainingInterrupted", "train"]

_HOMES = {"TrainResult": "training_run", "TrainingInterrupted": "interruption", "train": "training_run"}


def __getattr__(name: str) -> Any:
    # the settings alone cost nothing, a command line can be built from them; the rest brings PyTorch
    if name in _HOMES:
        return getattr(import_module(f"earmark.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'earmark.training' has no attribute {name!r}")
