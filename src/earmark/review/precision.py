"""Precision of detections from a sample by score bands, and thresholds for a wanted precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist
from typing import Final, NamedTuple

from earmark.review.comparison import Verdict
from earmark.review.sampling import by_key

_Z: Final = NormalDist().inv_cdf(0.975)


class Estimate(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BandPrecision:
    """Precision of a label in a score band."""

    band: int
    n_events: int
    """Events in the table."""
    n_clips: int
    """Clips that a person has judged."""
    n_right: int
    precision: Estimate
    """With Wilson's interval."""


@dataclass(frozen=True)
class LabelPrecision:
    """Precision of a label over all its events in the table, judged or not."""

    label: str
    n_events: int
    n_clips: int
    n_right: int
    precision: Estimate
    """Mean over the bands by their events; bands without a judged clip are left out."""
    bands: tuple[BandPrecision, ...]
    """By falling score."""


class Proposal(NamedTuple):
    """The lowest threshold that reaches a wanted precision."""

    threshold: float
    precision: Estimate
    """Precision of the events with this score or a higher one."""
    n_clips: int
    """Judged clips with this score or a higher one."""
    kept: float
    """Estimated share of the right events that reach the threshold."""


def wilson(n_right: int, n: int) -> Estimate:
    """A share and Wilson's 95 % interval (1927), which holds for few clips and for shares of 0 and 1 too.

    >>> [round(value, 3) for value in wilson(10, 10)]
    [1.0, 0.722, 1.0]
    """
    share, z2 = n_right / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # at the ends, rounding could put the share outside
    return Estimate(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def weighted(strata: Sequence[tuple[int | float, int, int]]) -> Estimate:
    """The weighted mean of the shares of independent strata, and its 95 % interval.

    The interval combines Wilson's intervals of the strata (MOVER: Zou and Donner 2008, Statistics in Medicine 27,
    1693): its lower end is the mean minus the root of the sum of the squared weighted distances to the lower ends.
    For one stratum it is Wilson's.

    >>> [round(value, 3) for value in weighted([(10, 10, 10), (90, 5, 10)])]
    [0.55, 0.311, 0.787]

    Args:
        strata: Weight, right clips and clips of each; all have a clip.
    """
    total = sum(weight for weight, _, _ in strata)
    parts = [(weight / total, wilson(n_right, n)) for weight, n_right, n in strata]
    mean = sum(weight * share.value for weight, share in parts)
    down = math.sqrt(sum((weight * (share.value - share.low)) ** 2 for weight, share in parts))
    up = math.sqrt(sum((weight * (share.high - share.value)) ** 2 for weight, share in parts))
    return Estimate(mean, max(0.0, mean - down), min(1.0, mean + up))


def label_precisions(verdicts: Sequence[Verdict]) -> list[LabelPrecision]:
    """The precision of each label that has a judged clip, in the order of the names."""
    found = []
    for label, own in sorted(_judged(verdicts).items()):
        bands = []
        for band, rows in sorted(_by_band(own).items(), reverse=True):
            n_right = sum(verdict.is_right for verdict in rows)
            bands.append(BandPrecision(band, rows[0].row.n_in_band, len(rows), n_right, wilson(n_right, len(rows))))
        found.append(
            LabelPrecision(
                label,
                sum(band.n_events for band in bands),
                len(own),
                sum(band.n_right for band in bands),
                weighted([(band.n_events, band.n_right, band.n_clips) for band in bands]),
                tuple(bands),
            )
        )
    return found


def propose(verdicts: Sequence[Verdict], precision: float, min_clips: int = 10) -> dict[str, Proposal | None]:
    """For each label with judged clips the lowest threshold whose events reach the precision; None if none does.

    The judged clips of a band stand for all its events in the table, each for an equal share. The thresholds that are
    tried are the scores of the judged clips.

    Args:
        verdicts: Clips of all labels; those without a score count for nothing.
        precision: The wanted precision.
        min_clips: Judged clips that must reach a threshold.
    """
    return {label: _proposal(own, precision, min_clips) for label, own in sorted(_judged(verdicts).items())}


def _proposal(verdicts: Sequence[Verdict], precision: float, min_clips: int) -> Proposal | None:
    scored = sorted((v for v in verdicts if v.row.score is not None), key=lambda v: -(v.row.score or 0.0))
    weight = {band: rows[0].row.n_in_band / len(rows) for band, rows in _by_band(scored).items()}
    all_right = sum(weight[verdict.row.band] for verdict in scored if verdict.is_right)
    found = None
    reached: list[Verdict] = []
    for score, level in groupby(scored, key=lambda verdict: verdict.row.score):
        reached += level
        strata = [
            (weight[band] * len(rows), sum(verdict.is_right for verdict in rows), len(rows))
            for band, rows in _by_band(reached).items()
        ]
        estimate = weighted(strata)
        if len(reached) >= min_clips and estimate.value >= precision and score is not None:
            right = sum(weight[verdict.row.band] for verdict in reached if verdict.is_right)
            found = Proposal(score, estimate, len(reached), right / all_right)
    return found


def _judged(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    judged = [verdict for verdict in verdicts if verdict.kind != "aside"]
    places = by_key([verdict.row.label for verdict in judged])
    return {label: [judged[place] for place in own] for label, own in places.items()}


def _by_band(verdicts: Sequence[Verdict]) -> dict[int, list[Verdict]]:
    places = by_key([verdict.row.band for verdict in verdicts])
    return {band: [verdicts[place] for place in own] for band, own in places.items()}
