"""Attention poolings with other initial weights, learning rates or regularisation; their equations stay the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from earmark.model.pooling import POOLINGS, AttentionPooling


@dataclass(frozen=True)
class PoolingChange:
    """Changes of an attention pooling; the defaults change nothing. A rate is a factor of Adam's steps on a weight."""

    query_scale: float = 1.0
    """Factor of the initial random queries."""
    query_rate: float = 1.0
    gate_rate: float = 1.0
    gate_bias: float = 0.0
    """Initial bias of the gate: sigmoid(2) = 0.88 lets more through than sigmoid(0) = 0.5."""
    gate_decay: float = 0.0
    """Share of the gate's weights that each step removes."""
    gate_dropout: float = 0.0
    """Share of the features that the gate does not see in training."""


class Faster(nn.Module):
    """A weight as `rate` times a learned tensor, so that Adam's steps on the weight are `rate` times as long."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, learned: Tensor) -> Tensor:
        """The weight."""
        return self.rate * learned

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The learned tensor that gives this weight."""
        return weight / self.rate


@contextmanager
def in_place_of(pooling: str, change: PoolingChange) -> Iterator[None]:
    """Context in which new networks get the changed pooling under the name of this one.

    >>> with in_place_of("gmap", PoolingChange(gate_bias=2.0)):
    ...     POOLINGS["gmap"](8).gate.bias.tolist()[:2]
    [2.0, 2.0]
    """
    base = POOLINGS[pooling]
    if not issubclass(base, AttentionPooling):
        raise TypeError(f"an attention pooling was expected, not {pooling}")
    POOLINGS[pooling] = base if change == PoolingChange() else _changed(base, change)
    try:
        yield
    finally:
        POOLINGS[pooling] = base


def _changed(base: type[AttentionPooling], change: PoolingChange) -> type[AttentionPooling]:
    class ChangedPooling(base):  # type: ignore[valid-type, misc]
        def __init__(self, n_channels: int, **settings: Any) -> None:
            super().__init__(n_channels, **settings)
            _change(self, change)

    return ChangedPooling


def _change(pooling: AttentionPooling, change: PoolingChange) -> None:
    with torch.no_grad():
        pooling.query.mul_(change.query_scale)
    _set_rate(pooling, "query", change.query_rate)
    if (gate := pooling.gate) is not None:
        nn.init.constant_(gate.bias, change.gate_bias)
        if change.gate_decay:
            gate.weight.register_post_accumulate_grad_hook(lambda weight: _shrink(weight, 1 - change.gate_decay))
        _set_rate(gate, "weight", change.gate_rate)
        _set_rate(gate, "bias", change.gate_rate)
        if change.gate_dropout:
            pooling.add_module("gate", nn.Sequential(nn.Dropout(change.gate_dropout), gate))


def _shrink(weight: Tensor, share: float) -> None:
    with torch.no_grad():
        weight.mul_(share)


def _set_rate(module: nn.Module, name: str, rate: float) -> None:
    if rate != 1:
        parametrize.register_parametrization(module, name, Faster(rate))
