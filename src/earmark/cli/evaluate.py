"""`earmark evaluate`: metrics of a tagger on labelled clips."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number
from rich.table import Table

from earmark import hub
from earmark.cli.clips import select
from earmark.cli.screen import (
    AsJson,
    Quiet,
    bar,
    note,
    progress,
    refuse_overwriting,
    table_console,
    write_json,
)
from earmark.data.audioset import StrongEvent, read_strong_labels
from earmark.data.clips import Dataset
from earmark.inference.tagger import Tagger

if TYPE_CHECKING:
    from earmark.evaluation.detection import Detection
    from earmark.evaluation.report import LabelFigures, Report
    from earmark.model.network import Network

_SHOWN: Final = 60
_FILES: Final = ("report.json", "report.md", "scores.npz", "detection.json")
_JSON_HELP: Final = (
    "Print the content of report.json. A metric without a finite value is null: d_prime if mAUC is 1; top1, the "
    "accuracy of the first tag, unless each clip has exactly one label; and metrics of labels without clips."
)


def evaluate(
    model: str,
    data: str,
    /,
    *,
    split: str | None = None,
    labels: str | None = None,
    strong: Path | None = None,
    out: Path | None = None,
    batch_size: Annotated[int, Parameter(validator=Number(gte=1))] = 16,
    device: str = "cpu",
    json: Annotated[AsJson, Parameter(help=_JSON_HELP)] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a tagger on labelled clips.

    Args:
        model: A .safetensors checkpoint, a .pth of PANNs' Cnn10, or a name.
        data: csv:FILE, folder:DIR, parquet:GLOB, audioset:DIR, fsd50k:DIR, esc50:DIR, soundscapes:DIR or clips:FILE.
        split: Use only these splits, joined by commas; otherwise all clips.
        labels: Use only clips with these labels, as names or ids joined by commas; or esc10.
        strong: Also evaluate event detection against AudioSet's table of strong labels (.tsv).
        out: Folder for report.json, report.md and scores.npz, and with --strong detection.json.
        batch_size: Clips per batch; does not change the metrics.
        device: cpu, cuda, cuda:N or mps.
        quiet: Print only errors on standard error.
    """
    _check_out(out, model, data.partition(":")[2])
    events = None if strong is None else read_strong_labels(strong)
    dataset = select(data, split, labels)
    network = hub.load_network(model)
    from earmark.evaluation.report import evaluate as measure

    with progress("scoring", quiet) as show:
        report = measure(network, dataset, model=model, batch_size=batch_size, progress=show, device=device)
    if out is not None:
        report.save(out)  # first, in case detection fails
        (out / _FILES[-1]).unlink(missing_ok=True)  # from an earlier run
    detection = None if events is None else _detect(network, dataset, events, device, quiet)
    if out is not None:
        if detection is not None:
            detection.save(out)
        note(f"{out}: {', '.join(_FILES if detection is not None else _FILES[:-1])}", quiet)
    if report.failed:
        example = f"{report.failed[0].id}: {report.failed[0].error}"
        note(f"{len(report.failed)} unreadable clips are excluded from the metrics; {example}", quiet)
    if json:
        write_json(report.to_json() | ({} if detection is None else {"detection": detection.to_json()}))
    else:
        _print(report, detection)


def _detect(
    network: "Network", dataset: Dataset, events: Mapping[str, Sequence[StrongEvent]], device: str, quiet: bool
) -> "Detection":
    from earmark.evaluation.detection import detect
    from earmark.inference.torch_engine import TorchEngine

    with progress("scoring timelines", quiet) as show:
        detection = detect(Tagger(TorchEngine(network.to(device))), dataset, events, progress=show)
    if detection.n_clips_without_events:
        note(f"{detection.n_clips_without_events} clips have no strong labels and were skipped", quiet)
    if detection.failed:
        note(f"{len(detection.failed)} clips are excluded from event detection; {detection.failed[0]}", quiet)
    return detection


def _check_out(out: Path | None, *inputs: str) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise CycloptsError(f"--out {out}: expected a folder, this is a file")
    if out is not None:
        for name in _FILES:
            refuse_overwriting(out / name, inputs)


def _print(report: "Report", detection: "Detection | None") -> None:
    console = table_console(sys.stdout)
    low, high = report.mAP_interval
    figures = Table.grid(padding=(0, 2))
    figures.add_row("mAP", _digits(report.mAP), f"95 % interval {_digits(low)} to {_digits(high)}")
    figures.add_row("mAUC", _digits(report.mAUC))
    figures.add_row("d'", _digits(report.d_prime), "of the mAUC")
    if report.top1 is not None:
        figures.add_row("top-1", _digits(report.top1), "accuracy")
    if detection is not None:
        counted = f"{detection.n_events} events of {detection.n_labels} labels in {detection.n_clips} clips"
        if detection.n_events_of_other_labels:
            counted += f"; {detection.n_events_of_other_labels} of labels unknown to the network"
        figures.add_row("PSDS1", _digits(detection.PSDS1), f"exact times; {counted}")
        figures.add_row("PSDS2", _digits(detection.PSDS2), "distinguished labels")
        figures.add_row(
            "F1", _digits(detection.F1), f"of 1 s segments, mean over labels; {_digits(detection.F1_micro)} over all"
        )
    n_labels = f"{report.n_labels_with_positives} of {len(report.labels)} labels"
    figures.add_row("clips", str(len(report.ids)), f"{n_labels} occur; SHA-256 of ids {report.clip_ids_sha256[:12]}...")
    console.print(figures)
    console.print()
    # labels without positives last
    ranked = sorted(report.labels, key=lambda f: (f.n_positive == 0, -f.average_precision if f.n_positive else 0.0))
    table = Table("label", "clips", "average precision", "", "AUC", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for figure in ranked[:_SHOWN]:
        table.add_row(*_cells(figure))
    console.print(table)
    if len(ranked) > _SHOWN:
        console.print(f"and {len(ranked) - _SHOWN} more; --out DIR writes all")


def _cells(figures: "LabelFigures") -> tuple[str, ...]:
    precision, auc = figures.average_precision, figures.auc
    strength = "" if math.isnan(precision) else bar(precision)
    return figures.label, str(figures.n_positive), _digits(precision), strength, _digits(auc)


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
