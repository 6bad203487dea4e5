"""Picture of a clip and of the event in it."""

from os import PathLike
from pathlib import Path

from earmark.plots import panels
from earmark.plots.spectrogram import Spectrogram


def plot_clip(
    path: str | PathLike[str], spectrogram: Spectrogram, onset: float, offset: float, *, title: str = ""
) -> None:
    """Draws a spectrogram with lines at the onset and the offset of an event.

    Args:
        path: The picture; its suffix decides the format (.png, .svg, .pdf).
        spectrogram: Of the clip.
        onset: Of the event in the recording (s).
        offset: Of the event in the recording (s).
        title: Title of the picture.

    Raises:
        EarmarkError: matplotlib is not installed, or does not support the format.
        OSError: The file cannot be written.
    """
    figure, stack = panels.stack_panels([2.4], 0.8)
    panels.draw_spectrogram(figure, stack[0], spectrogram)
    for time in (onset, offset):
        if spectrogram.onset < time < spectrogram.offset:
            stack[0].axvline(time, color="white", linewidth=1.2, linestyle=panels.DASHES)
    panels.finish_figure(figure, stack, spectrogram.offset, title, spectrogram.onset)
    panels.save(figure, Path(path))
