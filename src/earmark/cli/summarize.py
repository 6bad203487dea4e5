"""`earmark summarize`: events counted by hour, day, file or label."""

import csv
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, TextIO

from cyclopts import CycloptsError

from earmark.annotations.start_times import zone_of
from earmark.annotations.summary import HOURS, By, Count
from earmark.annotations.summary import summarize as count_events
from earmark.cli import screen
from earmark.cli.detections import ReadForm, reader_of
from earmark.cli.flags import FormatJson, OutFile, Quiet
from earmark.errors import DataError, counted, shown

_MAX_DAYS = 400
"""Days of a picture without gaps; beyond it only days with events have a column."""


def summarize(
    events: Path,
    /,
    *,
    by: By = "hour",
    events_format: ReadForm | None = None,
    label_column: str | None = None,
    time_zone: str | None = None,
    format: Literal["table", "json", "csv"] | None = None,
    out: OutFile = None,
    plot: Path | None = None,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> None:
    """Count events by hour of the day, day, file or label.

    Args:
        events: Events of `earmark detect`, or annotations in another format that is read.
        by: Groups of the counts.
        events_format: Format of EVENTS; by default its suffix decides.
        label_column: Column of the labels in a table of Raven; by default Annotation, Species or a similar one.
        time_zone: Time zone of hours and days, such as Europe/Berlin; by default, times count as they are stated.
        format: Table for people, JSON or CSV; by default the suffix of --out decides.
        plot: Draw labels by hours or days into this .png, .svg or .pdf; needs the extra plot.
    """
    form = screen.chosen_form(format, json, out, ("table", "json", "csv"))
    screen.check_files(out, plot, [events])
    if plot is not None and by not in ("hour", "day"):
        raise CycloptsError("--plot draws labels by hour or by day: give --by hour or --by day")
    with screen.usage_errors():
        zone = None if time_zone is None else zone_of(time_zone)
        reader = reader_of(events, events_format, label_column)
    files = reader.read(events)
    summary = count_events(files, by, zone)
    rows = [_row(count, by) for count in summary.counts]
    with screen.destination(out) as stream:
        if form == "json":
            screen.write_json(rows, stream)
        elif form == "csv":
            writer = csv.DictWriter(stream, _columns(by), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            _write_table(rows, _columns(by), stream)
    if plot is not None:
        if not summary.counts:
            raise DataError(f"{events}: no event to draw")
        _plot(plot, summary.counts, by, events)
    if summary.n_without_time:
        screen.note(f"note: {counted(summary.n_without_time, 'event')} without a time of day left out", quiet)
    n_events = sum(count.n_events for count in summary.counts)
    screen.note(f"{counted(n_events, 'event')} in {counted(len(files), 'file')}", quiet)


def _columns(by: By) -> tuple[str, ...]:
    return (*(() if by == "label" else (by,)), "label", "events", "seconds", "files", "best_score")


def _row(count: Count, by: By) -> dict[str, Any]:
    best = None if count.best_score is None else screen.rounded(count.best_score)
    values = (count.group, count.label, count.n_events, screen.rounded(count.seconds), count.n_files, best)
    return dict(zip(_columns(by), values[by == "label" :], strict=True))


def _write_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], stream: TextIO) -> None:
    from rich.text import Text

    cells = [
        ["" if row[name] is None else row[name] if isinstance(row[name], str) else shown(row[name]) for name in columns]
        for row in rows
    ]
    table = screen.table([[Text(cell) for cell in row] for row in cells], *columns)
    for column, name in zip(table.columns, columns, strict=True):
        column.justify = "left" if name in ("hour", "day", "file", "label") else "right"
    screen.table_console(stream).print(table)


def _plot(plot: Path, counts: Sequence[Count], by: By, events: Path) -> None:
    from earmark.plots import plot_counts

    groups = list(HOURS) if by == "hour" else _days(sorted({count.group for count in counts}))
    table = {(count.label, count.group): count.n_events for count in counts}
    plot_counts(plot, table, groups, f"{by}{' of the day' if by == 'hour' else ''}", title=f"Events of {events.name}")


def _days(days: list[str]) -> list[str]:
    """The days with those between them, so that a day without events shows."""
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    n_days = (last - first).days + 1
    return days if n_days > _MAX_DAYS else [(first + timedelta(day)).isoformat() for day in range(n_days)]
