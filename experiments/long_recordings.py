"""Which score a long recording should have: pooled whole, its best window, or other; writes long-recordings.md.

python results/long_recordings.py MODEL SOUNDSCAPES...      # folders by `earmark soundscapes`, one for each length
python results/long_recordings.py                           # writes the page anew from results/long-recordings.json

`results/long_recordings.sh ESC-50-FOLDER WORK-FOLDER` makes the soundscapes and calls this.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from earmark import hub
from earmark.audio.recording import blocks, probe
from earmark.data import open_data
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.engine import encode_blocks
from earmark.inference.windows import sigmoid, timeline_of

HERE = Path(__file__).parent
KEPT = HERE / "long-recordings.json"
WINDOWS = (2.0, 5.0, 10.0)
HOP_SHARE = 0.25


def top_mean(scores: np.ndarray, n: int) -> np.ndarray:
    """Mean of the logits of each label's best windows."""
    logits = np.log(np.clip(scores, 1e-9, 1 - 1e-7)) - np.log1p(-np.clip(scores, 1e-9, 1 - 1e-7))
    return sigmoid(np.sort(logits, axis=0)[-n:].mean(axis=0))


def any_of(scores: np.ndarray) -> np.ndarray:
    """That one of the windows holds the label, were they independent (noisy or); windows that do not overlap."""
    return 1 - np.prod(1 - scores[:: round(1 / HOP_SHARE)], axis=0)


OVER_WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "best window": lambda scores: scores.max(axis=0),
    "mean logit of the best 3": lambda scores: top_mean(scores, 3),
    "any window (noisy or)": any_of,
    "mean of all windows": lambda scores: scores.mean(axis=0),
}


def choices(tagger: Any, path: Path) -> dict[str, np.ndarray]:
    """Scores of a recording by each choice."""
    engine = tagger.engine
    duration = probe(path).duration
    segments = np.concatenate(list(encode_blocks(engine, blocks(path, tagger.sample_rate, 10.0))))
    found = {"pooled whole": sigmoid(engine.classify(segments[None]))[0]}
    for window in WINDOWS:
        timeline = timeline_of(engine, segments, duration=duration, window=window, hop=HOP_SHARE * window)
        for name, choice in OVER_WINDOWS.items():
            found[f"{name}, {window:g} s"] = choice(timeline.scores)
    return found


def ranking_precision(target: np.ndarray, scores: np.ndarray) -> float:
    """Label-weighted label-ranking average precision: how pure the top of each recording's list is."""
    values = []
    for truth, row in zip(target > 0, scores, strict=True):
        order = np.argsort(-row, kind="stable")
        hits = truth[order]
        values += (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].tolist()
    return float(np.mean(values))


def tags_f1(target: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> float:
    """F1 of all tags together at the model's thresholds."""
    chosen, truth = scores >= thresholds, target > 0
    return float(2 * (chosen & truth).sum() / (chosen.sum() + truth.sum()))


def measure(model: str, folders: list[str]) -> dict[str, Any]:
    """All figures."""
    tagger = hub.load(model)
    thresholds = np.array(tagger.thresholds or [0.5] * len(tagger.labels))
    commit = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=HERE, capture_output=True, text=True)
    results: dict[str, Any] = {"model": Path(model).name, "commit": commit.stdout.strip(), "lengths": []}
    for folder in folders:
        clips = open_data(f"soundscapes:{folder}")
        scores: dict[str, list[np.ndarray]] = {}
        for clip in clips:
            for name, row in choices(tagger, Path(clip.audio.path)).items():
                scores.setdefault(name, []).append(row)
        target = np.stack([tagger.labels.encode(clip.labels) for clip in clips])
        rows = {
            name: {
                "mAP": label_mean(average_precision(target, np.stack(each))),
                "ranking": ranking_precision(target, np.stack(each)),
                "F1": tags_f1(target, np.stack(each), thresholds),
                "tags": float((np.stack(each) >= thresholds).sum(axis=1).mean()),
            }
            for name, each in scores.items()
        }
        seconds = float(np.median([probe(clip.audio.path).duration for clip in clips]))
        results["lengths"].append(
            {"seconds": seconds, "n": len(clips), "labels": float(target.sum(axis=1).mean()), "rows": rows}
        )
        sys.stderr.write(f"{seconds:g} s done\n")
    return results


def page(results: dict[str, Any]) -> str:
    """The figures for people."""
    text = (
        "# What a long recording scores\n\nWritten by `results/long_recordings.sh`: soundscapes of ESC-50's fold 5, "
        f"sounds of 0.5 to 4 s over background noise, tagged by {results['model']} (commit {results['commit']}), "
        "which was not trained on that fold. mAP: over the recordings, mean over labels. Ranking: label-weighted "
        "label-ranking average precision, within each recording. F1: of all tags together at the model's own "
        "thresholds; tags: how many reach them. Windows of W s start every W / 4. `Tagger.score` takes the mean logit "
        "of the best 3 windows of 0.4 clips (2 s for this model, which was trained on clips of up to 5 s), every 0.1 "
        "clips: the best choice or nearly so by all three measures at all lengths.\n"
    )
    for length in results["lengths"]:
        text += f"\n## {length['n']} recordings of {length['seconds']:g} s, {length['labels']:.1f} labels each\n\n"
        text += "| choice | mAP | ranking | F1 | tags |\n|---|---|---|---|---|\n"
        for name, row in length["rows"].items():
            text += f"| {name} | {row['mAP']:.3f} | {row['ranking']:.3f} | {row['F1']:.3f} | {row['tags']:.1f} |\n"
    return text


def main() -> None:
    model, *folders = sys.argv[1:] or [""]
    if model:
        KEPT.write_text(json.dumps(measure(model, folders), indent=1) + "\n")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
