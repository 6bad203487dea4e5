"""The order in which training clips are drawn."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from earmark.errors import ConfigError, DataError


def shuffled_order(n_clips: int, n_draws: int, rng: np.random.Generator) -> Int[np.ndarray, " draw"]:
    """Clip indices in random order, every clip once before any repeats.

    >>> sorted(shuffled_order(3, 6, np.random.default_rng(0)).tolist())
    [0, 0, 1, 1, 2, 2]

    Raises:
        DataError: There is no clip.
    """
    if n_clips < 1:
        raise DataError("at least one clip to draw from was expected; the training set is empty")
    n_rounds = -(-n_draws // n_clips)
    rounds = np.tile(np.arange(n_clips, dtype=np.int64), (n_rounds, 1))
    order: np.ndarray = rng.permuted(rounds, axis=1).reshape(-1)[:n_draws]
    return order


def block_order(n_clips: int, block: int, n_blocks_mixed: int, rng: np.random.Generator) -> Int[np.ndarray, " clip"]:
    """Every clip index once, in blocks of neighbours, for storage that is fast only at sequential reads.

    The blocks come in random order. Groups of `n_blocks_mixed` blocks are interleaved, each block in sequence, one clip
    of each at a time. The clips of a block were shuffled when they were packed.

    >>> block_order(12, 3, 2, np.random.default_rng(0)).tolist()
    [3, 6, 4, 7, 5, 8, 0, 9, 1, 10, 2, 11]

    Args:
        n_clips: Number of clips.
        block: Clips per block; the last one may have fewer.
        n_blocks_mixed: Blocks that are interleaved.
        rng: The only source of randomness.

    Raises:
        DataError: There is no clip.
        ConfigError: `block` or `n_blocks_mixed` is below 1.
    """
    if n_clips < 1:
        raise DataError("at least one clip to order was expected; the training set is empty")
    for name, value in (("block", block), ("n_blocks_mixed", n_blocks_mixed)):
        if value < 1:
            raise ConfigError(f"1 or more was expected, not {value}", name)
    place = rng.permutation(-(-n_clips // block))
    window = np.repeat(place // n_blocks_mixed, block)[:n_clips]
    # the windows one after the other, and in each the first clips of its blocks, then the second ones, ...
    order: np.ndarray = np.lexsort((np.repeat(place, block)[:n_clips], np.arange(n_clips) % block, window))
    return order


def balanced_order(
    by_label: Sequence[Int[np.ndarray, " _"]], n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, " draw"]:
    """Clip indices such that each label is drawn equally often, rare or not.

    Labels take turns in rounds of random order; each turn draws the next clip of the label's own shuffled cycle. Labels
    without clips take no turns; clips without labels are never drawn.

    Args:
        by_label: The clips of each label.
        n_draws: Length of the order.
        rng: The only source of randomness.

    Raises:
        DataError: No clip has a label.
    """
    labels = np.flatnonzero([len(clips) > 0 for clips in by_label])
    if not len(labels):
        raise DataError("at least one labelled clip to draw from was expected; no clip of the training set has a label")
    turns = labels[shuffled_order(len(labels), n_draws, rng)]
    order = np.empty(n_draws, dtype=np.int64)
    in_turn = np.argsort(turns, kind="stable")
    counts = np.bincount(turns, minlength=len(by_label))
    ends = np.cumsum(counts)
    for label in labels:
        places = in_turn[ends[label] - counts[label] : ends[label]]
        clips = by_label[int(label)]
        order[places] = clips[shuffled_order(len(clips), len(places), rng)]
    return order
