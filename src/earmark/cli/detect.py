"""`earmark detect`: events of many recordings."""

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.annotations.formats import FORMATS
from earmark.annotations.start_times import StartTimes
from earmark.audio.time_limit import set_time_limit
from earmark.cli import screen
from earmark.cli.detections import READ_AGAIN, EventForm, FileDetections, event_form, write_detections
from earmark.cli.event_flags import EventFlags
from earmark.cli.flags import (
    Context,
    DecodeTimeout,
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
    DAMAGE,
    Keep,
    Recording,
    ResultsJournal,
    Tally,
    Work,
    check_out,
    damaged,
    find_recordings,
    fingerprint,
    in_order,
    jobs_for,
    known_results,
    text,
)
from earmark.errors import DataError, Limit, counted
from earmark.inference.events import label_thresholds
from earmark.inference.tagger import HOP, WINDOW
from earmark.storage.files import is_stream

_DEFAULTS: Final = EventFlags()
_INTERRUPTED: Final = "interrupted; the files so far are kept, the same command with --resume continues"


def detect(
    files: list[Path],
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
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
        out: Write to this file instead of standard output; with --per-file, into this folder, whose sub-folders are
            those of the recordings.
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
    found = [_nameable(recording, form) for recording in _once(find_recordings(files))]
    targets = _targets(found, form, out, resume) if per_file else {}
    if not per_file:
        _check(found, form, out, resume, model)
    with_time = _with_time(found, times, time_format or time_zone, quiet)
    n_jobs, n_threads = jobs_for(jobs, len(found))
    with screen.usage_errors():
        tagger = hub.load(model, n_threads, "float32", engine, overlap)
    settings = events.settings(tagger.labels)
    label_thresholds(settings.threshold, tagger.thresholds, tagger.labels)  # fails before the work

    def find(path: Path, recording: Recording, cancel: threading.Event) -> FileDetections:
        timeline = tagger.timeline(path, window=window, hop=hop, context=context, track=track, cancel=cancel)
        return FileDetections(recording.file, timeline.duration, tuple(timeline.events(settings=settings)))

    rules = {"window": window, "hop": hop, "context": context, "track": track, "overlap": overlap, **asdict(settings)}
    if per_file:
        known = {file: FileDetections(file) for file, target in targets.items() if target.exists()}
        keeping: AbstractContextManager[Keep] = _writing(targets, form, times, with_time)
    else:
        known, keeping = _kept(found, form, out, model, engine, rules, resume)
    todo = [recording for recording in found if text(recording.file) not in known]
    tally = _Tally("scored", len(todo), len(found) - len(todo))
    hidden = quiet or (out is None and not per_file and sys.stdout.isatty())
    with screen.progress("detecting", hidden) as show, keeping as keep:
        results = tally.counted(Work(find, FileDetections.failed, keep).results(todo, n_jobs), show)
        if per_file:
            deque(results, maxlen=0)  # each was written when it came
        else:
            write_detections(in_order(found, known, results), form, out, times, with_time)
    screen.note(tally.summary(), quiet)
    return 1 if tally.n_failed else 0


def _once(recordings: Iterable[Recording]) -> list[Recording]:
    """The recordings without those that were given before: an event must not count twice."""
    return list({recording.file: recording for recording in reversed([*recordings])}.values())[::-1]


def _nameable(recording: Recording, form: str) -> Recording:
    """The recording, or an error where the format cannot hold its name."""
    if form == "table" or recording.error is not None:
        return recording
    try:
        FORMATS[form].check_name(recording.file)
    except DataError as error:
        return replace(recording, error=str(error))
    return recording


def _check(found: Sequence[Recording], form: str, out: Path | None, resume: bool, model: str) -> None:
    """Checks the flags of a common table."""
    check_out(out, resume)
    screen.refuse_overwriting(out, [model, *(recording.file for recording in found)])
    if form != "table" and FORMATS[form].is_single and len(found) != 1:
        raise CycloptsError(f"--format {form} holds one recording, not {len(found)}: give --per-file")
    if resume and form == "table":
        raise CycloptsError("--resume cannot read a table again: choose another --format")


def _targets(found: Sequence[Recording], form: str, out: Path | None, resume: bool) -> dict[str, Path]:
    """The file of each recording that --per-file writes, by the recording's name.

    Raises:
        CycloptsError: Files exist without --resume, two recordings have the same file, or a recording has none.
    """
    if form == "table":
        raise CycloptsError("--per-file writes annotations, not tables for people: choose another --format")
    if out is not None and out.exists() and not out.is_dir():
        raise CycloptsError(f"--out {out}: a folder was expected with --per-file")
    suffix = FORMATS[form].suffixes[0]
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for recording in found:
        if recording.error is not None:
            continue
        if recording.file == "-":
            raise CycloptsError("--per-file needs recordings in files, not standard input")
        base = Path(recording.file) if out is None else out / recording.within
        target = base.with_name(base.stem + suffix)
        if target in taken:
            raise CycloptsError(
                f"--per-file: {taken[target]} and {recording.file} would both be written to {target}; run them apart"
            )
        taken[target] = recording.file
        targets[text(recording.file)] = target
    existing = [target for target in taken if target.exists()]
    if existing and not resume:
        raise CycloptsError(
            f"--per-file: {existing[0]} exists already ({counted(len(existing), 'such file')}); --resume keeps these "
            "files and adds the others, another --out leaves them alone"
        )
    return targets


@contextmanager
def _writing(targets: Mapping[str, Path], form: str, times: StartTimes, with_time: bool) -> Iterator[Keep]:
    """Yields a function that writes the file of a result."""

    def keep(result: FileDetections) -> None:
        if result.error is None:
            FORMATS[form].write(targets[text(result.file)], [result.to_annotations(times)], with_time)

    try:
        yield keep
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_INTERRUPTED) from None


def _kept(
    found: Sequence[Recording],
    form: str,
    out: Path | None,
    model: str,
    engine: hub.EngineName,
    rules: Mapping[str, Any],
    resume: bool,
) -> tuple[dict[str, FileDetections], AbstractContextManager[Keep]]:
    """Earlier results by file, and a function that keeps the results to come in a journal."""
    if out is None or is_stream(out):
        return {}, nullcontext(lambda result: None)
    settings = {"model": fingerprint(model, engine), **rules}
    journal = ResultsJournal(out, "detect", settings, FileDetections.from_json)
    known: dict[str, FileDetections] = {}
    if resume:
        known = known_results(found, [*(_read(out, form) if out.is_file() else []), *journal.read()])
    return known, journal.appending(known.values())


def _read(out: Path, form: str) -> list[FileDetections]:
    if form not in READ_AGAIN:
        raise CycloptsError(
            f"--resume: {out} is complete, and only {', '.join(READ_AGAIN)} can be read again; name another --out"
        )
    try:
        return [*map(FileDetections.from_annotations, FORMATS[form].read(out))]
    except DAMAGE as error:
        raise damaged(out, "detect", error) from error


def _with_time(found: Sequence[Recording], times: StartTimes, flag: str | None, quiet: bool) -> bool:
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
