"""Label sets: names and ids of the sounds that a network knows."""

from earmark.labels.label_set import ESC10, LabelSet

__all__ = ["ESC10", "LabelSet"]
