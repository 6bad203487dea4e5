"""Pictures of what a tagger heard, and when. The only door to matplotlib."""

from earmark.plots.attention import plot_attention
from earmark.plots.panels import Span, Spectrogram, require_matplotlib
from earmark.plots.scene import plot_scene

__all__ = ["Span", "Spectrogram", "plot_attention", "plot_scene", "require_matplotlib"]
