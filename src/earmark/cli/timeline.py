"""`earmark timeline`: scores over time and events of a recording."""

import csv
import json as jsonlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal, TextIO

from rich.table import Table

from earmark import hub
from earmark.audio.recording import load_blocks, stated_duration
from earmark.cli.screen import (
    AsJson,
    Quiet,
    Score,
    bar,
    check_picture,
    chosen_form,
    destination,
    progress,
    recording,
    refuse_overwriting,
    rounded,
    table_console,
    write_failure,
)
from earmark.errors import AudioError, ConfigError
from earmark.inference.timeline import NO_THRESHOLDS, RELEASE, Event, Threshold, Timeline
from earmark.plots.spectrogram import spectrogram_of


def timeline(
    file: Path,
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    window: float = 2.0,
    hop: float = 0.4,
    threshold: Score = None,
    release: float = RELEASE,
    format: Literal["table", "json", "csv", "audacity"] | None = None,
    out: Path | None = None,
    plot: Path | None = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Show when the sounds of a recording happen.

    Args:
        file: A recording, or - for standard input.
        model: earmark-esc50, panns-cnn10, or a .safetensors checkpoint, an exported .onnx, a .pth of PANNs' Cnn10.
        window: Seconds pooled for one row of scores.
        hop: Seconds from one row to the next.
        threshold: Least score of an event; auto, the default, takes the model's thresholds, or 0.5 where it has none.
        release: Fraction of the threshold at which an event ends.
        format: Table, JSON with all scores, CSV or an Audacity label track; by default the suffix of --out decides.
        out: Write to this file instead of standard output.
        plot: Draw the spectrogram, scores and events into this .png, .svg or .pdf.
        json: Short for --format json.
        quiet: Print nothing but errors on standard error.
    """
    form = chosen_form(format, json, out, _WRITERS)
    refuse_overwriting(out, [model, file])
    check_picture(plot, [model, file, *([out] if out is not None else [])])
    tagger = hub.load(model)
    if threshold == "auto" and tagger.thresholds is None:
        raise ConfigError(NO_THRESHOLDS, "threshold")
    try:
        with recording(file) as path, progress("scoring", quiet) as show:
            length = stated_duration(path)
            show_seconds = None if length is None else partial(_show_seconds, show, round(length))
            result = tagger.timeline(path, window=window, hop=hop, progress=show_seconds)
            events = result.events(threshold, release)
            if plot is not None:
                _plot(plot, path, file, tagger.sample_rate, result, events, threshold)
    except AudioError as error:
        return write_failure(str(file), error, form, out)
    with destination(out) as stream:
        _WRITERS[form](str(file), result, events, stream)
    return 0


def _show_seconds(show: Callable[[int, int], None], length: int, seconds: float) -> None:
    show(min(round(seconds), length), length)


def _plot(
    plot: Path,
    path: Path,
    file: Path,
    sample_rate: int,
    result: Timeline,
    events: list[Event],
    threshold: Threshold,
) -> None:
    from earmark.plots import plot_timeline

    spectrogram = spectrogram_of(load_blocks(path, sample_rate, 10.0), sample_rate)
    title = f"Timeline of {file.name}" if str(file) != "-" else "Timeline"
    plot_timeline(plot, spectrogram, result, events, threshold=threshold, title=title)


def _write_table(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    console = table_console(stream)
    console.print(f"{file}  {timeline.duration:.1f} s", style="bold", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for event in events:
        times = f"{event.onset:.1f} - {event.offset:.1f} s"
        table.add_row("", times, f"{event.score:.3f}", bar(event.score), event.label)
    console.print(table if events else "      nothing reaches the threshold")


def _write_json(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    head = {
        "file": file,
        "duration": rounded(timeline.duration),
        "window": timeline.window,
        "hop": timeline.hop,
        "labels": list(timeline.labels),
        "onsets": [rounded(onset) for onset in timeline.onsets.tolist()],
    }
    found = [
        {"label": e.label, "onset": rounded(e.onset), "offset": rounded(e.offset), "score": rounded(e.score)}
        for e in events
    ]
    # row by row: the scores of ten hours as one string would take a gigabyte
    stream.write(jsonlib.dumps(head, allow_nan=False)[:-1] + ', "scores": [')
    for index, row in enumerate(timeline.scores):
        stream.write((", " if index else "") + jsonlib.dumps([rounded(score) for score in row.tolist()]))
    stream.write('], "events": ' + jsonlib.dumps(found, allow_nan=False) + "}\n")
    stream.flush()


def _write_csv(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file", "label", "onset", "offset", "score"))
    writer.writerows((file, e.label, rounded(e.onset), rounded(e.offset), rounded(e.score)) for e in events)


def _write_audacity(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    # Audacity reads it by File > Import > Labels
    stream.writelines(f"{event.onset:.6f}\t{event.offset:.6f}\t{event.label}\n" for event in events)


_WRITERS: Final[dict[str, Callable[[str, Timeline, list[Event], TextIO], None]]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
    "audacity": _write_audacity,
}
