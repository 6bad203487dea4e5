"""`earmark timeline`: when the sounds of a recording happen."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table

from earmark import hub
from earmark.cli.screen import (
    AsJson,
    Quiet,
    bar,
    chosen_form,
    destination,
    paper,
    refuse_overwriting,
    rounded,
    write_failure,
    write_json,
)
from earmark.errors import AudioError
from earmark.tagger import Event, Timeline


def timeline(
    file: Path,
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    window: float = 2.0,
    hop: float = 0.4,
    threshold: Annotated[float, Parameter(validator=Number(gte=0, lte=1))] = 0.5,
    format: Literal["table", "json", "csv", "audacity"] | None = None,
    out: Path | None = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Show when the sounds of a recording happen.

    Args:
        file: A recording.
        model: A .safetensors checkpoint.
        window: Seconds that are heard for one row of scores.
        hop: Seconds from one row to the next.
        threshold: A label sounds while it scores this or more.
        format: A table, JSON with all scores, CSV or an Audacity label track; what --out ends in says it too.
        out: Write to this file instead of standard output.
        json: Short for --format json.
        quiet: Nothing but errors on standard error.
    """
    form = chosen_form(format, json, out, _WRITERS)
    refuse_overwriting(out, [model, file])
    try:
        result = hub.load(model).timeline(file, window=window, hop=hop)
    except AudioError as error:
        return write_failure(str(file), error, form, out)
    with destination(out) as stream:
        _WRITERS[form](str(file), result, result.events(threshold), stream)
    return 0


def _write_table(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    console = paper(stream)
    console.print(f"{file}  {timeline.duration:.1f} s", style="bold", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for event in events:
        times = f"{event.onset:.1f} - {event.offset:.1f} s"
        table.add_row("", times, f"{event.score:.3f}", bar(event.score), event.label)
    console.print(table if events else "      nothing reaches the threshold")


def _write_json(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    described = {
        "file": file,
        "duration": rounded(timeline.duration),
        "window": timeline.window,
        "hop": timeline.hop,
        "labels": list(timeline.labels),
        "onsets": [rounded(onset) for onset in timeline.onsets.tolist()],
        "scores": [[rounded(score) for score in row] for row in timeline.scores.tolist()],
        "events": [
            {
                "label": event.label,
                "onset": rounded(event.onset),
                "offset": rounded(event.offset),
                "score": rounded(event.score),
            }
            for event in events
        ],
    }
    write_json(described, stream)


def _write_csv(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file", "label", "onset", "offset", "score"))
    writer.writerows((file, e.label, rounded(e.onset), rounded(e.offset), rounded(e.score)) for e in events)


def _write_audacity(file: str, timeline: Timeline, events: list[Event], stream: TextIO) -> None:
    # Audacity: File > Import > Labels
    stream.writelines(f"{event.onset:.6f}\t{event.offset:.6f}\t{event.label}\n" for event in events)


_WRITERS: Final[dict[str, Callable[[str, Timeline, list[Event], TextIO], None]]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
    "audacity": _write_audacity,
}
