"""True events: strong labels with the times at which sounds occur."""

from typing import NamedTuple


class TrueEvent(NamedTuple):
    """A sound that truly occurs in a recording."""

    label: int
    """Column of the label in the scores."""
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""
