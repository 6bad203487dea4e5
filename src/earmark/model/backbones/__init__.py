"""The second stage, log-mel to segments: one module for each family of backbones."""

from collections.abc import Mapping
from typing import Final

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.cnn import Cnn, Cnn14, LightCnn
from earmark.model.backbones.mn import Mn
from earmark.model.backbones.mobilenet import MobileNetV1, MobileNetV2
from earmark.model.backbones.resnet import ResNet38
from earmark.model.backbones.wavegram import Wavegram

__all__ = ["BACKBONES", "Backbone"]

BACKBONES: Final[Mapping[str, type[Backbone]]] = {
    "cnn": Cnn,
    "light": LightCnn,
    "mn": Mn,
    "cnn14": Cnn14,
    "resnet38": ResNet38,
    "wavegram": Wavegram,
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
}
"""The backbones by name."""
