"""`earmark evaluate`: metrics of a tagger on labelled clips."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from earmark import hub
from earmark.cli import screen
from earmark.cli.flags import (
    FOLDER,
    AsJson,
    BatchSize,
    Data,
    Device,
    Labels,
    LabelSeparator,
    Quiet,
    Split,
)
from earmark.cli.selection import ClipsOfEvents, check_annotated, note_unlabelled, select
from earmark.data import ANNOTATED, EventClips
from earmark.data.annotated import read_recordings
from earmark.data.audioset import StrongEvent, read_strong_labels
from earmark.data.clips import Dataset
from earmark.errors import counted
from earmark.inference.tagger import Tagger

if TYPE_CHECKING:
    from earmark.evaluation.detection import Detection
    from earmark.evaluation.report import Report
    from earmark.model.network import Network

_CLIPS: Final = EventClips()
_SHOWN: Final = 60
_FILES: Final = ("report.json", "report.md", "scores.npz", "detection.json")
_JSON_HELP: Final = (
    "Print the content of report.json. A metric without a finite value is null: d_prime if mAUC is 1; top1, the "
    "accuracy of the first tag, unless each clip has exactly one label; and metrics of labels without clips."
)


def evaluate(
    model: str,
    data: Data,
    /,
    *,
    split: Split = None,
    labels: Labels = None,
    label_separator: LabelSeparator = None,
    event_clips: ClipsOfEvents = _CLIPS,
    long_clips: Literal["whole", "windows"] = "whole",
    strong: str | None = None,
    out: Annotated[Path | None, FOLDER] = None,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    json: Annotated[AsJson, Parameter(help=_JSON_HELP)] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a tagger on labelled clips.

    Args:
        model: A .safetensors checkpoint, weights of a published model, or a name.
        long_clips: Pool clips longer than the training clips whole, or score them by their best windows as tag does.
        strong: Also evaluate event detection against AudioSet's strong labels (.tsv), raven:DIR or soundscapes:DIR.
        out: Folder for report.json, report.md and scores.npz, and with --strong detection.json.
    """
    if out is not None:
        for name in _FILES:
            screen.refuse_overwriting(out / name, [model, data.partition(":")[2]])
    dataset = select(data, split, labels, label_separator=label_separator, event_clips=event_clips)
    recordings, events = (dataset, None) if strong is None else _true_events(strong, dataset, event_clips)
    check_annotated(event_clips, data, strong)
    network = hub.load_network(model) if events is not None else None  # a head cannot detect events
    stages = network if network is not None else hub.load_stages(model)
    from earmark.evaluation.report import evaluate as measure

    with screen.progress("scoring", quiet) as show:
        report = measure(
            stages,
            dataset,
            model=model,
            batch_size=batch_size,
            progress=show,
            device=device,
            long_clips=long_clips,
        )
    if out is not None:
        report.save(out)  # first, in case detection fails
        (out / _FILES[-1]).unlink(missing_ok=True)  # from an earlier run
    detection = None
    if network is not None and events is not None:
        detection = _detect(network, recordings, events, device, quiet)
    if out is not None:
        if detection is not None:
            detection.save(out)
        screen.note(f"{out}: {', '.join(_FILES if detection is not None else _FILES[:-1])}", quiet)
    _note_unusual_clips(report, dataset, quiet)
    if json:
        screen.write_json(report.to_json() | ({} if detection is None else {"detection": detection.to_json()}))
    else:
        _print(report, detection)


def _true_events(
    strong: str, dataset: Dataset, event_clips: EventClips
) -> tuple[Dataset, Mapping[str, Sequence[StrongEvent]]]:
    """The clips whose events are known, and the events by the id of their clip."""
    source, _, path = strong.partition(":")
    if source == "soundscapes" and path:
        source, path = "dcase", str(Path(path) / "truth.tsv")
    if source in ANNOTATED and path:
        return read_recordings(source, path, event_clips)
    return dataset, read_strong_labels(Path(strong))


def _note_unusual_clips(report: "Report", dataset: Dataset, quiet: bool) -> None:
    note_unlabelled([dataset], quiet)
    if report.n_long_clips and report.long_clips == "whole":
        screen.note(
            f"note: {counted(report.n_long_clips, 'clip')} pooled whole although longer than the training clips; "
            "`earmark tag` scores the best windows, and so does --long-clips windows",
            quiet,
        )
    if report.failed:
        example = f"{report.failed[0].id}: {report.failed[0].error}"
        screen.note(f"excluded from the metrics: {counted(len(report.failed), 'unreadable clip')}; {example}", quiet)


def _detect(
    network: "Network", dataset: Dataset, events: Mapping[str, Sequence[StrongEvent]], device: str, quiet: bool
) -> "Detection":
    from earmark.evaluation.detection import detect
    from earmark.inference.torch_engine import TorchEngine, torch_device

    with screen.progress("scoring timelines", quiet) as show:
        detection = detect(Tagger(TorchEngine(network.to(torch_device(device)))), dataset, events, progress=show)
    if detection.n_clips_without_events:
        screen.note(f"skipped: {counted(detection.n_clips_without_events, 'clip')} without strong labels", quiet)
    if detection.failed:
        n_failed = counted(len(detection.failed), "clip")
        screen.note(f"excluded from event detection: {n_failed}; {detection.failed[0]}", quiet)
    return detection


def _print(report: "Report", detection: "Detection | None") -> None:
    console = screen.table_console(sys.stdout)
    low, high = report.mAP_interval
    metrics = [
        ("mAP", _digits(report.mAP), f"95 % interval {_digits(low)} to {_digits(high)}"),
        ("mAUC", _digits(report.mAUC), ""),
        ("d'", _digits(report.d_prime), "of the mAUC"),
    ]
    if report.top1 is not None:
        metrics.append(("top-1", _digits(report.top1), "accuracy"))
    if detection is not None:
        events, labels, clips = (
            counted(n, noun)
            for n, noun in ((detection.n_events, "event"), (detection.n_labels, "label"), (detection.n_clips, "clip"))
        )
        measured = f"{events} of {labels} in {clips}"
        if detection.n_events_of_other_labels:
            measured += f"; {detection.n_events_of_other_labels} of labels unknown to the network"
        averages = f"of 1 s segments, mean over labels; {_digits(detection.F1_micro)} over all"
        metrics += [
            ("PSDS1", _digits(detection.PSDS1), f"exact times; {measured}"),
            ("PSDS2", _digits(detection.PSDS2), "distinguished labels"),
            ("F1", _digits(detection.F1), averages),
            (
                "event F1",
                _digits(detection.F1_events),
                f"within 0.2 s; {counted(detection.n_detected, 'event')} detected",
            ),
        ]
    n_labels = f"{report.n_labels_with_positives} of {len(report.labels)} labels"
    metrics.append(
        ("clips", str(len(report.ids)), f"{n_labels} occur; SHA-256 of ids {report.clip_ids_sha256[:12]}...")
    )
    console.print(screen.table(metrics))
    console.print()
    # labels without positives last
    ranked = sorted(report.labels, key=lambda f: (f.n_positive == 0, -f.average_precision if f.n_positive else 0.0))
    rows = [
        (f.label, str(f.n_positive), _digits(f.average_precision), _bar(f.average_precision), _digits(f.auc))
        for f in ranked[:_SHOWN]
    ]
    console.print(screen.table(rows, "label", "clips", "average precision", "", "AUC"))
    if len(ranked) > _SHOWN:
        console.print(f"and {len(ranked) - _SHOWN} more; --out DIR writes all")


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _bar(value: float) -> str:
    return "" if math.isnan(value) else screen.bar(value)
