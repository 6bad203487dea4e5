"""Scores of clips that are encoded already, by a head or by the network of their encoder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from earmark.data.clips import Dataset
from earmark.data.segments import Encoder, segments_of
from earmark.errors import DataError
from earmark.model.head import Head, Stages
from earmark.model.network import Network

_CLIPS_PER_BATCH = 256


def check_encoder(stages: Stages, encoder: Encoder | None, data: str) -> None:
    """Checks that the model can score the clips.

    Args:
        stages: The model.
        encoder: Encoder of the clips; None for clips with sound.
        data: Name of the data set, for the error.

    Raises:
        DataError: The clips have sound and the model is a head, or they have segments of another encoder.
    """
    if encoder is None:
        if isinstance(stages, Head):
            name = stages.extra.get("encoder", {}).get("name", "an encoder that it does not name")
            raise DataError(
                f"{data}: segments by {name} were expected, as in the training of this head, not recordings; it has "
                "no encoder of its own"
            )
        return
    own = stages.encoder_sha256() if isinstance(stages, Network) else stages.extra.get("encoder", {}).get("sha256")
    if own != encoder.sha256:
        raise DataError(
            f"{data}: its segments were made by {encoder.name} ({encoder.sha256[:12]}), and this model takes those of "
            f"another encoder ({str(own)[:12]}); encode the clips with this model"
        )


def score_segments(
    stages: Stages, dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> Float32[np.ndarray, "clip label"]:
    """Scores of all clips of encoded data, whole, on the model's device; the model is in evaluation mode.

    Raises:
        DataError: The clips have no segments, or scores are not finite.
    """
    segments = segments_of(dataset)
    if segments is None:
        raise DataError(f"{dataset.name}: clips with segments were expected, these have sound")
    scores = [np.zeros((0, len(stages.labels)), np.float32)]
    n_clips = len(segments.rows)
    for first in range(0, n_clips, _CLIPS_PER_BATCH):
        rows = segments.rows[first : first + _CLIPS_PER_BATCH]
        lengths = segments.table.lengths[rows]
        values = torch.from_numpy(segments.table.gather(rows, np.zeros_like(lengths), lengths)).to(stages.device)
        mask = torch.arange(values.shape[1]) < torch.from_numpy(lengths)[:, None]
        logits = stages.classify(values, mask.to(stages.device))
        scores.append(logits.sigmoid().cpu().numpy())
        check_finite(scores[-1], [dataset[first + row].id for row in range(len(rows))])
        if progress is not None:
            progress(first + len(rows), n_clips)
    return np.concatenate(scores)


def check_finite(scores: np.ndarray[Any, np.dtype[np.float32]], ids: list[str]) -> None:
    """Checks the scores (clip, label) of a batch.

    Raises:
        DataError: Some are not finite; the error names the clip.
    """
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        clip = ids[int(np.argmin(finite))]
        raise DataError(f"clip {clip!r}: the network's scores are not finite; its training may have diverged")
