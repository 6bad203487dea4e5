"""`earmark bulk`: tags of very many recordings, on one machine or a cluster."""

import time
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from earmark import hub
from earmark.audio.time_limit import set_time_limit
from earmark.bulk.cluster import Fleet
from earmark.bulk.parts import ROWS_PER_PART
from earmark.cli.flags import AsJson, Count, DecodeTimeout, Model, Overlap, Quiet, SoundTrack, Threshold, Top
from earmark.cli.screen import note, report_error, rounded, write_json
from earmark.errors import DataError, counted

if TYPE_CHECKING:
    from earmark.bulk.dispatch import Outcome

_DEFAULTS: Final = Fleet()
_SECONDS_BETWEEN: Final = 5.0
"""Time between two lines of progress; parts may finish many times a second."""


def bulk(
    input: str,
    out: str,
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    top: Top = None,
    threshold: Threshold = None,
    overlap: Overlap = None,
    embed: Annotated[bool, Parameter(negative="")] = False,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    fleet: Annotated[Fleet, Parameter(name="*")] = _DEFAULTS,
    rows_per_part: Count = ROWS_PER_PART,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Tag very many recordings.

    Args:
        input: A folder of recordings, a listing (.txt, .csv) of paths and URLs, or Parquet with a column audio.
        out: Folder of the results, a path or a URL: new, or started by the same command.
        embed: Also write the embedding of each recording.
        rows_per_part: Recordings per file of results.
    """
    # slow imports wait until the flags are valid
    from earmark.bulk.dispatch import make_job, run_job

    set_time_limit(decode_timeout)
    job = make_job(
        input,
        model=model,
        top=top,
        threshold=threshold,
        overlap=overlap,
        embed=embed,
        track=track,
        rows_per_part=rows_per_part,
    )
    outcome = run_job(job, out, fleet, _ProgressNotes(quiet), report_error)
    _print_summary(outcome, out, quiet)
    if json:
        write_json(_summary(outcome))
    if outcome.n_files and outcome.n_failed == outcome.n_files:
        of_all = counted(outcome.n_files, "recording")
        raise DataError(f"none of {of_all} could be read; one of them: {outcome.first_error}")
    for folder in job.input.unreadable:
        report_error(f"{folder}: this folder cannot be read")
    return int(bool(outcome.failed or job.input.unreadable))


class _ProgressNotes:
    """Prints the progress of the job now and then."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._printed_at = 0.0

    def __call__(self, outcome: "Outcome") -> None:
        now = time.monotonic()
        if len(outcome.done) == outcome.n_before and not outcome.failed:
            there = f", of which {outcome.n_before} are finished" if outcome.n_before else ""
            note(f"parts: {outcome.n_parts}{there}; starting the workers, which takes some seconds", self._quiet)
        elif now - self._printed_at >= _SECONDS_BETWEEN:
            failed = f", {len(outcome.failed)} failed" if outcome.failed else ""
            note(f"{len(outcome.done)} of {counted(outcome.n_parts, 'part')}{failed}; {_speed(outcome)}", self._quiet)
        else:
            return
        self._printed_at = now


def _speed(outcome: "Outcome") -> str:
    return f"{outcome.files_per_second:.1f} files/s, {outcome.hours_per_hour:.1f} hours of sound an hour"


def _print_summary(outcome: "Outcome", out: str, quiet: bool) -> None:
    unread = f", {outcome.n_failed} could not be read (column error)" if outcome.n_failed else ""
    hours = outcome.seconds_of_audio / 3600
    note(f"{out}: {counted(outcome.n_files, 'recording')}, {hours:.2f} hours of sound{unread}", quiet)
    if len(outcome.done) > outcome.n_before:
        note(
            f"{len(outcome.done) - outcome.n_before} of the parts in {outcome.seconds:.1f} s: {_speed(outcome)}", quiet
        )
    if outcome.failed:
        failed = f"{len(outcome.failed)} of {counted(outcome.n_parts, 'part')} failed"
        note(f"{failed}; the same command tries them again", quiet)


def _summary(outcome: "Outcome") -> dict[str, object]:
    return {
        "n_parts": outcome.n_parts,
        "n_parts_done": len(outcome.done),
        "failed_parts": [{"part": name, "error": error} for name, error in outcome.failed],
        "n_files": outcome.n_files,
        "n_failed": outcome.n_failed,
        "seconds_of_audio": rounded(outcome.seconds_of_audio),
        "seconds": rounded(outcome.seconds),
    }
