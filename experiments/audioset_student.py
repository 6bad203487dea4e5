"""A student with AudioSet's labels: agreement by kind of sound, and thresholds for the labels that it knows."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from earmark.labels import LabelSet
from earmark.model.network import Network

LOWEST: Final = 0.5
"""Average precision against the teacher from which a label has a threshold."""
FEWEST: Final = 3
"""Held-out clips with a label that this takes."""
_STARTS: Final = {
    "human sounds": "Speech",
    "animals": "Animal",
    "music": "Music",
    "nature": "Wind",
    "things": "Vehicle",
    "others": "Silence",
}
"""First label of each kind: AudioSet's labels are in the order of its ontology."""
_NEVER: Final = 1.0


def kind_of_labels(labels: LabelSet) -> list[str]:
    """The kind of sound of each of AudioSet's labels."""
    starts = np.array([labels.index(name) for name in _STARTS.values()])
    kinds = list(_STARTS)
    return [kinds[int((starts <= place).sum()) - 1] for place in range(len(labels))]


def by_kind(agreement: Mapping[str, Any], labels: LabelSet) -> dict[str, dict[str, Any]]:
    """Agreement of each kind of sound: labels with a positive, their mAP, mean absolute difference of all its labels.

    Args:
        agreement: Content of `agreement.json`.
        labels: AudioSet's labels.
    """
    kinds, rows = kind_of_labels(labels), agreement["labels"]
    found = {}
    for kind in _STARTS:
        own = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
        precision = [row["average_precision"] for row in own if row["average_precision"] is not None]
        found[kind] = {
            "n_labels": len(precision),
            "mAP": float(np.mean(precision)) if precision else None,
            "mean_absolute_difference": float(np.mean([row["mean_absolute_difference"] for row in own])),
        }
    return found


def known_labels(agreement: Mapping[str, Any]) -> list[str]:
    """The labels on which student and teacher agree well enough for a threshold."""
    return [
        row["label"]
        for row in agreement["labels"]
        if row["n_positive"] >= FEWEST and (row["average_precision"] or 0.0) >= LOWEST
    ]


def without_thresholds(network: Network, known: Sequence[str]) -> Network:
    """A copy whose other labels have a threshold that no score reaches, and are listed in `extra`."""
    changed = copy.deepcopy(network)
    names, before = network.labels.names, network.thresholds or (0.5,) * len(network.labels)
    changed.thresholds = tuple(value if name in known else _NEVER for name, value in zip(names, before, strict=True))
    changed.extra["labels_without_threshold"] = [name for name in names if name not in known]
    return changed
