"""`earmark timeline`: scores over time and events of a recording."""

import csv
import json as jsonlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from earmark import hub
from earmark.audio.recording import load_blocks, probe
from earmark.audio.time_limit import set_time_limit
from earmark.audio.tracks import Track
from earmark.cli import screen
from earmark.cli.flags import (
    DecodeTimeout,
    Device,
    Engine,
    FormatJson,
    Model,
    OutFile,
    Overlap,
    Quiet,
    Score,
    SoundTrack,
)
from earmark.errors import AudioError
from earmark.inference.timeline import RELEASE, Event, Threshold, Timeline, label_thresholds
from earmark.plots.spectrogram import spectrogram_of


def timeline(
    file: Path,
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    window: float = 2.0,
    hop: float = 0.4,
    threshold: Score = None,
    release: float = RELEASE,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    format: Literal["table", "json", "csv", "audacity"] | None = None,
    out: OutFile = None,
    plot: Path | None = None,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> int:
    """Show when the sounds of a recording happen.

    Args:
        file: A recording, or - for standard input.
        window: Seconds pooled for one row of scores.
        hop: Seconds from one row to the next.
        threshold: Lowest score of an event; by default the model's threshold of each label (auto), or 0.5 without any.
        release: Fraction of the threshold at which an event ends.
        format: Table, JSON with all scores, CSV or an Audacity label track; by default the suffix of --out decides.
        plot: Draw the spectrogram, scores and events into this .png, .svg or .pdf; needs the extra plot.
    """
    form = screen.chosen_form(format, json, out, _WRITERS)
    screen.check_files(out, plot, [model, file])
    set_time_limit(decode_timeout)
    with screen.usage_errors():
        tagger = hub.load(model, engine=engine, overlap=overlap, device=device)
    label_thresholds(threshold, tagger.thresholds, len(tagger.labels))  # fails before the work
    try:
        with screen.recording(file) as path, screen.progress("scoring", quiet) as show:
            length = probe(path, track).duration
            show_seconds = None if length is None else partial(_show_seconds, show, round(length))
            result = tagger.timeline(path, window=window, hop=hop, track=track, progress=show_seconds)
            events = result.events(threshold, release)
            if plot is not None:
                _plot(plot, path, file, tagger.sample_rate, result, events, threshold, track)
    except AudioError as error:
        return screen.write_failure(str(file), error, form, out)
    with screen.destination(out) as stream:
        _WRITERS[form](str(file), result, events, stream)
    return 0


def _show_seconds(show: screen.Progress, length: int, seconds: float) -> None:
    show(min(round(seconds), length), length)


def _plot(
    plot: Path,
    path: Path,
    file: Path,
    sample_rate: int,
    result: Timeline,
    events: list[Event],
    threshold: Threshold,
    track: Track,
) -> None:
    from earmark.plots import plot_timeline

    spectrogram = spectrogram_of(load_blocks(path, sample_rate, 10.0, track), sample_rate)
    title = f"Timeline of {file.name}" if str(file) != "-" else "Timeline"
    plot_timeline(plot, spectrogram, result, events, threshold=threshold, title=title)


def _write_table(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    rows = [
        ("", f"{event.onset:.1f} - {event.offset:.1f} s", f"{event.score:.3f}", screen.bar(event.score), event.label)
        for event in events
    ]
    screen.print_tags(stream, f"{file}  {timeline.duration:.1f} s", rows)


def _values(event: Event) -> dict[str, Any]:
    return {name: value if name == "label" else screen.rounded(value) for name, value in asdict(event).items()}


def _write_json(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    head = {
        "file": file,
        "duration": screen.rounded(timeline.duration),
        "window": timeline.window,
        "hop": timeline.hop,
        "labels": list(timeline.labels),
        "onsets": screen.all_rounded(timeline.onsets.tolist()),
    }
    # row by row: the scores of ten hours as one string would take a gigabyte
    stream.write(jsonlib.dumps(head, allow_nan=False)[:-1] + ', "scores": [')
    for index, row in enumerate(timeline.scores):
        stream.write((", " if index else "") + jsonlib.dumps(screen.all_rounded(row.tolist())))
    stream.write('], "events": ' + jsonlib.dumps([*map(_values, events)], allow_nan=False) + "}\n")
    stream.flush()


def _write_csv(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file", "label", "onset", "offset", "score"))
    writer.writerows((file, *_values(event).values()) for event in events)


def _write_audacity(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    # Audacity reads it by File > Import > Labels
    stream.writelines(f"{event.onset:.6f}\t{event.offset:.6f}\t{event.label}\n" for event in events)


_WRITERS: Final[dict[str, Callable[[str, Timeline, list[Event], TextIO], None]]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
    "audacity": _write_audacity,
}
