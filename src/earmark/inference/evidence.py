"""Evidence for a tag: the Shapley value of each segment, its mean effect on the logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.errors import AudioError
from earmark.inference.engine import Engine
from earmark.inference.windows import VALUES_PER_CALL, seconds_per_segment, sigmoid

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

N_ORDERS: Final = 32
"""Number of random orders of the segments, half of them the reverse of the others (results/evidence.md)."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Contribution of each segment of a recording to one tag."""

    label: str
    onsets: Float[np.ndarray, " segment"]
    """Seconds."""
    offsets: Float[np.ndarray, " segment"]
    """Seconds."""
    weights: Float[np.ndarray, " segment"]
    """Shapley value of each segment: how far it raises the label's logit when it joins other segments, the mean over
    random orders of all segments. Positive if the segment supports the label, negative if it opposes it. The first
    segment of an order is compared with the mean segment, so the sum is the logit of the recording less the mean logit
    of its single segments. (Neighbouring segments see part of the same audio.)"""
    errors: Float[np.ndarray, " segment"]
    """Standard error of each weight, from the spread over the random orders."""
    attention: Float[np.ndarray, "head segment"] | None
    """Weights of the segments, summing to 1 per attention head; None where the pooling has no attention. Where each
    label has an attention head of its own, that of the label alone."""
    score: float
    """Score of the label for all these segments, from 0 to 1."""


def explain(
    engine: Engine,
    segments: Float[np.ndarray, "segment channel"],
    label: int,
    *,
    duration: float,
    first: int = 0,
) -> Evidence:
    """Evidence for one label in a recording, or a part of it, that is already encoded. Equal inputs have equal results.

    Args:
        engine: The network.
        segments: The segments to explain.
        label: Index of the label.
        duration: Seconds of the recording.
        first: Index of the first segment in the recording.

    Raises:
        AudioError: There is only one segment.
    """
    seconds = seconds_per_segment(engine)
    if len(segments) < 2:
        raise AudioError(
            f"expected a recording of several segments, got {duration:.2f} s, one segment of {seconds:g} s: evidence "
            "compares segments"
        )
    effects = shapley_effects(engine, segments, label, N_ORDERS, np.random.default_rng(0))
    # an order and its reverse are not independent
    pairs = (effects[0::2] + effects[1::2]) / 2
    borders = np.arange(first, first + len(segments) + 1) * seconds
    return Evidence(
        label=engine.labels.names[label],
        onsets=borders[:-1],
        offsets=np.minimum(borders[1:], duration),
        weights=pairs.mean(axis=0),
        errors=pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs)),
        attention=engine.attention(segments, label),
        score=float(sigmoid(engine.classify(segments[None])[0])[label]),
    )


def shapley_effects(
    engine: Engine,
    segments: Float[np.ndarray, "segment channel"],
    label: int,
    n_orders: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "order segment"]:
    """Change of the logit when each segment joins those before it in an order; the mean estimates the Shapley values.

    Args:
        engine: The network.
        segments: The segments to explain.
        label: Index of the label.
        n_orders: Number of orders, even: every second one is the reverse of the one before.
        generator: Draws the orders.
    """
    n_segments = len(segments)
    effects = np.zeros((n_orders, n_segments))
    alone: Float[np.ndarray, " segment"] = engine.classify(segments[:, None])[:, label].astype(np.float64)
    for row in range(0, n_orders, 2):
        order = generator.permutation(n_segments)
        for offset, ranks in enumerate((np.argsort(order), np.argsort(order[::-1]))):
            # row k of this mask has the first k + 1 segments of the order
            logits = masked_logits(engine, segments, ranks <= np.arange(n_segments)[:, None], label)
            steps = np.diff(logits, prepend=alone.mean())
            effects[row + offset] = steps[ranks]
    return effects


def masked_logits(
    engine: Engine, segments: Float[np.ndarray, "segment channel"], mask: Bool[np.ndarray, "bag segment"], label: int
) -> Float[np.ndarray, " bag"]:
    """The label's logit of subsets of the segments, in double precision; each has at least one segment."""
    n_bags = max(1, VALUES_PER_CALL // segments.size)
    logits = []
    for start in range(0, len(mask), n_bags):
        part = mask[start : start + n_bags]
        logits.append(engine.classify(np.broadcast_to(segments, (len(part), *segments.shape)), part)[:, label])
    return np.concatenate(logits).astype(np.float64)
