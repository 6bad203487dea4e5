"""Event-based F1: detected events with the right label, onset and offset."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from earmark.evaluation.localisation.recordings import DECIMALS, TrueEvent

COLLAR: Final = 0.2
"""Seconds by which the onset and the offset of a detected event may differ from the true ones (DCASE)."""
OFFSET_SHARE: Final = 0.2
"""Fraction of the length of a true event by which the offset may differ, if that is more than the collar."""


class EventF1(NamedTuple):
    """Event-based F1 (Mesaros et al. 2016)."""

    micro: float
    """F1 of all labels together; nan without events and detections."""
    n_correct: int
    """Detected events that match a true one, each another."""
    n_detected: int
    n_events: int


def event_f1(
    recordings: Iterable[tuple[Sequence[TrueEvent], Sequence[TrueEvent]]], *, collar: float = COLLAR
) -> EventF1:
    """Event-based F1: a detection matches an event of its label if onset and offset agree within the collar.

    As many pairs as possible are formed; each event and each detection is in one pair at most.

    Args:
        recordings: True and detected events of each recording.
        collar: Seconds.
    """
    n_correct = n_detected = n_events = 0
    for true, detected in recordings:
        n_events += len(true)
        n_detected += len(detected)
        for label in {event.label for event in true}:
            own = [event for event in true if event.label == label]
            n_correct += _n_pairs(own, [event for event in detected if event.label == label], collar)
    total = n_detected + n_events
    return EventF1(2 * n_correct / total if total else float("nan"), n_correct, n_detected, n_events)


def _n_pairs(true: Sequence[TrueEvent], detected: Sequence[TrueEvent], collar: float) -> int:
    """The largest number of pairs, by augmenting paths."""
    fitting: dict[int, list[int]] = defaultdict(list)
    for i, event in enumerate(true):
        late = max(collar, OFFSET_SHARE * (event.offset - event.onset))
        for j, found in enumerate(detected):
            differences = np.round([abs(found.onset - event.onset), abs(found.offset - event.offset)], DECIMALS)
            if differences[0] <= collar and differences[1] <= late:
                fitting[i].append(j)
    partner: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j in fitting[i]:
            if j not in seen:
                seen.add(j)
                if j not in partner or place(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(true)))
