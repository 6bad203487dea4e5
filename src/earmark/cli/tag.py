"""`earmark tag`: tags of many recordings."""

import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.audio.time_limit import set_time_limit
from earmark.cli import screen
from earmark.cli.event_flags import check_threshold, labels_of, names_file, threshold_of
from earmark.cli.flags import (
    DecodeTimeout,
    Device,
    Engine,
    FormatJson,
    Model,
    OutFile,
    Overlap,
    Quiet,
    SoundTrack,
    TagThreshold,
    Top,
)
from earmark.cli.labels import read_thresholds
from earmark.cli.recordings import (
    GivenRecording,
    ResultsJournal,
    Tally,
    Work,
    check_out,
    find_recordings,
    fingerprint,
    in_order,
    jobs_for,
    known_results,
    text,
)
from earmark.cli.results import FORMS, FileResult, read, write
from earmark.errors import Limit
from earmark.inference.events import label_thresholds
from earmark.storage.files import is_stream, sha256_of


def tag(
    files: list[Path],
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    top: Top = None,
    threshold: TagThreshold = None,
    labels: str | None = None,
    format: Literal["table", "json", "csv", "parquet"] | None = None,
    out: OutFile = None,
    precision: Literal["float32", "bf16"] = "float32",
    jobs: Annotated[int | None, Limit(at_least=1)] = None,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> int:
    """Tag recordings.

    Args:
        files: Recordings, folders of recordings, and - for standard input.
        labels: Tag only with these labels: names or ids joined by commas, or a file with one a line; by default all.
        format: Table for people, JSON with one object a line, CSV or Parquet; by default the suffix of --out decides.
        precision: bf16 is faster on processors that support it and changes scores in the third digit; needs PyTorch.
        jobs: Number of files tagged at the same time; they share the processors. Default: the number of processors.
        resume: Continue a stopped command with the same settings: skip the files whose results OUT already has.
    """
    with screen.usage_errors():
        check_threshold(threshold)
    form = screen.chosen_form(format, json, out, FORMS)
    _check(form, out, resume)
    set_time_limit(decode_timeout)
    found = find_recordings(files)
    screen.refuse_overwriting(out, [model, *(recording.file for recording in found)])
    settings = {"precision": precision, "top": top, "track": track, "overlap": overlap, "labels": _identity(labels)}
    journal = _journal(out, model, engine, device, threshold, settings)
    known = _known(out, journal, found) if resume and out is not None else {}
    todo = [recording for recording in found if text(recording.file) not in known]
    n_jobs, n_threads = jobs_for(jobs, len(todo))
    with screen.usage_errors():
        tagger = hub.load(model, n_threads, precision, engine, overlap, device)
    chosen, only = threshold_of(threshold, tagger.labels), labels_of(labels, tagger.labels)
    label_thresholds(chosen, tagger.thresholds, tagger.labels)  # fails before the work

    def score(path: Path, recording: GivenRecording, cancel: threading.Event) -> FileResult:
        scores = tagger.score(path, track=track, cancel=cancel)
        return FileResult(recording.file, scores.duration, tuple(scores.tags(top=top, threshold=chosen, labels=only)))

    tally: Tally[FileResult] = Tally("tagged", len(todo), len(found) - len(todo))
    hidden = quiet or (out is None and sys.stdout.isatty())
    appending = nullcontext(lambda result: None) if journal is None else journal.appending(known.values())
    with screen.progress("tagging", hidden) as show, appending as keep:
        results = Work(score, FileResult.failed, keep).results(todo, n_jobs)
        write(in_order(found, known, tally.counted(results, show)), form, out)
    screen.note(tally.summary(), quiet)
    return 1 if tally.n_failed else 0


def _journal(
    out: Path | None,
    model: str,
    engine: hub.EngineName,
    device: str,
    threshold: TagThreshold,
    settings: Mapping[str, Any],
) -> ResultsJournal[FileResult] | None:
    """The journal of results beside the output file; None where the results go into a stream."""
    if out is None or is_stream(out):
        return None
    with screen.usage_errors():
        checksum = fingerprint(model, settings["precision"], engine, device)
    by_label = read_thresholds(threshold) if isinstance(threshold, Path) else threshold
    settings = {"model": checksum, **settings, "threshold": by_label}
    return ResultsJournal(out, "tag", settings, FileResult.from_json)


def _check(form: str, out: Path | None, resume: bool) -> None:
    if form == "parquet" and out is None:
        raise CycloptsError("--format parquet is for files: name one by --out")
    if form == "parquet":
        import_module("pyarrow.parquet")  # a missing package is an error before the work
    check_out(out, resume)
    if resume and form == "table":
        raise CycloptsError("--resume cannot read a table again: choose another --format")


def _known(
    out: Path, journal: ResultsJournal[FileResult] | None, found: Sequence[GivenRecording]
) -> dict[str, FileResult]:
    earlier = [*(read(out) if out.is_file() else []), *(journal.read() if journal is not None else [])]
    return known_results(found, earlier)


def _identity(labels: str | None) -> str | None:
    """Identity of --labels for the journal: the names, or the checksum of the file."""
    return sha256_of(Path(labels)) if labels is not None and names_file(labels) else labels
