"""Label sets: names and ids of labels."""

from earmark.labels.label_set import ESC10, LabelSet, check_label, normal_label

__all__ = ["ESC10", "LabelSet", "check_label", "normal_label"]
