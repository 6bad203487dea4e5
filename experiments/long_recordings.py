"""Writes results/long-recordings.md and .json: ways to score recordings of 10 s to 10 minutes."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.audio.recording import probe
from earmark.data import FileAudio, open_data
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.tagger import Tagger
from earmark.inference.windows import SlidingWindows, sigmoid
from experiments.steps import RESULTS, commit, earmark

KEPT: Final = RESULTS / "long-recordings.json"
LENGTHS: Final = ((10, 300, 1, 3), (20, 200, 1, 4), (60, 150, 1, 6), (180, 60, 2, 10), (600, 24, 4, 16))
"""Seconds of the recordings, their number, and fewest and most events in one."""
WINDOWS: Final = (2.0, 5.0, 10.0)
"""Seconds."""
HOP_SHARE: Final = 0.25
"""Hop as a share of the window."""


def long_recordings(bank: Path | None = None, work: Path | None = None, model: Path | None = None) -> None:
    """Compare ways to score recordings of 10 s to 10 minutes.

    Args:
        bank: Folder of ESC-50.
        work: Folder for the soundscapes.
        model: A checkpoint that was not trained on fold 5.
    """
    if bank is not None and work is not None and model is not None:
        work.mkdir(parents=True, exist_ok=True)
        folders = [mix(bank.resolve(), work, *length) for length in LENGTHS]
        KEPT.write_text(json.dumps(measure(str(model), folders), indent=1) + "\n", encoding="utf-8")
    elif bank is not None or work is not None or model is not None:
        raise CycloptsError("BANK, WORK and MODEL were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def mix(bank: Path, work: Path, seconds: int, n_clips: int, fewest: int, most: int) -> Path:
    """Mixes soundscapes of one length and returns their folder."""
    events = ["--n-events", fewest, most, "--event-duration", "0.5", "4"]
    words = ["--split", 5, "--n-clips", n_clips, "--seed", 11, "--duration", seconds, *events]
    earmark("soundscapes", f"esc50:{bank}", f"long{seconds}", *words, "--sample-rate", 16000, "--quiet", folder=work)
    return work / f"long{seconds}"


def top_mean(scores: np.ndarray, n: int) -> np.ndarray:
    """Mean logit of each label's n best windows."""
    logits = np.log(np.clip(scores, 1e-9, 1 - 1e-7)) - np.log1p(-np.clip(scores, 1e-9, 1 - 1e-7))
    return sigmoid(np.sort(logits, axis=0)[-n:].mean(axis=0))


def any_of(scores: np.ndarray) -> np.ndarray:
    """Noisy or over windows that do not overlap: the probability that at least one has the label."""
    return 1 - np.prod(1 - scores[:: round(1 / HOP_SHARE)], axis=0)


OVER_WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "best window": lambda scores: scores.max(axis=0),
    "mean logit of the best 3": lambda scores: top_mean(scores, 3),
    "any window (noisy or)": any_of,
    "mean of all windows": lambda scores: scores.mean(axis=0),
}


def choices(tagger: Tagger, path: Path) -> dict[str, np.ndarray]:
    """Scores of a recording by each way of pooling its windows."""
    engine = tagger.engine
    encoded = tagger.encode(path)
    segments, duration = encoded.segments, encoded.duration
    found = {"pooled whole": sigmoid(engine.classify(segments[None]))[0]}
    for window in WINDOWS:
        scores = sigmoid(SlidingWindows(engine, window, HOP_SHARE * window).finish(segments, duration))
        for name, choice in OVER_WINDOWS.items():
            found[f"{name}, {window:g} s"] = choice(scores)
    return found


def ranking_precision(target: np.ndarray, scores: np.ndarray) -> float:
    """Label-weighted label-ranking average precision over the recordings."""
    values = []
    for truth, row in zip(target > 0, scores, strict=True):
        order = np.argsort(-row, kind="stable")
        hits = truth[order]
        values += (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].tolist()
    return float(np.mean(values))


def tags_f1(target: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> float:
    """Micro-averaged F1 of the tags at the model's thresholds."""
    chosen, truth = scores >= thresholds, target > 0
    return float(2 * (chosen & truth).sum() / (chosen.sum() + truth.sum()))


def measure(model: str, folders: Sequence[Path]) -> dict[str, Any]:
    """All figures, as plain JSON values."""
    tagger = hub.load(model)
    thresholds = np.array(tagger.thresholds or [0.5] * len(tagger.labels))
    results: dict[str, Any] = {"model": Path(model).name, "commit": commit(), "lengths": []}
    for folder in folders:
        clips = open_data(f"soundscapes:{folder}")
        paths = [Path(clip.audio.path) for clip in clips if isinstance(clip.audio, FileAudio)]
        scores: dict[str, list[np.ndarray]] = {}
        for path in paths:
            for name, row in choices(tagger, path).items():
                scores.setdefault(name, []).append(row)
        target = np.stack([tagger.labels.encode(clip.labels) for clip in clips])
        rows = {
            name: {
                "mAP": label_mean(average_precision(target, each)),
                "ranking": ranking_precision(target, each),
                "F1": tags_f1(target, each, thresholds),
                "tags": float((each >= thresholds).sum(axis=1).mean()),
            }
            for name, each in ((name, np.stack(rows)) for name, rows in scores.items())
        }
        seconds = float(np.median([probe(path).duration for path in paths]))
        results["lengths"].append(
            {"seconds": seconds, "n": len(clips), "labels": float(target.sum(axis=1).mean()), "rows": rows}
        )
        print(f"{seconds:g} s done", file=sys.stderr)
    return results


def page(results: dict[str, Any]) -> str:
    """The page: a Markdown table for each length."""
    text = (
        "# Ways to score a long recording\n\n"
        "Written by `python -m experiments long-recordings`. The recordings are soundscapes of ESC-50's fold 5: sounds "
        f"of 0.5 to 4 s over background noise. The model is {results['model']} (commit {results['commit']}), which was "
        "not trained on that fold.\n\n"
        "- mAP: mean over labels, over the recordings.\n"
        "- Ranking: label-weighted label-ranking average precision, within each recording.\n"
        "- F1: over all tags together, at the model's own thresholds.\n"
        "- Tags: number of tags per recording that reach their threshold.\n\n"
        "Windows of W s start every W / 4. `Tagger.score` takes the mean logit of the best 3 windows, which are 0.4 of "
        "a training clip long (2 s for this model, which was trained on clips of up to 5 s) and start every 0.1 of a "
        "clip. At all lengths this is the best choice, or nearly the best, by all three measures.\n"
    )
    for length in results["lengths"]:
        text += f"\n## {length['n']} recordings of {length['seconds']:g} s, {length['labels']:.1f} labels each\n\n"
        text += "| choice | mAP | ranking | F1 | tags |\n|---|---|---|---|---|\n"
        for name, row in length["rows"].items():
            text += f"| {name} | {row['mAP']:.3f} | {row['ranking']:.3f} | {row['F1']:.3f} | {row['tags']:.1f} |\n"
    return text
