"""Writes results/zero-shot.md and .json: a network with AudioSet's labels on ESC-50, and the overlap of its windows."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import FileAudio, open_data
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.tagger import Tagger
from earmark.labels import LabelSet
from experiments.esc50_labels import IN_AUDIOSET, in_esc50
from experiments.steps import RESULTS, commit, earmark

KEPT: Final = RESULTS / "zero-shot.json"
OVERLAPS: Final = (0.0, 0.25, 0.5, 0.75)
N_TAGGED: Final = 10
"""Clips whose tags are shown."""
SECONDS: Final = 40
"""Length of a soundscape."""
WINDOW: Final = 0.96
"""Seconds, three segments, of the windows of the timelines."""


def zero_shot(
    bank: Path | None = None, work: Path | None = None, model: Path | None = None, *, n_mixed: int = 40
) -> None:
    """Measure a network with AudioSet's labels on ESC-50, and the overlap of its windows on soundscapes.

    Args:
        bank: Folder of ESC-50.
        work: Folder for the soundscapes.
        model: Weights of a published model, such as mn04_as_mAP_432.pt.
        n_mixed: Number of soundscapes.
    """
    if bank is not None and work is not None and model is not None:
        work.mkdir(parents=True, exist_ok=True)
        tagger = hub.load(model)
        results = {"model": model.name, "commit": commit(), **on_clips(tagger, bank)}
        results["overlaps"] = on_soundscapes(tagger, mix(bank.resolve(), work, n_mixed))
        KEPT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    elif bank is not None or work is not None or model is not None:
        raise CycloptsError("BANK, WORK and MODEL were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def on_clips(tagger: Tagger, bank: Path) -> dict[str, Any]:
    """Top-1 and mAP on fold 5, the same for each class, and the tags of some clips."""
    clips = open_data(f"esc50:{bank}").select(splits=("5",))
    scores = np.stack([tagger.score(clip.load(tagger.sample_rate)).scores for clip in clips])
    order = [clips.labels.names.index(name) for name in LabelSet.esc50().names]
    target = clips.targets()[:, order]
    found, truth = in_esc50(scores, tagger.labels), target.argmax(1)
    precision = average_precision(target, found)
    tagged = np.linspace(0, len(clips) - 1, N_TAGGED).round().astype(int).tolist()
    return {
        "n_clips": len(clips),
        "top1": float((found.argmax(1) == truth).mean()),
        "mAP": label_mean(precision),
        "classes": {
            name: [float((found[truth == i].argmax(1) == i).mean()), float(precision[i])]
            for i, name in enumerate(LabelSet.esc50().names)
        },
        "tags": {clips[i].id: _best(tagger, scores[i]) for i in tagged},
    }


def _best(tagger: Tagger, scores: np.ndarray) -> list[list[Any]]:
    return [[tagger.labels.names[i], round(float(scores[i]), 3)] for i in np.argsort(-scores)[:3].tolist()]


def mix(bank: Path, work: Path, n_mixed: int) -> Path:
    """Mixes soundscapes of fold 5 and returns their folder."""
    events = ["--n-events", 4, 10, "--event-duration", 0.5, 4, "--duration", SECONDS]
    words = ["--split", 5, "--n-clips", n_mixed, "--seed", 16, *events, "--quiet"]
    earmark("soundscapes", f"esc50:{bank}", f"mixed{n_mixed}", *words, folder=work)
    return work / f"mixed{n_mixed}"


def on_soundscapes(tagger: Tagger, folder: Path) -> dict[str, dict[str, float]]:
    """mAP over the windows of timelines, and over recordings, for each overlap; `whole` encodes a recording at once."""
    clips = open_data(f"soundscapes:{folder}")
    paths = [Path(clip.audio.path) for clip in clips if isinstance(clip.audio, FileAudio)]
    with (folder / "truth.tsv").open(newline="", encoding="utf-8") as file:
        events = list(csv.DictReader(file, delimiter="\t"))
    truth = np.concatenate([active(events, path.name) for path in paths])
    target = clips.targets()[:, [clips.labels.names.index(name) for name in LabelSet.esc50().names]]
    results: dict[str, dict[str, float]] = {}
    for overlap in OVERLAPS:
        tagger.engine.overlap = overlap
        tags = np.stack([in_esc50(tagger.score(path).scores, tagger.labels) for path in paths])
        windows = _timelines(tagger, paths)
        results[f"{overlap:g}"] = {
            "windows": label_mean(average_precision(truth, windows)),
            "recordings": label_mean(average_precision(target, tags)),
        }
        print(f"{overlap:g}: {results[f'{overlap:g}']}", file=sys.stderr)
    tagger.engine.clip_duration = 2.0 * SECONDS  # a window longer than the recordings
    results["whole"] = {"windows": label_mean(average_precision(truth, _timelines(tagger, paths)))}
    return results


def _timelines(tagger: Tagger, paths: Sequence[Path]) -> np.ndarray:
    rows = [tagger.timeline(path, window=WINDOW, hop=WINDOW).scores for path in paths]
    return in_esc50(np.concatenate(rows), tagger.labels)


def active(events: Sequence[dict[str, str]], file: str) -> np.ndarray:
    """Whether each class sounds in each window of a timeline: (window, class)."""
    names = LabelSet.esc50().names
    truth = np.zeros((int(np.ceil(SECONDS / WINDOW)), len(names)), np.float32)
    for event in events:
        if Path(event["filename"]).name == file:
            first, last = float(event["onset"]) // WINDOW, (float(event["offset"]) - 1e-6) // WINDOW
            truth[int(first) : int(last) + 1, names.index(event["event_label"])] = 1
    return truth


def page(results: dict[str, Any]) -> str:
    """The page: figures on clips, of the overlaps, tags of clips, and the classes with their labels."""
    text = (
        "# A network with AudioSet's labels on ESC-50\n\n"
        f"Written by `python -m experiments zero-shot`. The model is {results['model']} (commit {results['commit']}); "
        "nothing was trained on ESC-50. A class scores as its best label in the table at the end, which was written "
        f"before the measurement. On the {results['n_clips']} clips of fold 5: **top-1 {results['top1']:.3f}, mAP "
        f"{results['mAP']:.3f}**.\n\n## Overlap of the windows\n\n"
        f"Soundscapes of {SECONDS} s, each with 4 to 10 sounds of fold 5, encoded in windows of 10 s. Timelines have "
        f"windows of {WINDOW:g} s. The work grows as 1 / (1 - overlap).\n\n"
        "| overlap | mAP over the windows of timelines | mAP over recordings |\n|---|---:|---:|\n"
    )
    for name, row in results["overlaps"].items():
        title = "encoded at once, without windows" if name == "whole" else name
        text += (
            f"| {title} | {row['windows']:.3f} | {format(row['recordings'], '.3f') if 'recordings' in row else '-'} |\n"
        )
    text += "\n## Tags of ten clips\n\n| clip | three best labels |\n|---|---|\n"
    for clip, tags in results["tags"].items():
        text += f"| {clip} | {', '.join(f'{label} {score:.3f}' for label, score in tags)} |\n"
    text += (
        "\n## Classes\n\n| class | labels of AudioSet | recall at top-1 | average precision |\n|---|---|---:|---:|\n"
    )
    for name, (recall, precision) in results["classes"].items():
        text += f"| {name} | {'; '.join(IN_AUDIOSET[name])} | {recall:.2f} | {precision:.2f} |\n"
    return text
