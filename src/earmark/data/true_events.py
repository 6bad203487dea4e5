"""True events: strong labels, which say when each sound occurs."""

from typing import NamedTuple


class TrueEvent(NamedTuple):
    """What truly sounds when."""

    label: int
    """Its column of the scores."""
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""
