"""`earmark calibrate`: fits scores and thresholds to held-out clips."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError

from earmark import hub
from earmark.cli.flags import AsJson, BatchSize, Device, LabelSeparator, Quiet
from earmark.cli.screen import note, progress, refuse_overwriting, say, table, table_console, write_json
from earmark.cli.selection import ClipsOfEvents, check_annotated, choose_clips, note_unlabelled
from earmark.data import Dataset, EventClips, open_data
from earmark.errors import DataError, Limit, counted

if TYPE_CHECKING:
    from earmark.evaluation.calibration import Calibration

_CLIPS: Final = EventClips()
_ROWS = (
    ("expected calibration error", "expected_calibration_error"),
    ("cross entropy", "cross_entropy"),
    ("F1, mean over labels", "f1_macro"),
    ("F1, all tags together", "f1_micro"),
)


def calibrate(
    model: str,
    data: list[str] | None = None,
    /,
    *,
    out: Path,
    like: str | None = None,
    split: str | None = None,
    label_separator: LabelSeparator = None,
    event_clips: ClipsOfEvents = _CLIPS,
    shrinkage: Annotated[float | None, Limit(at_least=0)] = None,
    batch_size: BatchSize = 16,
    device: Device = "cpu",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fit a tagger's scores and thresholds to held-out clips.

    Args:
        model: A .safetensors checkpoint, weights of a published model, or a name; it is not changed.
        data: Sources and paths, as for `earmark evaluate`, such as folder:DIR. Each has the same weight.
        out: The calibrated checkpoint to write; not MODEL itself.
        like: Instead of DATA, copy the calibration of a checkpoint that was trained with the same settings.
        split: Use only these splits, joined by commas, of each DATA that has splits; otherwise all clips.
        shrinkage: Clips of a label at which its own threshold and the pooled one weigh the same; 40 by default.
    """
    if out.suffix != ".safetensors" or out.is_dir():
        raise CycloptsError(f"--out: expected a .safetensors file, got {out}")
    refuse_overwriting(out, [model, *([like] if like is not None else [])])
    if like is not None and shrinkage is not None:
        raise CycloptsError("--shrinkage applies to thresholds fitted to DATA; leave it out with --like")
    if like is not None and not data:
        if split is not None:
            raise CycloptsError("--split selects clips of DATA; leave it out with --like")
        _copy(model, like, out, json)
        return
    if like is not None or not data:
        raise CycloptsError("expected either DATA to calibrate on, or --like with a calibrated checkpoint")
    check_annotated(event_clips, *data)
    datasets = _select(data, split, label_separator, event_clips)
    note_unlabelled(datasets, quiet)
    network = hub.load_stages(model)
    from earmark.evaluation.calibration import SHRINKAGE, apply
    from earmark.evaluation.calibration import calibrate as fit

    with progress("scoring", quiet) as show:
        pull = SHRINKAGE if shrinkage is None else shrinkage
        calibration = fit(network, datasets, shrinkage=pull, batch_size=batch_size, progress=show, device=device)
    apply(network, calibration).save(out)
    if calibration.failed:
        first = calibration.failed[0]
        note(f"left out: {counted(len(calibration.failed), 'unreadable clip')}; {first.error}", quiet)
    if json:
        write_json({"model": model, "out": str(out), **calibration.to_json()})
    else:
        _print(calibration)
        say(f"\n{out}")


def _copy(model: str, like: str, out: Path, json: bool) -> None:
    network, calibrated = hub.load_stages(model), hub.load_stages(like)
    from earmark.evaluation.calibration import apply_like

    copied = apply_like(network, calibrated)
    copied.save(out)
    if json:
        write_json({"model": model, "out": str(out), "like": like, **copied.extra["calibration"]})
    else:
        say(str(out))


def _select(data: list[str], splits: str | None, label_separator: str | None, event_clips: EventClips) -> list[Dataset]:
    datasets = [open_data(spec, label_separator=label_separator, event_clips=event_clips) for spec in data]
    if splits is None:
        return datasets
    if not any(dataset.splits for dataset in datasets):
        raise DataError(f"--split {splits}: none of {', '.join(data)} has splits; leave it out")
    return [choose_clips(dataset, splits) if dataset.splits else dataset for dataset in datasets]


def _print(calibration: "Calibration") -> None:
    console = table_console(sys.stdout)
    rows = [
        (title, f"{getattr(calibration.before, name):.4f}", f"{getattr(calibration.after, name):.4f}")
        for title, name in _ROWS
    ]
    console.print(table(rows, "", "before", "after"))
    console.print()
    n_clips = " + ".join(str(clips.n_clips) for clips in calibration.data)
    low, high = min(calibration.thresholds), max(calibration.thresholds)
    console.print(f"logit' = {calibration.scale:.4g} * logit {calibration.offset:+.4g}, on {n_clips} clips")
    console.print(f"thresholds from {low:.3f} to {high:.3f} (0.5 before); pooled: {calibration.pooled_threshold:.3f}")
    if calibration.n_pooled:
        without = f"{calibration.n_pooled} of {len(calibration.labels)} labels have no clips"
        console.print(f"{without} and get the pooled threshold")
    console.print("F1 was measured on the clips of the fit; on other clips it is lower")
