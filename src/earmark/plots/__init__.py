"""Pictures of recordings, scores, events, attention and counts. Only this package imports matplotlib."""

from earmark.plots.clip import plot_clip
from earmark.plots.counts import plot_counts
from earmark.plots.evidence import plot_evidence
from earmark.plots.panels import Span, require_matplotlib
from earmark.plots.scene import plot_scene
from earmark.plots.spectrogram import Spectrogram
from earmark.plots.timeline import plot_timeline

__all__ = [
    "Span",
    "Spectrogram",
    "plot_clip",
    "plot_counts",
    "plot_evidence",
    "plot_scene",
    "plot_timeline",
    "require_matplotlib",
]
