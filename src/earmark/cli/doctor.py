"""`earmark doctor`: faults of a data set, before the training."""

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from earmark.audio.time_limit import set_time_limit
from earmark.cli.flags import (
    FOLDER,
    AsJson,
    Data,
    DecodeTimeout,
    Jobs,
    Labels,
    LabelSeparator,
    Quiet,
    Split,
)
from earmark.cli.screen import note, progress, report_error, table, table_console, write_json
from earmark.cli.selection import ClipsOfEvents, check_annotated, select
from earmark.data.event_clips import EventClips
from earmark.doctor.kinds import Limits
from earmark.errors import DataError, counted

if TYPE_CHECKING:
    from earmark.doctor.report import Report

_DEFAULTS: Final = Limits()
_CLIPS: Final = EventClips()
_EXAMPLES: Final = 3


def doctor(
    data: Data,
    /,
    *,
    out: Annotated[Path, FOLDER],
    split: Split = None,
    labels: Labels = None,
    label_separator: LabelSeparator = None,
    event_clips: ClipsOfEvents = _CLIPS,
    jobs: Jobs = None,
    decode_timeout: DecodeTimeout = None,
    limits: Annotated[Limits, Parameter(name="*", negative="")] = _DEFAULTS,
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[AsJson, Parameter(help="Print the content of report.json.")] = False,
    quiet: Quiet = False,
) -> int:
    """Find the problems of a data set.

    Args:
        out: Folder of the report: new, empty, or with an earlier report.
        strict: Exit with status 1 if anything is found but what --keep names: then also ends-early, clipped, warned.
    """
    set_time_limit(decode_timeout)
    check_annotated(event_clips, data)
    dataset = select(data, split, labels, True, label_separator, event_clips)
    from earmark.doctor.checkup import doctor as examine

    narrowed = None if labels is None else dataset.labels.names
    try:
        with progress("examining", quiet) as show:
            report = examine(dataset, data, out, limits, narrowed, jobs, show, label_separator, event_clips)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; finished work is kept, and the same command continues") from None
    if json:
        write_json(report.to_json())
    else:
        _print(report)
    if not report.clean_ids:
        raise DataError(f"none of {counted(report.n_listed, 'clip')} is clean; the findings are in {out}")
    clean = quote(f"clips:{out / 'clean.txt'}")
    note(f"{out}: report.json, clips.csv; the clean list: earmark train {clean}", quiet)
    if strict and not report.is_faultless:
        report_error("there are findings, which --strict does not allow; --keep allows kinds of them")
        return 1
    return 0


def _print(report: "Report") -> None:
    console = table_console(sys.stdout)
    facts = report.to_json()
    for line in _overview(facts):
        console.print(line)
    found = [finding for finding in facts["findings"] if finding["n"]]
    if found:
        rows = []
        for finding in found:
            more = ", ..." if finding["n"] > _EXAMPLES else ""
            examples = ", ".join(map(_example, finding["items"][:_EXAMPLES])) + more
            rows.append((finding["kind"], str(finding["n"]), finding["what"], examples, finding["advice"]))
        console.print()
        console.print(table(rows, "finding", "number", "description", "examples", "advice"))
    console.print()
    left_out = [finding["kind"] for finding in found if finding["kind"] in facts["clean"]["left_out"]]
    without = f", without clips found {', '.join(left_out)}" if left_out else ""
    console.print(f"clean list: {facts['clean']['n_clips']} of {counted(report.n_listed, 'clip')}{without}")


def _overview(facts: Mapping[str, Any]) -> list[str]:
    coverage, clips = facts["coverage"], facts["clips"]
    n_damaged = {finding["kind"]: finding["n"] for finding in facts["findings"]}["damaged"]
    beside = f", not counting those of {n_damaged} damaged rows or files" if n_damaged else ""
    lines = [
        f"{facts['data']}: {coverage['found']} of {counted(coverage['listed'], 'listed clip')} found "
        f"({coverage['share']:.1%}){beside}; SHA-256 of their ids {coverage['clip_ids_sha256'][:12]}..."
    ]
    if clips["readable"]:
        lines.append(
            f"{clips['seconds'] / 3600:.2f} h of sound in {counted(clips['readable'], 'readable clip')} of "
            f"{clips['shortest']:.2f} to {clips['longest']:.2f} s, median {clips['median']:.2f} s"
        )
    if clips["sample_rates"]:
        rates = ", ".join(f"{rate} Hz ({n})" for rate, n in clips["sample_rates"].items())
        channels = ", ".join(f"{n_channels} ({n})" for n_channels, n in clips["channels"].items())
        lines.append(f"sample rates: {rates}; {clips['below_32_khz']:.1%} are below 32000 Hz; channels: {channels}")
    return lines


def _example(item: Mapping[str, Any]) -> str:
    """The subject of an item and its distinction from the other items, in a few words."""
    if "label" in item:
        n_clips, where = min([(item["n_clips"], ""), *((n, f" in {split}") for split, n in item["splits"].items())])
        return f"{item['label']} ({n_clips}{where})"
    if "group" in item:
        name = item["clips"][0] if item["group"] is None else item["group"]
        return f"{name} ({', '.join(item['splits'])})"
    if "part" in item:
        return f"{item['part']}: {item['reason']}"
    if "clips" in item:
        return " = ".join(clip["id"] for clip in item["clips"][:_EXAMPLES])
    return str(item["id"])
