"""Writes results/thresholds.md and .json: shrinkages of the thresholds of labels.

Scale, offset and thresholds are fitted to half of the clips, as `earmark calibrate` does it; the tags of the other half
are counted.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import Dataset, open_data
from earmark.evaluation.calibration import Calibration, fit
from earmark.evaluation.report import Report, evaluate
from earmark.evaluation.thresholds import logits_of
from earmark.labels import LabelSet
from earmark.model.head import Stages
from earmark.storage.json_files import write_json
from experiments.esc50_head import SOUNDSCAPES
from experiments.free_audio import Recording, nothing_rows, read_index, write_clips
from experiments.scenes import mix, soundscape_rows
from experiments.steps import RESULTS, commit

KEPT: Final = RESULTS / "thresholds.json"
SHRINKAGES: Final = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 1e9)
"""Shrinkages that are compared; with the last, all labels have the pooled threshold."""
N_SPLITS: Final = 20
"""Random splits into halves; each half fits once and is measured once."""
FIGURES: Final = {
    "F1": "F1 of all tags",
    "mean_F1": "F1, mean over labels",
    "precision": "precision",
    "recall": "recall",
    "soundscapes": "soundscapes: F1 of all tags",
    "false_tags": "false tags a recording",
}


@dataclass(frozen=True)
class Scored:
    """Reports of one model, as `calibrate` scores clips."""

    labels: LabelSet
    clips: Report
    groups: np.ndarray
    """Group of each clip; clips of a group stay together."""
    soundscapes: Report
    known_nothing: Report
    """Held-out speech and music that the thresholds are fitted to."""
    other_nothing: Report
    """Held-out speech and music that is measured."""


Half = tuple[Report, Report]
"""Reports of half of the clips and half of the soundscapes."""


def thresholds(bank: Path | None = None, audio: Path | None = None, work: Path | None = None, *models: str) -> None:
    """Compare shrinkages of the thresholds of labels.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        work: Folder for soundscapes and tables.
        models: Models with ESC-50's labels that were not trained on fold 5.
    """
    if bank is not None and audio is not None and work is not None and models:
        if len({Path(model).stem for model in models}) < len(models):
            raise CycloptsError("MODELS with different names were expected: each names a table of the page")
        work.mkdir(parents=True, exist_ok=True)
        found = {}
        for model in models:
            scored = score(hub.load_stages(model), bank.resolve(), audio.resolve(), work.resolve())
            found[Path(model).stem] = compare(scored)
        write_json(KEPT, {"commit": commit(), "models": found})
    elif models or any(value is not None for value in (bank, audio, work)):
        raise CycloptsError("BANK, AUDIO, WORK and MODELS were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")


def score(network: Stages, bank: Path, audio: Path, work: Path) -> Scored:
    """The reports of a model."""
    clips = open_data(f"esc50:{bank}").select(splits=("5",))
    seed, *durations, n_clips = SOUNDSCAPES["mixed5"]
    words = ("--n-clips", n_clips, "--seed", seed, "--event-duration", *durations, "--sample-rate", 16000)
    mixed = mix(bank, work, "mixed5", 5, *words)
    # with soundscapes, which are left out below, the table has all labels
    rows = [*soundscape_rows(mixed), *nothing_rows(row for row in read_index(audio) if fits(row))]
    write_clips(rows, work / "nothing.csv")
    nothing = open_data(f"csv:{work / 'nothing.csv'}")

    def scored(data: Dataset) -> Report:
        return evaluate(network, data, long_clips="windows")

    return Scored(
        network.labels,
        scored(clips),
        np.array([clip.group for clip in clips]),
        scored(open_data(f"soundscapes:{mixed}")),
        scored(nothing.select(splits=("5",))),
        scored(nothing.select(splits=("test",))),
    )


def fits(row: Recording) -> bool:
    """Whether a recording is used: test recordings always; others that thresholds are fitted to, unless share-alike."""
    return row.split == "test" or (row.split == "valid" and "SA" not in row.licence)


def compare(scored: Scored) -> list[dict[str, float]]:
    """The figures of each shrinkage, means over the halves."""
    rows = []
    for shrinkage in SHRINKAGES:
        each = defaultdict(list)
        for known, other in halves(scored):
            found = fit([*known, scored.known_nothing], scored.labels, shrinkage)
            for name, value in count_tags(found, *other, scored.other_nothing).items():
                each[name].append(value)
        rows.append({"shrinkage": shrinkage, **{name: fmean(values) for name, values in each.items()}})
    return rows


def halves(scored: Scored) -> Iterator[tuple[Half, Half]]:
    """Pairs of halves, one to fit and one to measure; the same at each call."""
    rng = np.random.default_rng(0)
    names = np.unique(scored.groups)
    for _ in range(N_SPLITS):
        in_half = np.isin(scored.groups, rng.permutation(names)[: len(names) // 2])
        mixed = rng.permutation(len(scored.soundscapes.ids)) % 2 == 0
        first = (part(scored.clips, in_half), part(scored.soundscapes, mixed))
        second = (part(scored.clips, ~in_half), part(scored.soundscapes, ~mixed))
        yield first, second
        yield second, first


def part(report: Report, rows: np.ndarray) -> Report:
    """The report of some of the clips, without metrics of its own."""
    ids = tuple(name for name, is_in in zip(report.ids, rows, strict=True) if is_in)
    return replace(report, ids=ids, scores=report.scores[rows], target=report.target[rows])


def count_tags(found: Calibration, clips: Report, soundscapes: Report, nothing: Report) -> dict[str, float]:
    """Figures of the tags of clips, soundscapes and recordings in which none of the sounds is expected."""
    tags, target = tags_of(found, clips), clips.target
    n_right, used = (tags & target).sum(0), target.any(0)
    n_tags, n_true = tags.sum(0), target.sum(0)
    in_scenes, scenes = tags_of(found, soundscapes), soundscapes.target
    return {
        "F1": float(2 * n_right.sum() / (n_tags.sum() + n_true.sum())),
        "mean_F1": float((2 * n_right / (n_tags + n_true).clip(min=1))[used].mean()),
        "precision": float(n_right.sum() / max(1, n_tags.sum())),
        "recall": float(n_right.sum() / n_true.sum()),
        "soundscapes": float(2 * (in_scenes & scenes).sum() / (in_scenes.sum() + scenes.sum())),
        "false_tags": float(tags_of(found, nothing).sum(1).mean()),
    }


def tags_of(found: Calibration, report: Report) -> np.ndarray:
    """Whether each label of each clip is a tag after calibration."""
    logits = found.scale * logits_of(report.scores) + found.offset
    limits = dict(zip(found.labels, found.thresholds, strict=True))
    limit = np.array([limits[figures.label] for figures in report.labels])
    tags: np.ndarray = logits >= logits_of(limit)
    return tags


def page(found: Mapping[str, Any]) -> str:
    """The page: one table for each model."""
    text = (
        "# Shrinkage of thresholds\n\n"
        f"Written by `python -m experiments thresholds`, commit {found['commit']}. A label's threshold is the weighted "
        "mean, in log-odds, of the one with the best F1 of the label and of the one with the best F1 of all tags "
        "together. The weights are the number of the label's clips and the shrinkage. Scale, offset and thresholds "
        "were fitted to half of the clips of fold 5, half of 600 soundscapes of it, and held-out recordings of speech "
        f"and music; the other halves were measured. Figures are means over {N_SPLITS} random splits; each half was "
        "used once for fitting and once for measuring. Clips of one original recording stay together. A soundscape may "
        "contain sounds of clips in the other half, which favours "
        "low shrinkage. False tags are those on other held-out recordings of speech and music. three-folds is [the "
        "student](esc50-student.md) with a teacher from the start, teacher the head on mn04 that taught it.\n"
    )
    for name, rows in found["models"].items():
        text += f"\n## {name}\n\n| shrinkage | {' | '.join(FIGURES.values())} |\n|---:|{'---:|' * len(FIGURES)}\n"
        for row in rows:
            shown = "all labels alike" if row["shrinkage"] == max(SHRINKAGES) else f"{row['shrinkage']:g}"
            text += f"| {shown} | {' | '.join(f'{row[key]:.3f}' for key in FIGURES)} |\n"
    return text
