"""Writes results/conditions.md and .json: which recording conditions of the training help on degraded clips."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark.data import open_data
from earmark.data.clips import Dataset
from earmark.labels import ESC10
from earmark.storage.json_files import write_json
from earmark.training import TrainConfig, train
from earmark.training.conditions import RecordingConditions
from earmark.training.recipes import recipe
from experiments.degraded import measures
from experiments.steps import RESULTS, commit

KEPT: Final = RESULTS / "conditions.json"
_SHARES: Final = ("background_share", "room_share", "device_share", "codec_share", "clipping_share")
_DEFAULTS: Final = RecordingConditions()


def _alone(name: str) -> dict[str, Any]:
    """Settings of variants with a single condition, at the default share."""
    return {"n_variants": 2} | {share: getattr(_DEFAULTS, share) if share == name else 0.0 for share in _SHARES}


ROWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "nothing": {},
    "level": {"gain_db": 20.0},
    **{name.removesuffix("_share"): _alone(name) for name in _SHARES},
    "all conditions": {"n_variants": 2},
    "all conditions and level": {"n_variants": 2, "gain_db": 20.0},
}
"""Settings of each run beside those that all share."""


def conditions(
    bank: Path | None = None,
    work: Path | None = None,
    *,
    all_labels: bool = False,
    width: int = 8,
    n_clips_seen: int = 8000,
    seed: int = 0,
) -> None:
    """Train a small network with each recording condition and measure it on degraded versions of fold 5.

    Args:
        bank: Folder of ESC-50.
        work: Folder for the runs.
        all_labels: Take all 50 labels, not the ten of ESC-10.
        width: Width of the networks.
        n_clips_seen: Budget of each run.
        seed: Seed of the trainings and of the degradations.
    """
    if (bank is None) != (work is None):
        raise CycloptsError("both BANK and WORK were expected, or neither to write the page again")
    if bank is not None and work is not None:
        base = replace(recipe("esc50"), gain_db=0.0, equalizer_db=0.0, width=width, n_clips_seen=n_clips_seen)
        base = replace(base, n_heads=min(base.n_heads, width), ema_decay=0.99, clips_per_epoch=n_clips_seen, seed=seed)
        labels = None if all_labels else ESC10
        data, held_out = (
            open_data(f"esc50:{bank}").select(splits=splits, labels=labels) for splits in (("1", "2", "3"), ("5",))
        )
        facts = {"labels": 50 if all_labels else 10, "width": width, "n_clips_seen": n_clips_seen, "seed": seed}
        folder = work / "-".join(f"{name}-{value}" for name, value in facts.items())
        write_json(KEPT, {**facts, "commit": commit(), "rows": _measured(base, data, held_out, folder)})
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def _measured(base: TrainConfig, data: Dataset, held_out: Dataset, work: Path) -> dict[str, Any]:
    """The figures of each row; a run that has its figures already is not repeated."""
    rows = {}
    for name, settings in ROWS.items():
        out = work / name.replace(" ", "-")
        figures = out / "degraded.json"
        if not figures.exists():
            print(f"training with {name}", file=sys.stderr)
            has_started = (out / "run.json").exists()
            result = train(replace(base, **settings), data, out, resume=has_started, progress=False)
            write_json(figures, measures(str(result.last), held_out, base.seed))
        rows[name] = json.loads(figures.read_text())
    return rows


def page(results: Mapping[str, Any]) -> str:
    """The page: top-1 of each run on each degradation, and the means."""
    rows = results["rows"]
    names = list(next(iter(rows.values())))
    n_clips = rows["nothing"][names[0]]["n"]
    text = "# Recording conditions in training, measured on degraded clips\n\n"
    text += "Written by `python -m experiments conditions`. "
    text += (
        f"Top-1 on fold 5, {results['labels']} labels, networks of width {results['width']} trained on folds 1 to 3 "
    )
    text += (
        f"with {results['n_clips_seen']:,} clips, seed {results['seed']}. One run each: with {n_clips} test clips the "
    )
    text += f"standard error of a cell is up to {0.5 / np.sqrt(n_clips):.2f}, that of a mean is smaller.\n\n"
    text += f"| training with | mean | mAP, mean | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}\n"
    for name, figures in rows.items():
        top1 = [figures[degradation]["top1"] for degradation in names]
        precision = [figures[degradation]["mAP"] for degradation in names]
        cells = " | ".join(f"{value:.3f}" for value in top1)
        text += f"| {name} | {np.mean(top1[1:]):.3f} | {np.mean(precision[1:]):.3f} | {cells} |\n"
    return text + "\nThe means are over the degradations, without the clips as they are.\n"
