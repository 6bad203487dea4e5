"""Event-based F1: detected events with the right label, onset and offset."""

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
    onsets = np.array([found.onset for found in detected])
    offsets = np.array([found.offset for found in detected])
    fitting = []
    for event in true:
        late = max(collar, OFFSET_SHARE * (event.offset - event.onset))
        onset_fits = np.round(np.abs(onsets - event.onset), DECIMALS) <= collar
        offset_fits = np.round(np.abs(offsets - event.offset), DECIMALS) <= late
        fitting.append(np.flatnonzero(onset_fits & offset_fits).tolist())
    partner: dict[int, int] = {}
    return sum(_augment(i, fitting, partner) for i in range(len(true)))


def _augment(start: int, fitting: Sequence[Sequence[int]], partner: dict[int, int]) -> bool:
    """Matches one more true event to a detection; true events matched before may get another one.

    Returns whether it succeeded.

    Args:
        start: The true event.
        fitting: The detections that each true event may have.
        partner: The true event matched to each detection; updated on success.
    """
    seen: set[int] = set()
    path = [(start, iter(fitting[start]))]
    chosen: list[int] = []
    """The detection that each event of the path would take."""
    while path:
        j = next((j for j in path[-1][1] if j not in seen), None)
        if j is None:
            path.pop()
            del chosen[-1:]
            continue
        seen.add(j)
        chosen.append(j)
        if j not in partner:
            partner.update({found: event for (event, _), found in zip(path, chosen, strict=True)})
            return True
        path.append((partner[j], iter(fitting[partner[j]])))
    return False
