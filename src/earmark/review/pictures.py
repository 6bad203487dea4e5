"""Spectrograms of clips, in a folder beside those of the labels."""

from collections.abc import Callable, Sequence
from pathlib import Path

from earmark.audio.recording import load_audio, probe
from earmark.plots import plot_clip
from earmark.plots.spectrogram import spectrogram_of
from earmark.review.manifest import CutClip
from earmark.review.names import PLOTS


def draw_clips(folder: Path, rows: Sequence[CutClip], progress: Callable[[int, int], None] | None = None) -> None:
    """Draws `plots/LABEL/NAME.png` for each clip that lies where it was cut and has no picture yet.

    Args:
        folder: The folder of the clips.
        rows: Its clips.
        progress: Called with the number of clips done and their total.

    Raises:
        EarmarkError: matplotlib is not installed, or a clip cannot be read.
    """
    for n_done, row in enumerate(rows, 1):
        clip = folder / row.clip
        picture = (folder / PLOTS / row.clip).with_suffix(".png")
        if clip.exists() and not picture.exists():
            audio = load_audio(clip, probe(clip).sample_rate)
            score = "" if row.score is None else f"  {row.score:.3f}"
            title = f"{row.label}{score}  {row.file}"
            plot_clip(
                picture,
                spectrogram_of([audio.waveform], audio.sample_rate, row.start),
                row.onset,
                row.offset,
                title=title,
            )
        if progress is not None:
            progress(n_done, len(rows))
