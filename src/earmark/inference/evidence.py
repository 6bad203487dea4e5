"""Why a tag was given: what its logit loses when a moment is left out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from earmark.errors import AudioError
from earmark.inference.engine import Engine
from earmark.inference.windows import VALUES_PER_CALL, seconds_per_segment, sigmoid


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much each segment of a recording carried one tag."""

    label: str
    onsets: Float[np.ndarray, " segment"]
    """Seconds."""
    offsets: Float[np.ndarray, " segment"]
    """Seconds."""
    weights: Float[np.ndarray, " segment"]
    """How far the logit of the label falls when this one segment is left out: positive for a segment that spoke for
    the label, negative for one that spoke against it. Exact, not a gradient. (The segments on either side have heard
    some of what a segment covers.)"""
    attention: Float[np.ndarray, "head segment"] | None
    """Weights of the segments, summing to 1 per attention head; None where the pooling has no attention."""
    score: float
    """Of the label, from 0 to 1, in these segments together."""


def explain(
    engine: Engine,
    segments: Float[np.ndarray, "segment channel"],
    label: int,
    *,
    duration: float,
    first: int = 0,
) -> Evidence:
    """The evidence for one label in a recording, or a part of it, that has been encoded already.

    Args:
        engine: Classifies.
        segments: What is pooled.
        label: Index of the label.
        duration: Seconds of the recording.
        first: Index of the first of the segments in the recording.

    Raises:
        AudioError: It is a single segment.
    """
    seconds = seconds_per_segment(engine)
    if len(segments) < 2:
        raise AudioError(
            f"evidence leaves out one segment of {seconds:g} s at a time, and {duration:.2f} s are only one; a longer "
            "recording was expected"
        )
    logits = engine.classify(segments[None])[0]
    borders = np.arange(first, first + len(segments) + 1) * seconds
    return Evidence(
        label=engine.labels.names[label],
        onsets=borders[:-1],
        offsets=np.minimum(borders[1:], duration),
        weights=logits[label] - _without_each(engine, segments)[:, label],
        attention=engine.attention(segments),
        score=float(sigmoid(logits)[label]),
    )


def _without_each(engine: Engine, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "segment label"]:
    """Logits of the bag without its first segment, its second, ..."""
    n_segments, n_channels = segments.shape
    n_bags = max(1, VALUES_PER_CALL // segments.size)
    logits = []
    for start in range(0, n_segments, n_bags):
        # row k of this block misses segment start + k
        mask = ~np.eye(min(n_bags, n_segments - start), n_segments, start, dtype=bool)
        logits.append(engine.classify(np.broadcast_to(segments, (len(mask), n_segments, n_channels)), mask))
    return np.concatenate(logits)
