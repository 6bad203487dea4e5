"""Polyphonic sound detection score, computed for all thresholds at once.

A detection is a maximal run of cells with scores at or above a threshold. As the threshold falls, detections appear,
grow and merge; they change only at the distinct scores of a label. The detections of all thresholds are therefore the
distinct runs, at most one per cell, each with the threshold at which it appears and the one at which it merges.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Final, NamedTuple

import numpy as np

from earmark.errors import DataError, Limit, check_settings
from earmark.evaluation.localisation.recordings import DECIMALS, ScoredRecording, check_same_labels

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Scenario:
    """Criteria and costs of the PSDS, named as in its paper (Bilen et al. 2020)."""

    dtc: Annotated[float, Limit(above=0, at_most=1)]
    """Detection tolerance: share of a detection that must lie in events of its label, or it is a false alarm."""
    gtc: Annotated[float, Limit(above=0, at_most=1)]
    """Ground truth tolerance: share of an event that valid detections must cover for it to be found."""
    cttc: Annotated[float, Limit(above=0, at_most=1)] = 0.3
    """Cross-trigger tolerance: share of a false alarm in events of another label that makes it a cross trigger."""
    alpha_ct: Annotated[float, Limit(at_least=0)] = 0.0
    """Cost of cross triggers: weight of their rate (per hour of the other label's events, mean over the other labels)
    when it is added to the false alarm rate."""
    alpha_st: Annotated[float, Limit(at_least=0)] = 1.0
    """Cost of instability: number of standard deviations over labels subtracted from the mean share of found events."""
    e_max: Annotated[float, Limit(above=0)] = 100.0
    """Upper limit of the area, in false alarms per hour and label."""

    def __post_init__(self) -> None:
        check_settings(self)


PSDS1: Final = Scenario(dtc=0.7, gtc=0.7)
"""Rewards exact times (DCASE task 4, scenario 1)."""
PSDS2: Final = Scenario(dtc=0.1, gtc=0.1, cttc=0.3, alpha_ct=0.5)
"""Rewards distinguishing labels more than exact times (DCASE task 4, scenario 2)."""


class _Truth(NamedTuple):
    """All events, recording by recording."""

    label: _Array
    onset: _Array
    offset: _Array
    first: _Array
    """(recording + 1): index of each recording's first event, and the number of events."""
    durations: _Array
    """(label): total seconds of its events."""
    n_events: _Array
    """(label)"""


class _Cells(NamedTuple):
    """All cells concatenated, with a gap of score -inf between recordings."""

    scores: _Array
    """(place, label)"""
    onset: _Array
    """(place)"""
    offset: _Array
    recording: _Array
    real: _Array
    """Places that are cells, not gaps."""


class _Detections(NamedTuple):
    """The distinct runs of one label."""

    recording: _Array
    onset: _Array
    offset: _Array
    birth: _Array
    """Highest threshold at which the detection exists."""
    death: _Array
    """Threshold at which it merges into a longer one; -inf for a run over the whole recording."""


class _Curve(NamedTuple):
    """Operating points of one label: effective false alarms per second, and share of events found."""

    rates: _Array
    shares: _Array


def psds(recordings: Sequence[ScoredRecording], scenario: Scenario) -> float:
    """Polyphonic sound detection score: the area under the curve of found events over false alarms, from 0 to 1.

    Bilen et al. 2020, computed without sampling thresholds (Ebbers et al. 2022): each distinct score is an operating
    point. Means are over the labels with an event; detections of other labels do not count.

    Raises:
        DataError: There is no recording or no event, or recordings differ in their number of labels.
    """
    check_same_labels(recordings)
    truth, cells = _truth(recordings), _cells(recordings)
    labels = np.flatnonzero(truth.n_events)
    if not len(labels):
        raise DataError("PSDS needs events, but these recordings have none")
    seconds = float(sum(recording.borders[-1] for recording in recordings))
    curves = [_curve(_detections(cells, label), truth, label, scenario, seconds) for label in labels.tolist()]
    return _area(curves, scenario)


def _truth(recordings: Sequence[ScoredRecording]) -> _Truth:
    n_labels = recordings[0].scores.shape[1]
    events = [event for recording in recordings for event in recording.events]
    label = np.array([event.label for event in events], np.int64)
    onset = np.array([event.onset for event in events], np.float64)
    offset = np.array([event.offset for event in events], np.float64)
    return _Truth(
        label,
        onset,
        offset,
        first=np.cumsum([0, *(len(recording.events) for recording in recordings)]),
        durations=np.bincount(label, offset - onset, n_labels),
        n_events=np.bincount(label, minlength=n_labels),
    )


def _cells(recordings: Sequence[ScoredRecording]) -> _Cells:
    gap = np.full((1, recordings[0].scores.shape[1]), -np.inf)
    lengths = [len(recording.scores) + 1 for recording in recordings]
    return _Cells(
        scores=np.concatenate([gap, *(part for recording in recordings for part in (recording.scores, gap))]),
        onset=np.concatenate([[0.0], *(recording.borders for recording in recordings)]),
        offset=np.concatenate([[0.0], *(np.append(recording.borders[1:], 0.0) for recording in recordings)]),
        recording=np.concatenate([[-1], np.repeat(np.arange(len(recordings)), lengths)]),
        real=np.setdiff1d(np.arange(sum(lengths) + 1), np.cumsum([0, *lengths])),
    )


def _detections(cells: _Cells, label: int) -> _Detections:
    scores = np.ascontiguousarray(cells.scores[:, label])
    before = _nearest_lower(scores, cells.real)
    last = len(scores) - 1
    after = last - _nearest_lower(scores[::-1], last - cells.real)
    # cells of one run that share its lowest score give the same detection
    _, kept = np.unique(before * len(scores) + after, return_index=True)
    before, after = before[kept], after[kept]
    return _Detections(
        recording=cells.recording[before + 1],
        onset=cells.onset[before + 1],
        offset=cells.offset[after - 1],
        birth=scores[cells.real[kept]],
        death=np.maximum(scores[before], scores[after]),
    )


def _nearest_lower(scores: _Array, places: _Array) -> _Array:
    """The nearest place with a lower score before each of these places."""
    nearest = np.arange(len(scores)) - 1
    todo = places
    # all places between a place and its candidate score no less; a candidate that scores no less is replaced by its own
    while len(todo := todo[scores[nearest[todo]] >= scores[todo]]):
        nearest[todo] = nearest[nearest[todo]]
    return nearest[places]


def _curve(found: _Detections, truth: _Truth, label: int, scenario: Scenario, seconds: float) -> _Curve:
    detection, event, overlap = _overlaps(found, truth)
    own = truth.label[event] == label
    length = found.offset - found.onset
    inside = np.bincount(detection[own], overlap[own], len(length))
    relevant = _reaches(inside, scenario.dtc * length)
    costs = np.where(relevant, 0.0, 1 / seconds)
    if scenario.alpha_ct:
        stray = ~own & ~relevant[detection]
        costs += _cross_triggers(detection[stray], truth.label[event[stray]], overlap[stray], length, truth, scenario)
    covering = own & relevant[detection]
    levels, steps = _discoveries(found, truth, detection[covering], event[covering], overlap[covering], scenario.gtc)

    # changes as the threshold falls; a run over the whole recording never ends
    dies = np.isfinite(found.death)
    places = np.concatenate([found.birth, found.death[dies], levels])
    values, inverse = np.unique(-places, return_inverse=True)
    changes = np.concatenate([costs, -costs[dies], np.zeros(len(levels))])
    rates = np.cumsum(np.bincount(inverse, changes, len(values)))
    n_before = len(places) - len(levels)
    shares = np.cumsum(np.bincount(inverse[n_before:], steps, len(values))) / truth.n_events[label]
    # nothing is detected above the highest score; rounding can make rates slightly negative
    return _Curve(np.append(0.0, np.maximum(rates, 0.0)), np.append(0.0, shares))


def _reaches(seconds: _Array, least: _Array | float) -> _Array:
    return np.asarray(np.round(seconds, DECIMALS) >= np.round(least, DECIMALS))


def _overlaps(found: _Detections, truth: _Truth) -> tuple[_Array, _Array, _Array]:
    """Detection, event and seconds of overlap of each overlapping pair."""
    n_events = np.diff(truth.first)[found.recording]
    detection = np.repeat(np.arange(len(n_events)), n_events)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(n_events) - n_events, n_events)
    event = truth.first[found.recording][detection] + within
    end = np.minimum(found.offset[detection], truth.offset[event])
    overlap = end - np.maximum(found.onset[detection], truth.onset[event])
    meet = overlap > 0
    return detection[meet], event[meet], overlap[meet]


def _cross_triggers(
    detection: _Array, label: _Array, overlap: _Array, length: _Array, truth: _Truth, scenario: Scenario
) -> _Array:
    """Cost of each detection as a cross trigger, given its overlaps with events of other labels."""
    n_labels = len(truth.durations)
    pairs, inverse = np.unique(detection * n_labels + label, return_inverse=True)
    detection, label = pairs // n_labels, pairs % n_labels
    crossing = _reaches(np.bincount(inverse, overlap, len(pairs)), scenario.cttc * length[detection])
    n_others = max(np.count_nonzero(truth.n_events) - 1, 1)
    costs = scenario.alpha_ct / (n_others * truth.durations[label[crossing]])
    return np.bincount(detection[crossing], costs, len(length))


def _discoveries(
    found: _Detections, truth: _Truth, detection: _Array, event: _Array, overlap: _Array, gtc: float
) -> tuple[_Array, _Array]:
    """Thresholds at which an event is found (+1), or lost (-1) when its detections merge into a false alarm."""
    order = np.argsort(event, kind="stable")
    levels, steps = [np.zeros(0)], [np.zeros(0)]
    for number, group in groupby(order.tolist(), key=lambda place: int(event[place])):
        places = list(group)
        birth, death = found.birth[detection[places]], found.death[detection[places]]
        falling = np.unique(np.concatenate([birth, death[np.isfinite(death)]]))[::-1]
        alive = (birth >= falling[:, None]) & (death < falling[:, None])
        covered = (alive * overlap[places]).sum(axis=1)
        is_found = _reaches(covered, gtc * (truth.offset[number] - truth.onset[number]))
        levels.append(falling)
        steps.append(np.diff(is_found.astype(np.float64), prepend=0.0))
    return np.concatenate(levels), np.concatenate(steps)


def _area(curves: Sequence[_Curve], scenario: Scenario) -> float:
    """Area under the mean minus the spread of the curves, each made monotonic by its best share at any lower rate."""
    most = scenario.e_max / 3600
    grid = np.unique(np.concatenate([curve.rates for curve in curves]))
    grid = grid[grid <= most]
    shares = []
    for curve in curves:
        order = np.argsort(curve.rates, kind="stable")
        best = np.maximum.accumulate(curve.shares[order])
        shares.append(best[np.searchsorted(curve.rates[order], grid, side="right") - 1])
    effective = np.maximum(np.mean(shares, axis=0) - scenario.alpha_st * np.std(shares, axis=0), 0.0)
    return float((effective * np.diff(grid, append=most)).sum() / most)
