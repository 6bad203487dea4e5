"""`earmark review`: what a person made of the clips of `earmark clips`."""

import math
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import CycloptsError

from earmark.cli.flags import AsJson, Count, Quiet
from earmark.cli.labels import labels_in, read_thresholds, write_thresholds
from earmark.cli.screen import destination, note, refuse_overwriting, table, table_console, write_json
from earmark.errors import DataError, Limit, counted, first_few
from earmark.labels import LabelSet
from earmark.review.comparison import Comparison, Kind, Verdict, compare
from earmark.review.corrections import write_corrections
from earmark.review.manifest import MANIFEST
from earmark.review.precision import Estimate, LabelPrecision, Proposal, label_precisions, propose
from earmark.review.sampling import band_name

_KINDS: Final[Mapping[Kind, str]] = {
    "confirmed": "where they were cut",
    "corrected": "in the folder of another label",
    "noise": "in _noise",
    "deleted": "deleted",
    "aside": "set aside",
}
_OF_BANDS: Final = ("label", "score", "events", "clips", "right", "precision", "95 % interval")
_OF_PROPOSALS: Final = ("label", "threshold", "precision", "95 % interval", "clips", "right events kept")


def review(
    folder: Path,
    /,
    *,
    labels: str | None = None,
    precision: Annotated[float, Limit(above=0, at_most=1)] = 0.9,
    min_clips: Count = 10,
    thresholds: Path | None = None,
    out: Path | None = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare clips with their manifest.

    Args:
        folder: The folder of `earmark clips`.
        labels: Labels whose clips were listened to, joined by commas; by default all.
        precision: Precision that the proposed thresholds are to reach.
        min_clips: Least number of judged clips that reach a proposed threshold.
        thresholds: Write the proposed thresholds into this file, in the form of `earmark thresholds`.
        out: Write the confirmed, corrected and rejected clips into this .csv file, for `earmark train --add`.
    """
    if out is not None and out.suffix.lower() != ".csv":
        raise CycloptsError(f"--out {out}: a .csv file was expected")
    refuse_overwriting(out, [folder / MANIFEST, *([thresholds] if thresholds is not None else [])])
    compared = compare(folder)
    verdicts = _of_labels(compared, labels)
    found = label_precisions(verdicts)
    proposed = propose(verdicts, precision, min_clips)
    if json:
        write_json(_values(verdicts, found, proposed, precision))
    else:
        _print(folder, verdicts, found, proposed, precision, min_clips)
    if verdicts and all(verdict.kind == "confirmed" for verdict in verdicts):
        note(
            "note: no clip of these labels was moved or deleted, so all count as right; unless somebody listened to "
            "them, the figures mean nothing",
            quiet,
        )
    if compared.others:
        shown = first_few([str(path.relative_to(folder)) for path in compared.others])
        n_others = counted(len(compared.others), "recording")
        note(f"note: the manifest lacks {n_others} in the folder, which count for nothing: {shown}", quiet)
    if thresholds is not None:
        _write_thresholds(thresholds, proposed, precision, min_clips, quiet)
    if out is not None:
        written = write_corrections(out, folder, verdicts, compared.labels)
        counts = ", ".join(f"{n} {kind}" for kind, n in written._asdict().items() if kind != "missing")
        note(f"{out}: {counts}", quiet)
        if written.missing:
            note(f"note: left out {counted(written.missing, 'deleted clip')} without a recording", quiet)


def _of_labels(compared: Comparison, labels: str | None) -> list[Verdict]:
    there = sorted({verdict.row.label for verdict in compared.verdicts})
    if labels is None or not there:
        return list(compared.verdicts)
    wanted = labels_in(labels, LabelSet(tuple(there)))
    if unknown := sorted(set(wanted) - set(there)):
        raise DataError(f"no clip was cut for {first_few(unknown)}; the labels are {', '.join(there)}")
    return [verdict for verdict in compared.verdicts if verdict.row.label in wanted]


def _print(
    folder: Path,
    verdicts: list[Verdict],
    found: list[LabelPrecision],
    proposed: dict[str, Proposal | None],
    precision: float,
    min_clips: int,
) -> None:
    console = table_console(sys.stdout)
    n_of = Counter(verdict.kind for verdict in verdicts)
    kinds = ", ".join(f"{n_of[kind]} {where}" for kind, where in _KINDS.items() if n_of[kind])
    console.print(f"{folder}: {counted(len(verdicts), 'clip')}: {kinds}", soft_wrap=True)
    if not found:
        return
    rows = []
    for own in found:
        rows.append((own.label, "all", own.n_events, own.n_clips, own.n_right, own.precision))
        rows += [("", band_name(b.band), b.n_events, b.n_clips, b.n_right, b.precision) for b in own.bands]
    console.print()
    console.print(table([(*map(str, row[:5]), *_cells(row[5])) for row in rows], *_OF_BANDS))
    console.print(
        "Wilson's intervals; all: the mean over the bands by their events in the table, with the combined interval",
        soft_wrap=True,
    )
    console.print()
    proposals = []
    for label, proposal in proposed.items():
        if proposal is None:
            proposals.append((label, "none", "", "", "", ""))
        else:
            threshold, estimate, n_clips, kept = proposal
            proposals.append((label, f"{_rounded_down(threshold):g}", *_cells(estimate), str(n_clips), f"{kept:.0%}"))
    console.print(f"lowest threshold with a precision of {precision:g}:")
    console.print(table(proposals, *_OF_PROPOSALS))
    if None in proposed.values():
        console.print(f"none: {_no_threshold(min_clips, precision)}", soft_wrap=True)


def _rounded_down(threshold: float) -> float:
    """The threshold with four digits, which the clip that gave it still reaches."""
    return math.floor(round(threshold * 1e4, 6)) / 1e4


def _cells(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _values(
    verdicts: list[Verdict], found: list[LabelPrecision], proposed: dict[str, Proposal | None], precision: float
) -> dict[str, Any]:
    def facts(estimate: Estimate) -> dict[str, Any]:
        return {"precision": estimate.value, "interval": [estimate.low, estimate.high]}

    def proposal(label: str) -> dict[str, Any] | None:
        own = proposed[label]
        if own is None:
            return None
        return {"threshold": own.threshold, **facts(own.precision), "n_clips": own.n_clips, "kept": own.kept}

    n_of = Counter(verdict.kind for verdict in verdicts)
    return {
        "n_clips": len(verdicts),
        **{f"n_{kind}": n_of[kind] for kind in _KINDS},
        "wanted_precision": precision,
        "labels": [
            {
                "label": own.label,
                "n_events": own.n_events,
                "n_clips": own.n_clips,
                "n_right": own.n_right,
                **facts(own.precision),
                "bands": [
                    {
                        "score": band_name(band.band),
                        "n_events": band.n_events,
                        "n_clips": band.n_clips,
                        "n_right": band.n_right,
                        **facts(band.precision),
                    }
                    for band in own.bands
                ],
                "proposal": proposal(own.label),
            }
            for own in found
        ],
    }


def _write_thresholds(
    path: Path, proposed: dict[str, Proposal | None], precision: float, min_clips: int, quiet: bool
) -> None:
    """Writes the proposals; an existing file keeps the lines of labels that were not reviewed."""
    before = read_thresholds(path) if path.exists() else {}
    before = {label: own for label, own in before.items() if proposed.get(label, own) is not None}
    found = {label: _rounded_down(own.threshold) for label, own in proposed.items() if own is not None}
    if written := {**before, **found}:
        with destination(path) as stream:
            write_thresholds(written, stream)
        note(f"{path}: {counted(len(found), 'threshold')}", quiet)
    else:  # a file without a line is no file of thresholds
        path.unlink(missing_ok=True)
        note(f"{path}: not kept, since no label has a threshold", quiet)
    if missing := [label for label, own in proposed.items() if own is None]:
        without = f"{_no_threshold(min_clips, precision)}: {first_few(missing)}"
        note(f"note: {without}; the model's own thresholds stay for these", quiet)


def _no_threshold(min_clips: int, precision: float) -> str:
    return f"no threshold with at least {counted(min_clips, 'judged clip')} above it has a precision of {precision:g}"
