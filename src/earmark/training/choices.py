"""Choices of the settings of a training run; needs no PyTorch."""

from enum import Enum
from typing import Literal

PoolingName = Literal[
    "max",
    "mean",
    "max_mean",
    "attention",
    "attentive_stats",
    "gmap",
    "stats",
    "log_sum_exp",
    "power",
    "gated_attention",
    "feature_attention",
    "multi_level_attention",
    "instance_max",
    "instance_mean",
    "linear_softmax",
    "exp_softmax",
    "auto_pool",
    "noisy_or",
    "decision_attention",
    "hierarchical",
]
AttentionFunction = Literal["sigmoid", "softmax", "exp"]
BackboneName = Literal["cnn", "light", "mn", "cnn14", "resnet38", "wavegram", "mobilenetv1", "mobilenetv2"]
ClassifierActivation = Literal["relu", "hardswish"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["auto", "float32", "bf16"]
Cache = Literal["auto", "log_mel", "none"]
Shuffle = Literal["clips", "blocks"]
Frozen = Literal["none", "backbone"]


class Topic(Enum):
    """Headings of `earmark train --help`, in their order."""

    DATA = "Data"
    NETWORK = "Network"
    OPTIMISATION = "Optimisation"
    AUGMENTATION = "Augmentation"
    CONDITIONS = "Conditions"
    HARDWARE = "Hardware"
