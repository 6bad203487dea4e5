"""The second stage, log-mel to segments: one module for each family of backbones."""

from collections.abc import Mapping
from typing import Final

from earmark.model.backbones.backbone import Backbone
from earmark.model.backbones.cnn import Cnn, LightCnn
from earmark.model.backbones.mn import Mn

__all__ = ["BACKBONES", "Backbone"]

BACKBONES: Final[Mapping[str, type[Backbone]]] = {"cnn": Cnn, "light": LightCnn, "mn": Mn}
"""The backbones by name."""
