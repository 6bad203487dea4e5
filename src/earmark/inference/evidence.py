"""Evidence for a tag: how far its logit falls without a segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from earmark.errors import AudioError
from earmark.inference.engine import Engine
from earmark.inference.windows import VALUES_PER_CALL, seconds_per_segment, sigmoid

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Evidence:
    """Contribution of each segment of a recording to one tag."""

    label: str
    onsets: Float[np.ndarray, " segment"]
    """Seconds."""
    offsets: Float[np.ndarray, " segment"]
    """Seconds."""
    weights: Float[np.ndarray, " segment"]
    """How far the label's logit falls without this segment: positive if the segment supports the label, negative if it
    opposes it. Exact, not a gradient. (Neighbouring segments see part of the same audio.)"""
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
    """Evidence for one label in a recording, or a part of it, that is already encoded.

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
            "leaves out one segment at a time"
        )
    logits = engine.classify(segments[None])[0]
    borders = np.arange(first, first + len(segments) + 1) * seconds
    return Evidence(
        label=engine.labels.names[label],
        onsets=borders[:-1],
        offsets=np.minimum(borders[1:], duration),
        weights=logits[label] - _without_each(engine, segments)[:, label],
        attention=engine.attention(segments, label),
        score=float(sigmoid(logits)[label]),
    )


def _without_each(engine: Engine, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "segment label"]:
    """Logits of the bag without each of its segments in turn."""
    n_segments, n_channels = segments.shape
    n_bags = max(1, VALUES_PER_CALL // segments.size)
    logits = []
    for start in range(0, n_segments, n_bags):
        # row k of this mask leaves segment start + k out
        mask = ~np.eye(min(n_bags, n_segments - start), n_segments, start, dtype=bool)
        logits.append(engine.classify(np.broadcast_to(segments, (len(mask), n_segments, n_channels)), mask))
    return np.concatenate(logits)
