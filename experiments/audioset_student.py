"""Writes results/audioset-student.md and .json: a small student of a published network, with AudioSet's labels.

It learns from freely licensed recordings alone, so that its weights have no other restriction than theirs. Labels on
which it agrees too little with its teacher have no threshold.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.data import open_data
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.storage.json_files import write_json
from earmark.training.agreement import agreement
from earmark.training.teacher import POSITIVE, Teacher, TeacherConfig
from experiments.free_audio import Recording, read_index, write_clips
from experiments.steps import RESULTS, commit, earmark, resume

KEPT: Final = RESULTS / "audioset-student.json"
STUDENT: Final[Mapping[str, Any]] = {
    "sample_rate": 16000,
    "backbone": "cnn",
    "width": 32,
    "clip_duration": 5.0,
    "balanced": True,
    "n_clips_seen": 120_000,
    "learning_rate": 2e-3,
    "weight_decay": 0.01,
    "ema_decay": 0.998,
    "mixup_alpha": 0.0,
    "time_width": 16,
    "random_shift_stretch": True,
    "time_stretch": 0.1,
    "mel_shift": 2.0,
    "shortest_crop": 0.5,
    "mix_clips": 0.3,
    "gain_db": 20.0,
    "equalizer_db": 6.0,
    "block_dropout": 0.0,
    "dropout": 0.1,
    "n_variants": 1,
    "mix_share": 0.3,
    "skip_bad": True,
}
"""Settings of the training."""
LOWEST: Final = 0.5
"""Least average precision against the teacher of a label that has a threshold."""
FEWEST: Final = 3
"""Least number of held-out clips that have such a label."""
_STARTS: Final = {
    "human sounds": "Speech",
    "animals": "Animal",
    "music": "Music",
    "nature": "Wind",
    "things": "Vehicle",
    "others": "Silence",
}
"""First label of each kind: AudioSet's labels are in the order of its ontology."""
_NEVER: Final = 1.0


def audioset_student(
    audio: Path | None = None,
    teacher: Path | None = None,
    work: Path | None = None,
    *,
    share: float = 1.0,
    seed: int = 0,
) -> None:
    """Train, calibrate and measure a student with AudioSet's labels; the page keeps the figures of other seeds.

    Args:
        audio: Folder of freely licensed recordings with their index.csv.
        teacher: Published network with AudioSet's labels, such as mn04_as_mAP_432.pt.
        work: Folder for tables, the run and the models.
        share: Share of the budget to spend; for a trial.
        seed: Seed of the training.
    """
    if audio is not None and teacher is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        # a share-alike licence would pass to the model
        recordings = [row for row in read_index(audio.resolve()) if "SA" not in row.licence]
        found = _Student(recordings, teacher.resolve(), work.resolve(), share, seed).figures()
        # the figures of a trial stay in its folder
        path = KEPT if share == 1.0 else work / KEPT.name
        kept = json.loads(path.read_text()) if path.exists() else []
        write_json(path, sorted([run for run in kept if run["seed"] != seed] + [found], key=lambda run: run["seed"]))
        path.with_suffix(".md").write_text(page(json.loads(path.read_text())), encoding="utf-8")
    elif any(path is not None for path in (audio, teacher, work)):
        raise CycloptsError("AUDIO, TEACHER and WORK were expected, or none of them to write the page again")
    else:
        KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


class _Student:
    """The steps; each command continues or skips what an earlier call has done."""

    def __init__(self, recordings: list[Recording], teacher: Path, work: Path, share: float, seed: int) -> None:
        self.recordings, self.teacher, self.work = recordings, teacher, work
        self.share, self.seed = share, seed

    def figures(self) -> dict[str, Any]:
        """Trains the student; its agreement with the teacher."""
        rows = [(row.path, row.label.replace(";", " "), row.split, row.group) for row in self.recordings]
        write_clips(rows, self.work / "recordings.csv")
        budget = {"n_clips_seen": max(64, round(STUDENT["n_clips_seen"] * self.share)), "seed": self.seed}
        write_json(self.work / "student.json", {**STUDENT, **budget})
        words = (self.teacher, "csv:recordings.csv", "--split", "train", "--valid-split", "valid")
        flags = ("--out", "run", "--config", "student.json", *resume(self.work / "run"))
        earmark("distill", *words, *flags, folder=self.work)
        network = self._with_thresholds()
        known = known_labels(json.loads((self.work / "run" / "agreement.json").read_text()))
        found = self._agreement(network)
        without_thresholds(network, known).save(self.work / "earmark-audioset.safetensors")
        out, typical = "earmark-audioset.onnx", ("--int8", "--calibrate", "csv:recordings.csv", "--split", "valid")
        earmark("export", "earmark-audioset.safetensors", out, *typical, folder=self.work)
        kept = ("n_clips", "threshold", "mAP", "n_labels", "mean_absolute_difference")
        return {
            "commit": commit(),
            "teacher": self.teacher.name,
            "share": self.share,
            "seed": self.seed,
            **{name: found[name] for name in kept},
            "kinds": by_kind(found, network.labels),
            "known": known,
            "n_train": sum(row.split == "train" for row in self.recordings),
            "n_clips_seen": budget["n_clips_seen"],
            "n_parameters": network.n_parameters,
            "n_bytes": (self.work / out).stat().st_size,
            "exported": self._exported(out),
            "sources": sorted({f"{row.source} ({row.licence})" for row in self.recordings if row.split == "train"}),
        }

    def _agreement(self, network: Network) -> dict[str, Any]:
        """Agreement on recordings that chose neither the epoch nor the labels with a threshold."""
        held_out = open_data(f"csv:{self.work / 'recordings.csv'}").select(splits=("test",))
        teacher = Teacher(TeacherConfig([str(self.teacher)]))
        return agreement(network, held_out, teacher, self.work / "teacher-on-test").to_json()

    def _exported(self, name: str) -> dict[str, float]:
        """Differences between the scores of the exported student and of its checkpoint, on the test recordings."""
        paths = [row.path for row in self.recordings if row.split == "test"]
        models = (name, str(Path(name).with_suffix(".safetensors")))
        exported, kept = (
            np.stack([tagger.score(path).scores for path in paths])
            for tagger in (hub.load(self.work / model) for model in models)
        )
        return {
            "mean_absolute_difference": float(np.abs(exported - kept).mean()),
            "largest_difference": float(np.abs(exported - kept).max()),
            "same_first_label": float((exported.argmax(axis=1) == kept.argmax(axis=1)).mean()),
        }

    def _with_thresholds(self) -> Network:
        """Calibrates the student on held-out recordings; the teacher's tags count as true labels."""
        held_out = [row for row in self.recordings if row.split == "valid"]
        tagger = hub.load(self.teacher)
        rows = []
        for row in held_out:
            tags = tagger.tag(row.path, threshold=POSITIVE)
            rows.append((row.path, ";".join(tag.label for tag in tags), "valid", row.group))
        write_clips(rows, self.work / "tagged.csv")
        words = ("run/best.safetensors", "csv:tagged.csv", "--out", "audioset-calibrated.safetensors")
        earmark("calibrate", *words, folder=self.work)
        return hub.load_network(self.work / "audioset-calibrated.safetensors")


def kind_of_labels(labels: LabelSet) -> list[str]:
    """The kind of sound of each of AudioSet's labels."""
    starts = np.array([labels.index(name) for name in _STARTS.values()])
    kinds = list(_STARTS)
    return [kinds[int((starts <= place).sum()) - 1] for place in range(len(labels))]


def by_kind(agreement: Mapping[str, Any], labels: LabelSet) -> dict[str, dict[str, Any]]:
    """Agreement of each kind of sound: labels with a positive, their mAP, mean absolute difference of all its labels.

    Args:
        agreement: Content of `agreement.json`.
        labels: AudioSet's labels.
    """
    kinds, rows = kind_of_labels(labels), agreement["labels"]
    found = {}
    for kind in _STARTS:
        own = [row for row, its in zip(rows, kinds, strict=True) if its == kind]
        precision = [row["average_precision"] for row in own if row["average_precision"] is not None]
        found[kind] = {
            "n_labels": len(precision),
            "mAP": float(np.mean(precision)) if precision else None,
            "mean_absolute_difference": float(np.mean([row["mean_absolute_difference"] for row in own])),
        }
    return found


def known_labels(agreement: Mapping[str, Any]) -> list[str]:
    """The labels on which student and teacher agree well enough for a threshold."""
    return [
        row["label"]
        for row in agreement["labels"]
        if row["n_positive"] >= FEWEST and (row["average_precision"] or 0.0) >= LOWEST
    ]


def without_thresholds(network: Network, known: Sequence[str]) -> Network:
    """A copy whose other labels have a threshold of 1, and are listed in `extra`."""
    changed = copy.deepcopy(network)
    names, before = network.labels.names, network.thresholds or (0.5,) * len(network.labels)
    changed.thresholds = tuple(value if name in known else _NEVER for name, value in zip(names, before, strict=True))
    changed.extra["labels_without_threshold"] = [name for name in names if name not in known]
    return changed


def page(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page about the student, with all seeds."""
    text = f"# A student of {runs[0]['teacher']} with AudioSet's labels\n\nWritten by `python -m experiments "
    text += "audioset-student`"
    text += f" ({'; '.join(map(_origin, runs))}). Trained on {', '.join(runs[0]['sources'])}.\n\n"
    for run in runs:
        own, known = run["exported"], run["known"]
        text += f"With seed {run['seed']} the student saw {run['n_clips_seen']:,} clips from {run['n_train']:,} "
        text += f"recordings. On {run['n_clips']} recordings of groups that had no part in its training, its mAP is "
        text += f"{run['mAP']:.3f} over the {run['n_labels']} labels that the teacher scores {run['threshold']:g} or "
        text += "more in at least one of them; these scores count as true labels. The mean absolute difference of "
        text += f"scores is {run['mean_absolute_difference']:.4f}. The student has {run['n_parameters']:,} parameters. "
        text += f"Exported in 8 bits, the model is {run['n_bytes'] / 1e6:.1f} MB; its scores differ from the "
        text += f"checkpoint's by {own['mean_absolute_difference']:.5f} on average and by "
        text += f"{own['largest_difference']:.2f} at most. The label with the highest score is the same for "
        text += f"{100 * own['same_first_label']:.1f} % of the recordings. On other held-out recordings, {len(known)} "
        text += "labels "
        text += f"have {FEWEST} positives or more and an average precision of {LOWEST:g} or more against the teacher. "
        text += f"Only these have thresholds: {', '.join(known)}.\n\n"
    text += "| seed | kind of sound | labels | mAP | mean absolute difference |\n|---|---|---|---|---|\n"
    for run in runs:
        for kind, row in run["kinds"].items():
            shown = "-" if row["mAP"] is None else f"{row['mAP']:.3f}"
            difference = row["mean_absolute_difference"]
            text += f"| {run['seed']} | {kind} | {row['n_labels']} | {shown} | {difference:.4f} |\n"
    return text


def _origin(run: Mapping[str, Any]) -> str:
    share = "" if run["share"] == 1.0 else f"{run['share']:g} of the budget, "
    return f"seed {run['seed']}: {share}commit {run['commit']}"
