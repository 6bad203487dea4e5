"""Writes results/zero-shot.md and .json: a network with AudioSet's labels on ESC-50, and the overlap of its windows."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import FileAudio, open_data
from earmark.data.soundscapes import TruthEvent
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.tagger import Tagger
from earmark.inference.windows import SlidingWindows
from earmark.labels import LabelSet
from experiments.esc50_labels import IN_AUDIOSET, in_esc50
from experiments.steps import RESULTS, commit, earmark
from experiments.table1.soundscapes import read_truth

KEPT: Final = RESULTS / "zero-shot.json"
OVERLAPS: Final = (0.0, 0.25, 0.5, 0.75)
N_TAGGED: Final = 10
"""Clips whose tags are shown."""
SECONDS: Final = 40
"""Length of a soundscape."""
WINDOWS: Final = (1.0, 2.0, 4.0, 10.0)
"""Seconds of the windows of timelines."""
_COLUMNS: Final = tuple(f"{window:g} s" for window in WINDOWS)


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
    """mAP over the seconds of timelines, for each overlap and window, and over recordings.

    `whole` encodes a recording at once.
    """
    clips = open_data(f"soundscapes:{folder}")
    paths = [Path(clip.audio.path) for clip in clips if isinstance(clip.audio, FileAudio)]
    events = read_truth(folder)
    target = clips.targets()[:, [clips.labels.names.index(name) for name in LabelSet.esc50().names]]
    engine, results = tagger.engine, dict[str, dict[str, float]]()
    for overlap in (*OVERLAPS, None):
        engine.overlap = overlap or 0.0
        if overlap is None:
            engine.clip_duration = 2.0 * SECONDS  # a window longer than the recordings
        scores: dict[float, list[np.ndarray]] = {window: [] for window in WINDOWS}
        for path in paths:
            segments = tagger.encode(path).segments
            for window, rows in scores.items():
                logits = SlidingWindows(engine, window, 1.0, cut=False).finish(segments, SECONDS)
                rows.append(in_esc50(logits, tagger.labels))
        row = {
            f"{window:g} s": label_mean(
                average_precision(np.concatenate([active(events, path.name, window) for path in paths]), each)
            )
            for window, each in ((window, np.concatenate(rows)) for window, rows in scores.items())
        }
        if overlap is not None:
            tags = np.stack([in_esc50(tagger.score(path).scores, tagger.labels) for path in paths])
            row["recordings"] = label_mean(average_precision(target, tags))
        results["whole" if overlap is None else f"{overlap:g}"] = row
        print(overlap, row, file=sys.stderr)
    return results


def active(events: Sequence[TruthEvent], file: str, window: float) -> np.ndarray:
    """Whether each class sounds in the second around the middle of each window of a timeline: (window, class)."""
    names = LabelSet.esc50().names
    starts = np.arange(round(SECONDS - window) + 1) + window / 2 - 0.5
    truth = np.zeros((len(starts), len(names)), np.float32)
    for event in events:
        if Path(event.filename).name == file:
            sounds = (starts < event.offset) & (starts + 1 > event.onset)
            truth[sounds, names.index(event.label)] = 1
    return truth


def page(results: dict[str, Any]) -> str:
    """The page: figures on clips, of the overlaps, tags of clips, and the classes with their labels."""
    text = (
        "# A network with AudioSet's labels on ESC-50\n\n"
        f"Written by `python -m experiments zero-shot`. The model is {results['model']} (commit {results['commit']}); "
        "nothing was trained on ESC-50. A class scores as its best label in the table at the end, which was written "
        "before the measurement. (AudioSet's `Mouse` is the animal, not the computer mouse; this mistake stays, "
        "because the table was fixed before the measurement.) "
        f"On the {results['n_clips']} clips of fold 5: **top-1 {results['top1']:.3f}, mAP "
        f"{results['mAP']:.3f}**.\n\n## Overlap of the windows\n\n"
        f"Soundscapes of {SECONDS} s, each with 4 to 10 sounds of fold 5, encoded in windows of 10 s. mAP over the "
        "seconds of all soundscapes, by timelines whose windows of various lengths start every second; and mAP over "
        "recordings, as `earmark tag` scores them. The work grows as 1 / (1 - overlap).\n\n"
        f"| overlap | {' | '.join(f'windows of {window:g} s' for window in WINDOWS)} | recordings |\n"
        f"|---|{'---:|' * len(WINDOWS)}---:|\n"
    )
    for name, row in results["overlaps"].items():
        cells = [f"{row[column]:.3f}" if column in row else "-" for column in (*_COLUMNS, "recordings")]
        text += f"| {'encoded at once' if name == 'whole' else name} | {' | '.join(cells)} |\n"
    text += "\n## Tags of ten clips\n\n| clip | three best labels |\n|---|---|\n"
    for clip, tags in results["tags"].items():
        text += f"| {clip} | {', '.join(f'{label} {score:.3f}' for label, score in tags)} |\n"
    text += (
        "\n## Classes\n\n| class | labels of AudioSet | recall at top-1 | average precision |\n|---|---|---:|---:|\n"
    )
    for name, (recall, precision) in results["classes"].items():
        text += f"| {name} | {'; '.join(IN_AUDIOSET[name])} | {recall:.2f} | {precision:.2f} |\n"
    return text
