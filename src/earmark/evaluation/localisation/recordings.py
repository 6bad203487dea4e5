"""Scores over time with true events, the input of all localisation metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from earmark.errors import DataError

DECIMALS: Final = 6
"""Decimals of seconds in comparisons, so that a criterion met up to float rounding counts as met."""


class TrueEvent(NamedTuple):
    """A sound that truly occurs in a recording."""

    label: int
    """Column of the label in the scores."""
    onset: float
    """Seconds."""
    offset: float
    """Seconds."""


@dataclass(frozen=True, eq=False)
class ScoredRecording:
    """Scores of a recording over time, with its true events.

    Raises:
        DataError: Shapes do not match, times do not rise, or a score is not finite.
    """

    borders: Float[np.ndarray, " border"]
    """Seconds, rising from 0: cell i lasts from border i to border i + 1; the last border is the end."""
    scores: Float[np.ndarray, "cell label"]
    events: tuple[TrueEvent, ...]
    """Sorted by label and onset; events of one label that overlap or touch are joined."""

    def __post_init__(self) -> None:
        n_cells, n_labels = self.scores.shape
        if n_cells < 1 or len(self.borders) != n_cells + 1:
            raise DataError(f"expected {n_cells + 1} borders for {n_cells} cells of scores, got {len(self.borders)}")
        if not (np.diff(self.borders) > 0).all() or self.borders[0] != 0:
            raise DataError(f"expected borders that rise from 0 seconds, got {self.borders}")
        if not np.isfinite(self.scores).all():
            raise DataError("scores are not finite; the model may have diverged")
        for event in self.events:
            if not (0 <= event.onset < event.offset < np.inf and 0 <= event.label < n_labels):
                raise DataError(f"expected an onset before the offset and one of {n_labels} labels, got {event}")
        object.__setattr__(self, "events", tuple(_joined(self.events)))


def _joined(events: Iterable[TrueEvent]) -> list[TrueEvent]:
    joined: list[TrueEvent] = []
    for event in sorted(events):
        last = joined[-1] if joined else None
        if last is not None and last.label == event.label and event.onset <= last.offset:
            joined[-1] = last._replace(offset=max(last.offset, event.offset))
        else:
            joined.append(event)
    return joined


def check_same_labels(recordings: Sequence[ScoredRecording]) -> None:
    """Checks that recordings have the same number of labels.

    Raises:
        DataError: They differ, or there is no recording.
    """
    if len({recording.scores.shape[1] for recording in recordings}) != 1:
        raise DataError("expected one or more recordings with scores of the same labels")
