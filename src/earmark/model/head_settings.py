"""The settings of a head, which a network and a training run have too; needs no PyTorch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from earmark.errors import Limit

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
ClassifierActivation = Literal["relu", "hardswish"]

# also the types of TrainConfig's settings, so that each limit is written once
Count = Annotated[int, Limit(at_least=1)]
Width = Annotated[int, Limit(at_least=1)]
OptionalWidth = Annotated[int | None, Limit(at_least=1)]
PerceptronLayers = Annotated[int, Limit(at_least=0)]
GroupSize = Annotated[int, Limit(at_least=2)]
Sharpness = Annotated[float, Limit(above=0)]
Dropout = Annotated[float, Limit(at_least=0, below=1)]


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Architecture of the stages after the backbone; the defaults are the paper's GMAP."""

    perceptron_layers: PerceptronLayers = 0
    """Layers of a perceptron before the pooling; 0 is none, as in the paper."""
    perceptron_width: Width = 512
    """Width of each of these layers."""
    perceptron_norm: bool = False
    """Whether each of these layers has batch norm before its ReLU."""
    block_dropout: Dropout = 0.0
    """Dropout after each of these layers."""
    pooling: str = "gmap"
    """Name of the pooling, a key of `POOLINGS`."""
    n_heads: Count = 4
    """Number of GMAP's attention heads; other poolings ignore it."""
    gate: bool = True
    """Whether GMAP has its gate (eq. 11)."""
    deviation: bool = True
    """Whether GMAP pools deviations in addition to means (eq. 10)."""
    attention_width: Width = 128
    """Width of the two layers of gated attention."""
    attention_function: AttentionFunction = "sigmoid"
    """Function that makes the weights of decision-level, feature-level and multi-level attention."""
    n_levels: Count = 1
    """Layers of the perceptron, from the last one back, that multi-level attention pools."""
    sharpness: Sharpness = 5.0
    """Sharpness of log-sum-exp pooling: near the mean if small, near the maximum if large."""
    group_size: GroupSize = 3
    """Neighbouring segments in a group of hierarchical pooling."""
    classifier_layers: Literal[1, 2] = 2
    """Layers of the classifier; the paper has 2."""
    classifier_norm: bool = False
    """Whether the pooled clip goes through batch norm and a ReLU before it is classified."""
    classifier_activation: ClassifierActivation = "relu"
    """Activation between the classifier's two layers. hardswish has its dropout behind it, as in MobileNetV3."""
    classifier_width: OptionalWidth = None
    """Width between the classifier's two layers; by default that of a segment."""
    dropout: Dropout = 0.5
    """Dropout of the classifier, before its first layer, or before its last one behind hardswish."""
