"""Hierarchical pooling: neighbouring segments first, then neighbouring groups, then the clip."""

from typing import ClassVar, Final, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from earmark.errors import ConfigError
from earmark.model.pooling.law import Clip, Level, Mask, Pooling, Segments, checked
from earmark.model.pooling.odds import log_sigmoid

_N_STAGES: Final = 3


class ScoredSegments(NamedTuple):
    """All segments of a clip, in their order."""

    logits: Float[Tensor, "batch segment label"]
    real: Bool[Tensor, "batch segment"]
    """True = a real segment."""


class HierarchicalPooling(Pooling[ScoredSegments]):
    """Hierarchical pooling: linear softmax over groups of neighbours, over groups of those, then over the rest.

    He, Shen & Zhang, Interspeech 2019, "Hierarchical Pooling Structure for Weakly Labeled Sound Event Detection": one
    pooling function in three stages, without new parameters. Each stage but the last pools `group_size` neighbours;
    the last group may be smaller. The function is linear softmax, `p = sum_t p_t^2 / sum_t p_t`, the paper's best. The
    size of the groups is a setting: the paper's frames are far shorter than our segments.

    The result depends on the positions of the segments: a piece does not know where its first group begins before it
    is merged. So the state is all scores of the clip, and grows with it; `merge` joins the pieces in their order. A
    masked segment counts as removed: the groups are formed from the others.

    >>> HierarchicalPooling(1, group_size=2)(torch.tensor([[[0.2], [0.2], [0.8]]]).logit()).sigmoid()
    tensor([[0.6800]])

    Args:
        n_channels: Number of labels.
        group_size: Neighbours in a group.

    Raises:
        ConfigError: `group_size` is less than 2.
    """

    settings: ClassVar[tuple[str, ...]] = ("group_size",)
    level: ClassVar[Level] = "instance"
    is_ordered: ClassVar[bool] = True

    def __init__(self, n_channels: int, group_size: int = 3) -> None:
        super().__init__(n_channels)
        if group_size < 2:
            raise ConfigError(f"a whole number of at least 2 was expected, not {group_size}", "group_size")
        self.group_size = group_size

    def summarize(self, segments: Segments, mask: Mask | None = None) -> ScoredSegments:
        segments, mask = checked(segments, mask, self.n_channels)
        return ScoredSegments(segments, torch.ones_like(segments[..., 0], dtype=torch.bool) if mask is None else mask)

    def merge(self, left: ScoredSegments, right: ScoredSegments) -> ScoredSegments:
        return ScoredSegments(torch.cat([left.logits, right.logits], 1), torch.cat([left.real, right.real], 1))

    def finalize(self, state: ScoredSegments) -> Clip:
        logits, n_real = _real_first(state.logits, state.real), state.real.sum(1, keepdim=True)
        log_for, log_against = log_sigmoid(logits), log_sigmoid(-logits)
        for _ in range(_N_STAGES - 1):
            groups, is_real = _groups(log_for, n_real, self.group_size)
            log_for, log_against = _linear_softmax(log_for[:, groups], log_against[:, groups], is_real)
            n_real = (n_real + self.group_size - 1) // self.group_size
        is_real = torch.arange(log_for.shape[1], device=n_real.device) < n_real
        log_for, log_against = _linear_softmax(log_for, log_against, is_real)
        return log_for - log_against


def _real_first(logits: Tensor, real: Tensor) -> Tensor:
    """The real segments of each clip in their order, then the masked ones."""
    position = torch.where(real, real.cumsum(1) - 1, real.sum(1, keepdim=True) + (~real).cumsum(1) - 1)
    return torch.zeros_like(logits).scatter(1, position[..., None].expand_as(logits), logits)


def _groups(segments: Tensor, n_real: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Index of each member of each group, (group, member), and whether a clip has it, (batch, group, member)."""
    n = segments.shape[1]
    n_groups = (n + size - 1) // size
    members = torch.arange(n_groups * size, device=n_real.device).unflatten(0, (n_groups, size))
    return members.clamp(max=n - 1), members < n_real[..., None]


def _linear_softmax(log_for: Tensor, log_against: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of `p` and `1 - p` of each group, given those of its members on the axis before the labels."""
    # a group without a real member must be finite: the next stage masks it, and its gradient must not be nan
    hidden = ~(is_real | ~is_real.any(-1, keepdim=True))[..., None]
    weights = log_for.masked_fill(hidden, -torch.inf)
    total = weights.logsumexp(-2)
    return (weights + log_for).logsumexp(-2) - total, (weights + log_against).logsumexp(-2) - total
