"""Curves of scores and the truth, which all measures of localisation compare."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from earmark.data.true_events import TrueEvent
from earmark.errors import DataError

DECIMALS: Final = 6
"""Of seconds: times that should be equal differ by what floats lose, and a criterion met exactly counts as met."""


@dataclass(frozen=True, eq=False)
class ScoredRecording:
    """The scores of a recording over time, and the truth.

    Raises:
        DataError: Shapes do not fit together, times do not rise, or a score is not finite.
    """

    borders: Float[np.ndarray, " border"]
    """Seconds, rising from 0: cell i lasts from border i to border i + 1, and the recording to the last one."""
    scores: Float[np.ndarray, "cell label"]
    events: tuple[TrueEvent, ...]
    """By label and onset; those of one label that overlap or touch are joined."""

    def __post_init__(self) -> None:
        n_cells, n_labels = self.scores.shape
        if n_cells < 1 or len(self.borders) != n_cells + 1:
            raise DataError(f"{n_cells} cells of scores, {len(self.borders)} borders: one border more was expected")
        if not (np.diff(self.borders) > 0).all() or self.borders[0] != 0:
            raise DataError(f"borders of cells: rising seconds that begin with 0 were expected, not {self.borders}")
        if not np.isfinite(self.scores).all():
            raise DataError("scores are not finite, which has no place in a ranking; the model may have diverged")
        for event in self.events:
            if not (0 <= event.onset < event.offset < np.inf and 0 <= event.label < n_labels):
                raise DataError(f"{event}: an onset before its offset and one of {n_labels} labels were expected")
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
    """Refuses no recording, and recordings whose scores are not of the same labels.

    Raises:
        DataError: As said.
    """
    if len({recording.scores.shape[1] for recording in recordings}) != 1:
        raise DataError("one or more recordings with scores of the same labels were expected")
