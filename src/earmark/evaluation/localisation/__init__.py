"""Localisation metrics on plain arrays: PSDS, segment-based F1 and event-based F1."""

from earmark.evaluation.localisation.events import EventF1, event_f1
from earmark.evaluation.localisation.intersections import PSDS1, PSDS2, Scenario, psds
from earmark.evaluation.localisation.recordings import ScoredRecording, TrueEvent
from earmark.evaluation.localisation.segments import SegmentF1, score_segments, segment_f1

__all__ = [
    "PSDS1",
    "PSDS2",
    "EventF1",
    "Scenario",
    "ScoredRecording",
    "SegmentF1",
    "TrueEvent",
    "event_f1",
    "psds",
    "score_segments",
    "segment_f1",
]
