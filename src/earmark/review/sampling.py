"""A sample of detections of each label, spread over bands of their scores."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from hashlib import sha256
from typing import Final, TypeVar

import numpy as np

_Key = TypeVar("_Key", bound=Hashable)

N_BANDS: Final = 10
"""Bands of equal width from score 0 to 1; scores outside count to the first or the last."""
NO_SCORE: Final = -1
"""The band of detections without a score."""


def band_of(score: float | None) -> int:
    """The band of a score.

    >>> band_of(0.0), band_of(0.3), band_of(0.8999), band_of(1.0), band_of(None)
    (0, 3, 8, 9, -1)
    """
    return NO_SCORE if score is None else int(min(max(score * N_BANDS, 0), N_BANDS - 1))


def band_name(band: int) -> str:
    """The scores of a band.

    >>> band_name(3), band_name(9), band_name(-1)
    ('0.3-0.4', '0.9-1.0', 'no score')
    """
    return "no score" if band == NO_SCORE else f"{band / N_BANDS:.1f}-{(band + 1) / N_BANDS:.1f}"


def shares(sizes: Mapping[int, int], n: int) -> dict[int, int]:
    """Numbers to take from the bands: equal ones, or all of a band that has fewer.

    >>> shares({3: 50, 5: 2, 9: 10}, 12)
    {3: 5, 5: 2, 9: 5}
    """
    taken = dict.fromkeys(sizes, 0)
    left = min(n, sum(sizes.values()))
    while left:
        open_bands = [band for band in sorted(sizes, reverse=True) if taken[band] < sizes[band]]
        each = max(1, left // len(open_bands))
        for band in open_bands:
            more = min(each, sizes[band] - taken[band], left)
            taken[band] += more
            left -= more
    return taken


def sample(labels: Sequence[str], bands: Sequence[int], per_label: int | None, seed: int) -> list[int]:
    """Indices of the chosen detections, ascending; all of a label that has no more than `per_label`.

    The choice within a band is uniform and depends on the seed, the label and its detections alone.

    Args:
        labels: Label of each detection.
        bands: Score band of each detection.
        per_label: Most detections to choose of a label; None chooses all.
        seed: Seed of the choice.
    """
    if per_label is None:
        return list(range(len(labels)))
    chosen: list[int] = []
    groups = by_key(labels)
    for label, places in groups.items():
        within = by_key([bands[place] for place in places])
        n_of = shares({band: len(own) for band, own in within.items()}, per_label)
        entropy = int.from_bytes(sha256(label.encode(errors="surrogateescape")).digest()[:8])
        for band in sorted(within):
            rng = np.random.default_rng((seed, entropy, band + 1))
            drawn = rng.permutation(len(within[band]))[: n_of[band]]
            chosen += [places[within[band][place]] for place in drawn]
    return sorted(chosen)


def by_key(keys: Sequence[_Key]) -> dict[_Key, list[int]]:
    """The indices at which each key stands."""
    places: dict[_Key, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    return dict(places)
