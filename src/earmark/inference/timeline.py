"""Scores over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.inference.events import Event, EventSettings, Threshold, find_events, trim_of
from earmark.labels import LabelSet

if TYPE_CHECKING:
    from jaxtyping import Float

WINDOW: Final = 0.8
"""Seconds pooled for one row of a timeline (results/event-decoder.md)."""
HOP: Final = 0.4
"""Seconds from one row of a timeline to the next."""
CONTEXT_SHARE: Final = 0.5
"""Length of the context of a row, as a fraction of the training clips' length (results/event-decoder.md)."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores of windows that slide over a recording."""

    onsets: Float[np.ndarray, " window"]
    """Seconds at which each window starts."""
    scores: Float[np.ndarray, "window label"]
    labels: tuple[str, ...]
    window: float
    """Seconds; the end of the recording cuts the last windows off."""
    hop: float
    """Seconds from window to window."""
    duration: float
    """Seconds of the recording."""
    thresholds: tuple[float, ...] | None = None
    """The checkpoint's threshold of each label; None where it has none."""
    ids: tuple[str, ...] = ()
    """Ids of the labels; by default their names."""
    context: float = 0.0
    """Seconds around a window whose scores limit those of the window; 0: no such limit."""

    def events(
        self,
        threshold: Threshold = None,
        release: float | None = None,
        settings: EventSettings = EventSettings(),  # noqa: B008 (frozen)
    ) -> list[Event]:
        """Events by onset; `EventSettings` states the rules.

        Args:
            threshold: Replaces the threshold of `settings`.
            release: Replaces the release of `settings`.
            settings: The rules.

        Raises:
            ConfigError: A threshold is not a score, or a setting is outside its limits.
            DataError: A label is unknown.
        """
        settings = settings.replaced(threshold, release)
        labels = LabelSet(self.labels, self.ids)
        trim = trim_of(self.window, self.hop)
        return find_events(self.cells(), self.scores, self.duration, settings, labels, self.thresholds, trim)

    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Onsets and offsets (s) of the windows' cells, each (window,).

        The scores of a window count for its cell: the times of the window nearer to its middle than to any other
        window's middle. Cells never overlap.
        """
        ends = np.minimum(self.onsets + self.window, self.duration)
        middles = (self.onsets + ends) / 2
        borders = (middles[1:] + middles[:-1]) / 2
        starts = np.concatenate([self.onsets[:1], np.maximum(borders, self.onsets[1:])])
        stops = np.concatenate([np.minimum(borders, ends[:-1]), ends[-1:]])
        return starts, stops
