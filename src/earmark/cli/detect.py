"""`earmark detect`: events of many recordings."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.annotations.formats import FORMATS
from earmark.annotations.start_times import StartTimes
from earmark.audio.time_limit import set_time_limit
from earmark.cli import screen
from earmark.cli.detection_files import FilePerRecording, OneTable, Style, table_journal
from earmark.cli.detections import EventForm, FileDetections, event_form
from earmark.cli.event_flags import EventFlags
from earmark.cli.flags import (
    Context,
    DecodeTimeout,
    Device,
    Engine,
    Hop,
    Model,
    Overlap,
    Quiet,
    SoundTrack,
    TimeFormat,
    TimeZone,
    Window,
)
from earmark.cli.recordings import (
    GivenRecording,
    Tally,
    Work,
    check_out,
    find_recordings,
    fingerprint,
    jobs_for,
    text,
)
from earmark.errors import DataError, Limit, counted
from earmark.inference.events import label_thresholds
from earmark.inference.timeline import HOP, WINDOW

_DEFAULTS: Final = EventFlags()


def detect(
    files: list[Path],
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
    format: Literal["table", EventForm] | None = None,
    out: Path | None = None,
    per_file: Annotated[bool, Parameter(negative="")] = False,
    jobs: Annotated[int | None, Limit(at_least=1)] = None,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Quiet = False,
) -> int:
    """Find the events of recordings.

    Args:
        files: Recordings, folders of recordings, and - for standard input.
        format: Table for people, or a format of annotations; by default the suffix of --out decides.
        out: Write to this file, not to standard output; with --per-file, into this folder and sub-folders as in FILES.
        per_file: Write a file for each recording, beside it or into --out; csv unless --format names another.
        jobs: Number of files worked on at the same time; they share the processors. Default: the number of processors.
        resume: Continue a stopped command with the same settings: skip the files whose events OUT already has.
        json: Short for --format jsonl.
    """
    with screen.usage_errors():
        times = StartTimes(time_format, time_zone)
    given = "csv" if per_file and format is None and not json else format
    form = event_form(given, "jsonl" if json else None, out, per_file=per_file)
    set_time_limit(decode_timeout)
    found = [_nameable(recording, form) for recording in find_recordings(files)]
    _check(found, form, out, per_file, resume, model)
    style = Style(form, times, _with_time(found, times, time_format or time_zone, quiet))
    n_jobs, n_threads = jobs_for(jobs, len(found))
    with screen.usage_errors():
        tagger = hub.load(model, n_threads, "float32", engine, overlap, device)
    settings = events.settings(tagger.labels)
    label_thresholds(settings.threshold, tagger.thresholds, tagger.labels)  # fails before the work
    rules = {"window": window, "hop": hop, "context": context, "track": track, "overlap": overlap, **asdict(settings)}

    def find(path: Path, recording: GivenRecording, cancel: threading.Event) -> FileDetections:
        timeline = tagger.timeline(path, window=window, hop=hop, context=context, track=track, cancel=cancel)
        return FileDetections(recording.file, timeline.duration, tuple(timeline.events(settings=settings)))

    if per_file:
        return _run(found, find, FilePerRecording(found, style, out, resume), n_jobs, quiet, quiet)
    journal = table_journal(out, {"model": fingerprint(model, "float32", engine, device), **rules})
    hidden = quiet or (out is None and sys.stdout.isatty())
    return _run(found, find, OneTable(found, style, out, journal, resume, quiet), n_jobs, quiet, hidden)


def _run(
    found: Sequence[GivenRecording],
    find: Callable[[Path, GivenRecording, threading.Event], FileDetections],
    output: OneTable | FilePerRecording,
    n_jobs: int,
    quiet: bool,
    hidden: bool,
) -> int:
    """Finds the events of the recordings that have none yet; returns the exit status."""
    todo = [recording for recording in found if text(recording.file) not in output.known]
    tally = _Tally("scored", len(todo), len(found) - len(todo))
    with screen.progress("detecting", hidden) as show, output.keeping() as keep:
        output.write(tally.counted(Work(find, FileDetections.failed, keep).results(todo, n_jobs), show))
    screen.note(tally.summary(), quiet)
    return 1 if tally.n_failed else 0


def _nameable(recording: GivenRecording, form: str) -> GivenRecording:
    """The recording, or an error where the format cannot hold its name."""
    if form == "table" or recording.error is not None:
        return recording
    try:
        FORMATS[form].check_name(recording.file)
    except DataError as error:
        return replace(recording, error=str(error))
    return recording


def _check(
    found: Sequence[GivenRecording], form: str, out: Path | None, per_file: bool, resume: bool, model: str
) -> None:
    """Checks flags that contradict each other."""
    if per_file:
        if form == "table":
            raise CycloptsError("--per-file writes annotations, not tables for people: choose another --format")
        return
    check_out(out, resume)
    screen.refuse_overwriting(out, [model, *(recording.file for recording in found)])
    if form != "table" and FORMATS[form].is_single and len(found) != 1:
        raise CycloptsError(f"--format {form} holds one recording, not {len(found)}: give --per-file")
    if resume and form == "table":
        raise CycloptsError("--resume cannot read a table again: choose another --format")


def _with_time(found: Sequence[GivenRecording], times: StartTimes, flag: str | None, quiet: bool) -> bool:
    """Whether events have a time of day; a note names a file without it."""
    missing = [recording.file for recording in found if recording.error is None and times.of(recording.file) is None]
    is_any = len(missing) < sum(recording.error is None for recording in found)
    if missing and (is_any or flag is not None):
        which = f"{counted(len(missing), 'file name')}, such as {missing[0]}"
        screen.note(f"note: no time stamp is known in {which}; --time-format describes others", quiet)
    return is_any


class _Tally(Tally[FileDetections]):
    """Counts of a run, of events too."""

    _n_events = 0

    def counted(self, results: Iterable[FileDetections], show: screen.Progress) -> Iterator[FileDetections]:
        """The same results; counts each and reports its error."""
        for result in super().counted(results, show):
            self._n_events += len(result.events)
            yield result

    def summary(self) -> str:
        """One line."""
        return f"{super().summary()}; {counted(self._n_events, 'event')}"
