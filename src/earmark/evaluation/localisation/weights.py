"""Pointing: does the cell with the most weight lie in the event?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earmark.errors import DataError
from earmark.evaluation.localisation.recordings import DECIMALS


class Pointing(NamedTuple):
    """How often the cell with the most weight lies in the event."""

    accuracy: float
    chance: float
    """What a cell taken at random reaches, each as likely: the mean share of cells that lie in the event."""
    n_recordings: int


def pointing(
    weights: Sequence[Float[np.ndarray, " cell"]],
    borders: Sequence[Float[np.ndarray, " border"]],
    events: Sequence[tuple[float, float]],
) -> Pointing:
    """Pointing accuracy over recordings with one event each.

    A cell lies in the event if they overlap, that is if its middle lies within the event widened by half a cell on
    either side. (Were the middle itself to lie in the event, one shorter than a cell might hold none and nobody could
    point at it.) The chance level is of the same rule, so what is lenient about it shows there. Cells that share the
    most weight count by the share of them that lie in the event: constant weights reach the chance level.

    Args:
        weights: Of the cells of each recording; any numbers whose largest is what is pointed at.
        borders: Seconds, one more than cells.
        events: Onset and offset of each recording's event (s).

    Raises:
        DataError: No recording, or numbers of weights, borders and events that do not fit together.
    """
    if not weights or not len(weights) == len(borders) == len(events):
        raise DataError(
            f"{len(weights)} recordings' weights, {len(borders)} borders, {len(events)} events: "
            "one or more were expected, as many of each"
        )
    hits, shares = [], []
    for weight, border, (onset, offset) in zip(weights, borders, events, strict=True):
        if len(border) != len(weight) + 1 or np.isnan(weight).any():
            raise DataError(f"{len(weight)} weights, {len(border)} borders: numbers and one border more were expected")
        inside = np.round(np.minimum(border[1:], offset) - np.maximum(border[:-1], onset), DECIMALS) > 0
        hits.append(inside[weight == weight.max()].mean())
        shares.append(inside.mean())
    return Pointing(float(np.mean(hits)), float(np.mean(shares)), len(hits))
