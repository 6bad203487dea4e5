"""Pointing accuracy: share of recordings whose cell of most weight lies in the event."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earmark.errors import DataError
from earmark.evaluation.localisation.recordings import DECIMALS


class Pointing(NamedTuple):
    """Pointing accuracy and its chance level."""

    accuracy: float
    chance: float
    """Accuracy of a cell drawn uniformly at random: the mean share of cells in the event."""
    n_recordings: int


def pointing(
    weights: Sequence[Float[np.ndarray, " cell"]],
    borders: Sequence[Float[np.ndarray, " border"]],
    events: Sequence[tuple[float, float]],
) -> Pointing:
    """Pointing accuracy over recordings with one event each.

    A cell lies in the event if they overlap. (If its middle had to lie in the event, an event shorter than a cell might
    have no cell.) The chance level follows the same rule. If several cells share the most weight, the share of them
    that lies in the event counts, so constant weights reach the chance level.

    Args:
        weights: Weights of the cells of each recording.
        borders: Borders of the cells in seconds, one more than cells.
        events: Onset and offset of each recording's event in seconds.

    Raises:
        DataError: There is no recording, or the numbers of weights, borders and events do not match.
    """
    if not weights or not len(weights) == len(borders) == len(events):
        raise DataError(
            f"expected as many weights as borders and events, and at least one, got {len(weights)} weights, "
            f"{len(borders)} borders, {len(events)} events"
        )
    hits, shares = [], []
    for weight, border, (onset, offset) in zip(weights, borders, events, strict=True):
        if len(border) != len(weight) + 1 or np.isnan(weight).any():
            raise DataError(
                f"expected weights without nan and one border more, got {len(weight)} weights and {len(border)} borders"
            )
        inside = np.round(np.minimum(border[1:], offset) - np.maximum(border[:-1], onset), DECIMALS) > 0
        hits.append(inside[weight == weight.max()].mean())
        shares.append(inside.mean())
    return Pointing(float(np.mean(hits)), float(np.mean(shares)), len(hits))
