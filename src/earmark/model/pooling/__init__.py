"""The third stage, segments to clip: every pooling of the paper's Table 1 under one law (`law.Pooling`)."""

from typing import Any, Final

from earmark.model.pooling.attention import (
    AttentionPooling,
    AttentiveStatsPooling,
    GatedMultiHeadAttentionPooling,
    VanillaAttentionPooling,
)
from earmark.model.pooling.law import Pooling
from earmark.model.pooling.max_mean import MaxMeanPooling, MaxPooling, MeanPooling

__all__ = ["POOLINGS", "AttentionPooling", "Pooling"]

POOLINGS: Final[dict[str, type[Pooling[Any]]]] = {
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": VanillaAttentionPooling,
    "attentive_stats": AttentiveStatsPooling,
    "gmap": GatedMultiHeadAttentionPooling,
}
"""Every pooling by its name. A pooling takes its own settings: `POOLINGS["mean"](512)`,
`POOLINGS["gmap"](512, n_heads=4)`."""
