"""`earmark timeline`: scores over time and events of a recording."""

import json as jsonlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TextIO

from cyclopts import Parameter

from earmark import hub
from earmark.annotations.start_times import StartTimes
from earmark.audio.recording import load_blocks, probe
from earmark.audio.time_limit import set_time_limit
from earmark.audio.tracks import Track
from earmark.cli import screen
from earmark.cli.detections import EventForm, FileDetections, event_form, write_detections
from earmark.cli.event_flags import EventFlags
from earmark.cli.flags import (
    Context,
    DecodeTimeout,
    Device,
    Engine,
    FormatJson,
    Hop,
    Model,
    OutFile,
    Overlap,
    Quiet,
    SoundTrack,
    TimeFormat,
    TimeZone,
    Window,
)
from earmark.errors import AudioError
from earmark.inference.events import Event, Threshold, label_thresholds
from earmark.inference.timeline import HOP, WINDOW, Timeline
from earmark.plots.spectrogram import spectrogram_of

_DEFAULTS: Final = EventFlags()


def timeline(
    file: Path,
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    window: Window = WINDOW,
    hop: Hop = HOP,
    context: Context = None,
    events: Annotated[EventFlags, Parameter(name="*")] = _DEFAULTS,
    time_format: TimeFormat = None,
    time_zone: TimeZone = None,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    format: Literal["table", "json", EventForm] | None = None,
    out: OutFile = None,
    plot: Path | None = None,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> int:
    """Show when the sounds of a recording happen.

    Args:
        file: A recording, or - for standard input.
        format: Table for people, JSON with all scores, or a format of annotations; else the suffix of --out decides.
        plot: Draw the spectrogram, scores and events into this .png, .svg or .pdf; needs the extra plot.
    """
    with screen.usage_errors():
        times = StartTimes(time_format, time_zone)
    form = event_form(format, "json" if json else None, out, own=("json",))
    screen.check_files(out, plot, [model, file])
    set_time_limit(decode_timeout)
    with screen.usage_errors():
        tagger = hub.load(model, engine=engine, overlap=overlap, device=device)
    settings = events.settings(tagger.labels)
    label_thresholds(settings.threshold, tagger.thresholds, tagger.labels)  # fails before the work
    try:
        with screen.recording(file) as path, screen.progress("scoring", quiet) as show:
            length = probe(path, track).duration
            show_seconds = None if length is None else partial(_show_seconds, show, round(length))
            result = tagger.timeline(path, window=window, hop=hop, context=context, track=track, progress=show_seconds)
            found = result.events(settings=settings)
            if plot is not None:
                _plot(plot, path, file, tagger.sample_rate, result, found, settings.threshold, track)
    except AudioError as error:
        return screen.write_failure(str(file), error, form, out)
    if form == "json":
        with screen.destination(out) as stream:
            _write_json(str(file), result, found, stream)
    else:
        detections = FileDetections(str(file), result.duration, tuple(found))
        write_detections([detections], form, out, times, times.of(str(file)) is not None)
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
