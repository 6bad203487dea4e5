"""`earmark doctor`: faults of a data set, before the training."""

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import CycloptsError, Parameter

from earmark.cli.clips import select, split_words
from earmark.cli.flags import AsJson, Jobs, Quiet
from earmark.cli.screen import check_folder, in_flags, note, progress, report_error, table, table_console, write_json
from earmark.doctor.kinds import KEPT, LEFT_OUT, Limits
from earmark.errors import ConfigError, DataError

if TYPE_CHECKING:
    from earmark.doctor.report import Report

_DEFAULTS: Final = Limits()
_EXAMPLES: Final = 3
_KEEP_HELP: Final = (
    f"Kinds of finding that count as clean, joined by commas: {', '.join(LEFT_OUT)}. With --strict, these and "
    f"{', '.join(KEPT)} are no fault if they are named here."
)


def doctor(
    data: str,
    /,
    *,
    out: Path,
    split: str | None = None,
    labels: str | None = None,
    jobs: Jobs = None,
    min_seconds: float = _DEFAULTS.min_seconds,
    silent_dbfs: float = _DEFAULTS.silent_dbfs,
    clipped_share: float = _DEFAULTS.clipped_share,
    min_clips: int = _DEFAULTS.min_clips,
    keep: Annotated[str, Parameter(help=_KEEP_HELP)] = "",
    drop: str = "",
    strict: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[AsJson, Parameter(help="Print the content of report.json.")] = False,
    quiet: Quiet = False,
) -> int:
    """Find the problems of a data set.

    Args:
        data: csv:FILE, folder:DIR, parquet:GLOB, audioset:DIR, fsd50k:DIR, esc50:DIR, soundscapes:DIR or clips:FILE.
        out: Folder of the report: new, empty, or with an earlier report.
        split: Splits of DATA to examine, joined by commas; by default all.
        labels: Labels whose clips are examined, names or ids joined by commas, or esc10; by default all.
        min_seconds: Shorter clips are reported as short; 0.2 s is half a segment of the paper's network.
        silent_dbfs: Clips with a peak below this level (dB relative to full scale) are reported as silent.
        clipped_share: Clips with this fraction of samples in runs of 3 or more at full scale are reported as clipped.
        min_clips: Labels with fewer clean clips, in all or in a split, are reported as rare.
        drop: Kinds of finding that are not clean either, joined by commas: ends-early, clipped, warned.
        strict: Exit with status 1 if anything is found; for automatic checks.
    """
    try:
        kinds = frozenset(split_words(keep)), frozenset(split_words(drop))
        limits = Limits(min_seconds, silent_dbfs, clipped_share, min_clips, *kinds)
    except ConfigError as error:
        raise CycloptsError(in_flags(error)) from error
    check_folder(out)
    dataset = select(data, split, labels, lenient=True)
    from earmark.doctor.checkup import doctor as examine

    narrowed = None if labels is None else dataset.labels.names
    try:
        with progress("examining", quiet) as show:
            report = examine(dataset, data, out, limits, narrowed, jobs, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; finished work is kept, and the same command continues") from None
    if json:
        write_json(report.to_json())
    else:
        _print(report)
    if not report.clean_ids:
        raise DataError(f"none of the {report.n_listed} clips is clean; the findings are in {out}")
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
    console.print(f"clean list: {facts['clean']['n_clips']} of {report.n_listed} clips{without}")


def _overview(facts: Mapping[str, Any]) -> list[str]:
    coverage, clips = facts["coverage"], facts["clips"]
    n_damaged = {finding["kind"]: finding["n"] for finding in facts["findings"]}["damaged"]
    beside = f", not counting those of {n_damaged} damaged rows or files" if n_damaged else ""
    lines = [
        f"{facts['data']}: {coverage['found']} of {coverage['listed']} listed clips are there "
        f"({coverage['share']:.1%}){beside}; SHA-256 of their ids {coverage['clip_ids_sha256'][:12]}..."
    ]
    if clips["readable"]:
        lines.append(
            f"{clips['seconds'] / 3600:.2f} h of sound in {clips['readable']} readable clips of "
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
