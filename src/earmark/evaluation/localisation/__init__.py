"""Localisation metrics on plain arrays: PSDS, segment-based F1, pointing."""

from earmark.evaluation.localisation.intersections import PSDS1, PSDS2, Scenario, psds
from earmark.evaluation.localisation.recordings import ScoredRecording, TrueEvent
from earmark.evaluation.localisation.segments import SegmentF1, best_thresholds, segment_f1
from earmark.evaluation.localisation.weights import Pointing, pointing

__all__ = [
    "PSDS1",
    "PSDS2",
    "Pointing",
    "Scenario",
    "ScoredRecording",
    "SegmentF1",
    "TrueEvent",
    "best_thresholds",
    "pointing",
    "psds",
    "segment_f1",
]
