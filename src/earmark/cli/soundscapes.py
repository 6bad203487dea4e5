"""`earmark soundscapes`: mixes weakly labelled clips from a bank of single sounds."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earmark.cli.flags import FOLDER, AsJson, Count, Labels, LabelSeparator, Quiet, Split
from earmark.cli.screen import note, progress, say, write_json
from earmark.cli.selection import select
from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes, render_soundscapes
from earmark.errors import counted

_DEFAULTS = SoundscapeConfig()


def soundscapes(
    bank: str,
    out: Annotated[Path, FOLDER],
    /,
    *,
    n_clips: Count,
    split: Split = None,
    labels: Labels = None,
    label_separator: LabelSeparator = None,
    settings: Annotated[SoundscapeConfig, Parameter(name="*", negative="")] = _DEFAULTS,
    jobs: Count = 2,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Mix weakly labelled clips from a bank of single sounds; event times are stored separately.

    Args:
        bank: Clips of one sound each, as a source and a path, such as esc50:DIR.
        out: A new or empty folder, or one of an interrupted run.
        n_clips: Number of soundscapes.
        jobs: Number of threads that mix and compress.
    """
    sounds = select(bank, split, labels, label_separator=label_separator)
    name = None if split is None else split.replace(",", "+")
    with progress("drawing", quiet) as show:
        mixed = mix_soundscapes(sounds, settings, n_clips, split=name, progress=show)
    with progress("mixing", quiet) as show:
        try:
            render_soundscapes(mixed, out, jobs=jobs, progress=show)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; run the same command again to resume") from None
    n_events = len(mixed.truth)
    if json:
        summary = {"data": f"soundscapes:{out}", "n_clips": len(mixed), "n_events": n_events}
        write_json({**summary, "n_labels": len(sounds.labels), "bank": bank, "seed": settings.seed})
        return
    made, events = counted(len(mixed), "soundscape"), counted(n_events, "event")
    note(f"{made} with {events} of {counted(len(sounds.labels), 'label')}", quiet)
    say(f"soundscapes:{out}")
