"""A recording after the backbone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from earmark.audio.recording import Audio

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Encoded:
    """The segments of a recording, made by `Tagger.encode`: input of that tagger's other methods."""

    segments: Float[np.ndarray, "segment channel"]
    duration: float
    """Seconds of the recording."""


Recording = Audio | Encoded | str | os.PathLike[str]
"""Sound with its sample rate, an encoded recording, or the path of a file."""
