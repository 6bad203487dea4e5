"""Choices of the settings of a training run; needs no PyTorch."""

from enum import Enum
from typing import Literal

BackboneName = Literal["cnn", "light", "mn", "cnn14", "resnet38", "wavegram", "mobilenetv1", "mobilenetv2"]
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
