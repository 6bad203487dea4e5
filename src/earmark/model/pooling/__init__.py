"""The third stage, segments to clip: the paper's poolings and those that it cites, under one law (`law.Pooling`)."""

from typing import Any, Final

from earmark.model.pooling.attention import (
    AttentionPooling,
    AttentiveStatsPooling,
    GatedMultiHeadAttentionPooling,
    VanillaAttentionPooling,
)
from earmark.model.pooling.gated_attention import FeatureAttentionPooling, GatedAttentionPooling
from earmark.model.pooling.hierarchical import HierarchicalPooling
from earmark.model.pooling.instance import (
    AutoPooling,
    DecisionAttentionPooling,
    ExpSoftmaxPooling,
    InstanceMaxPooling,
    InstanceMeanPooling,
    LinearSoftmaxPooling,
    NoisyOrPooling,
)
from earmark.model.pooling.law import Pooling
from earmark.model.pooling.max_mean import MaxMeanPooling, MaxPooling, MeanPooling, StatsPooling
from earmark.model.pooling.means import LogSumExpPooling, PowerPooling
from earmark.model.pooling.multi_level import MultiLevelAttentionPooling

__all__ = ["POOLINGS", "AttentionPooling", "Pooling"]

POOLINGS: Final[dict[str, type[Pooling[Any]]]] = {
    # embedding level, the paper's Table 1
    "max": MaxPooling,
    "mean": MeanPooling,
    "max_mean": MaxMeanPooling,
    "attention": VanillaAttentionPooling,
    "attentive_stats": AttentiveStatsPooling,
    "gmap": GatedMultiHeadAttentionPooling,
    # embedding level, others
    "stats": StatsPooling,
    "log_sum_exp": LogSumExpPooling,
    "power": PowerPooling,
    "gated_attention": GatedAttentionPooling,
    "feature_attention": FeatureAttentionPooling,
    "multi_level_attention": MultiLevelAttentionPooling,
    # instance level
    "instance_max": InstanceMaxPooling,
    "instance_mean": InstanceMeanPooling,
    "linear_softmax": LinearSoftmaxPooling,
    "exp_softmax": ExpSoftmaxPooling,
    "auto_pool": AutoPooling,
    "noisy_or": NoisyOrPooling,
    "decision_attention": DecisionAttentionPooling,
    "hierarchical": HierarchicalPooling,
}
"""Every pooling by its name. A pooling takes its own settings: `POOLINGS["mean"](512)`,
`POOLINGS["gmap"](512, n_heads=4)`."""
