"""Writes results/model-comparison.md and .json: models with ESC-50's or AudioSet's labels, on the same recordings.

All are scored on ESC-50's classes. For a model with AudioSet's labels, a class has the highest score of its nearest
labels.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import open_data
from earmark.data.clips import Dataset
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.tagger import Tagger
from earmark.inference.windows import sigmoid
from earmark.labels import LabelSet
from earmark.storage.files import sha256_of
from earmark.storage.json_files import json_value, write_json
from experiments.decoders import NOT_TRIMMED, measure_defaults
from experiments.degraded import DEGRADATIONS, degrade
from experiments.esc50_head import SOUNDSCAPES
from experiments.esc50_model import cold_start
from experiments.event_decoder import SHORT
from experiments.free_audio import NOTHING, Recording, false_tags, read_index
from experiments.scenes import Scenes, encode, known_logits, known_thresholds, mix
from experiments.steps import RESULTS, commit
from experiments.strangers import first_tags, known_recordings, mean_over_labels, over_all

KEPT: Final = RESULTS / "model-comparison.json"
THRESHOLDS: Final = np.geomspace(0.005, 0.9, 60)
"""Candidates for the threshold of a model that has none for ESC-50's classes."""


def model_comparison(
    bank: Path | None = None, audio: Path | None = None, work: Path | None = None, *models: str
) -> None:
    """Compare models on fold 5 of ESC-50, its soundscapes, speech, music, and recordings of other projects.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        work: Folder for soundscapes, segments and figures.
        models: Names or checkpoints with ESC-50's or AudioSet's labels that were not trained on fold 5; without
            thresholds for ESC-50's classes, not on fold 1 either.
    """
    if bank is not None and audio is not None and work is not None and models:
        if len({Path(model).stem for model in models}) < len(models):
            raise CycloptsError("MODELS with different names were expected: each names a column of the page")
        work.mkdir(parents=True, exist_ok=True)
        steps = _Comparison(bank.resolve(), read_index(audio.resolve()), work.resolve())
        found = {Path(model).stem: steps.figures(model) for model in models}
        # timed last, and again in each call: the machine must be idle for this part
        for model in models:
            found[Path(model).stem]["cold_start"] = cold_start(model, work)
        write_json(KEPT, found)
    elif bank is not None:
        raise CycloptsError("BANK, AUDIO, WORK and MODELS were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


@dataclass(frozen=True)
class _Comparison:
    """Measures models; all on the same recordings."""

    bank: Path
    recordings: list[Recording]
    work: Path

    def figures(self, model: str) -> dict[str, Any]:
        """Figures of a model without its cold start; WORK keeps them."""
        path = hub.find_checkpoint(model)
        kept = self.work / f"{path.stem}-{sha256_of(path)[:12]}.json"
        if not kept.exists():
            write_json(kept, json_value(self._measured(model, path)))
        found: dict[str, Any] = json.loads(kept.read_text())
        return found

    def _measured(self, model: str, path: Path) -> dict[str, Any]:
        tagger = hub.load(model)
        clips = open_data(f"esc50:{self.bank}").select(splits=("5",))
        found: dict[str, Any] = {"commit": commit(), "n_bytes": path.stat().st_size}
        found["degraded"] = {name: on_clips(tagger, degrade(clips, name)) for name in DEGRADATIONS}
        for name, (seed, shortest, longest, n_clips) in SOUNDSCAPES.items():
            if name != "mixed5":
                words = ("--n-clips", n_clips, "--seed", seed, "--event-duration", shortest, longest)
                folder = mix(self.bank, self.work, name, 5, *words, "--sample-rate", 16000)
                found[name] = on_clips(tagger, open_data(f"soundscapes:{folder}"))["mAP"]
        found["false_tags"] = None
        if tagger.thresholds is not None:
            kinds = false_tags(tagger, self.recordings)
            found["false_tags"] = {kind: own["tags"] for kind, own in kinds.items()}
        found["events"] = self._events(model)
        held_out = first_tags(tagger, known_recordings(self.recordings))["held out"]
        found["strangers"] = {"mean": mean_over_labels(held_out), "all": over_all(held_out)}
        print(f"{model}: measured", file=sys.stderr)
        return found

    def _events(self, model: str) -> dict[str, Any]:
        """Figures of the events that the default decoder finds on soundscapes of one or two events of fold 5."""
        scenes = self._scenes(model, 5, 150)
        fitted, thresholds = None, known_thresholds(scenes.tagger)
        if thresholds is None:
            fitted = best_threshold(self._scenes(model, 1, 300))
            thresholds = [fitted] * len(LabelSet.esc50())
        figures = asdict(measure_defaults(scenes, thresholds))
        kept = {name: value for name, value in figures.items() if np.isfinite(value)}
        return {**kept, "fitted_threshold": fitted}

    def _scenes(self, model: str, fold: int, n_clips: int) -> Scenes:
        folder = mix(self.bank, self.work, f"events{fold}", fold, *SHORT, "--n-clips", n_clips, "--seed", 20 + fold)
        return encode(model, folder, self.work)


def on_clips(tagger: Tagger, data: Dataset) -> dict[str, float | None]:
    """Top-1 and mAP of ESC-50's classes; top-1 is None unless every clip has one label."""
    scores = np.stack([known_logits(tagger, tagger.score(clip.load(tagger.sample_rate)).scores) for clip in data])
    target = data.targets()[:, [data.labels.index(name) for name in LabelSet.esc50().names]]
    is_single = bool((target.sum(axis=1) == 1).all())
    top1 = float((scores.argmax(axis=1) == target.argmax(axis=1)).mean()) if is_single else None
    return {"top1": top1, "mAP": label_mean(average_precision(target, scores))}


def best_threshold(scenes: Scenes) -> float:
    """The threshold, one for all classes, with the best F1 of the tags of whole soundscapes."""
    logits = np.concatenate([scenes.pool(scene, [(0, len(scene.segments))]) for scene in scenes.scenes])
    target = np.zeros(logits.shape, bool)
    for row, scene in zip(target, scenes.scenes, strict=True):
        row[[event.label for event in scene.events]] = True
    return float(max(THRESHOLDS, key=lambda threshold: f1(sigmoid(logits) >= threshold, target)))


def f1(is_tag: np.ndarray, target: np.ndarray) -> float:
    """F1 of tags, all labels together.

    >>> f1(np.array([True, True, False, False]), np.array([True, False, True, False]))
    0.5
    """
    return 2 * int((is_tag & target).sum()) / max(1, int(is_tag.sum()) + int(target.sum()))


def page(found: Mapping[str, Any]) -> str:
    """The page: a table with a column for each model."""
    text = "# Models compared on the same recordings\n\nWritten by `python -m experiments model-comparison`. "
    text += f"{EXPLANATION}\n| | {' | '.join(found)} |\n|---{'|---:' * len(found)}|\n"
    rows: dict[str, list[str]] = {}
    own = list(found.values())
    for name in DEGRADATIONS:
        cells = [row["degraded"][name]["top1"] for row in own]
        rows[f"top-1, fold 5 {name}"] = [f"{value:.3f}" for value in cells]
    rows["mAP, fold 5 as they are"] = [f"{row['degraded']['as they are']['mAP']:.3f}" for row in own]
    rows["mAP, sparse soundscapes"] = [f"{row['sparse5']:.3f}" for row in own]
    rows["mAP, dense soundscapes"] = [f"{row['dense5']:.3f}" for row in own]
    for kind in NOTHING:
        rows[f"false tags a recording, {kind}"] = [_shown((row["false_tags"] or {}).get(kind), ".2f") for row in own]
    for name, key in (("F1 of 0.1 s cells", "F1"), ("event F1", "event_F1"), ("onset error, s", "onset")):
        rows[f"events: {name}"] = [_shown(row["events"].get(key), ".3f") + _mark(row["events"]) for row in own]
    n_events = own[0]["events"]["n_events"]
    rows[f"events: found, of {n_events}"] = [f"{row['events']['n_detected']:.0f}" for row in own]
    rows["other projects: first tag right, mean over labels"] = [_shown(row["strangers"]["mean"], ".3f") for row in own]
    rows["other projects: first tag right, share of recordings"] = [f"{row['strangers']['all']:.3f}" for row in own]
    rows["size of the file, MB"] = [f"{row['n_bytes'] / 1e6:.1f}" for row in own]
    rows["cold start, s"] = [f"{row['cold_start']:.1f}" for row in own]
    rows["commit"] = [row["commit"] for row in own]
    text += "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows.items())
    is_old = any(_mark(row["events"]) for row in own)
    return text + (f"\n\\* These figures {NOT_TRIMMED}.\n" if is_old else "")


def _mark(events: Mapping[str, Any]) -> str:
    """The mark of older figures of events."""
    return "" if events.get("is_trimmed") else " *"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


EXPLANATION: Final = """recipe-esc50: the recipe esc50, as trained.
student-esc50: trained further with a teacher, then its head. Both are of seed 1. student-with-soundscapes: with a
teacher and short soundscapes from the start, then its head, seed 0. student-trained-further: the same network, trained
further with the teacher, then its head. The thresholds of these two are [shrunk](thresholds.md), which lowers their
false tags. These four were trained on folds 1 to 3 ([students](esc50-student.md)).

Models that were trained on fold 5 do not belong here; the command does not check it. All are scored on ESC-50's
classes; with AudioSet's labels, the highest score of the nearest labels stands for a class. Clips and soundscapes are
scored as `earmark tag` does it. Sparse and dense: 300 soundscapes of fold 5 each. False
tags: classes of ESC-50 that are tags at the model's own thresholds, on held-out recordings of speech
and music; a dash means that the model has no thresholds. Events: the default decoder on 150 soundscapes of fold 5 with
one or two events. A model without thresholds for these classes has one for all, fitted to 300 soundscapes of fold 1.
Other projects: 57 held-out recordings, as in [strangers](strangers.md). Cold start: seconds from launching the program
to the tags of a clip of 5 s by PyTorch, the best of three; that of student-trained-further is of another machine,
where student-with-soundscapes and mn04 take 1.4 s. The `.onnx` file of the package starts faster ([speed](bench.md)).
Licences: weights trained on ESC-50 are CC BY-NC 3.0, those of `mn04` MIT.
"""
