"""Writes results/distilled-models.md and .json: two students of a published network, trained, calibrated and measured.

The first student has AudioSet's labels and learns from freely licensed recordings alone. The second has ESC-50's: its
teacher is a head on the published network's segments, and its backbone starts from the first student's. Recordings
of other sounds than the fifty (speech, music) are examples without any label, in training and in calibration.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cyclopts import CycloptsError

from earmark import hub
from earmark.data import open_data
from earmark.evaluation.report import evaluate
from earmark.model.network import Network
from earmark.storage.json_files import write_json
from earmark.training.teacher import POSITIVE
from experiments.audioset_student import LOWEST, by_kind, known_labels, without_thresholds
from experiments.degraded import measures, table
from experiments.esc50_model import figures
from experiments.free_audio import NOTHING, Recording, false_tags, nothing_rows, read_index, write_clips
from experiments.scenes import path_of, soundscape_rows
from experiments.steps import RESULTS, commit, earmark, resume

KEPT: Final = RESULTS / "distilled-models.json"
FIGURES: Final = ("1", "2", "3")
"""Folds of the training whose model is measured."""
SHIPPED: Final = ("1", "2", "3", "5")
"""Folds of the training whose model ships."""
STUDENT: Final[Mapping[str, Any]] = {
    "sample_rate": 16000,
    "backbone": "cnn",
    "width": 32,
    "clip_duration": 5.0,
    "balanced": False,
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
"""Settings of both students."""
N_CLIPS: Final = {"audioset": 200_000, "head": 40_000, "esc50": 200_000}
"""Budget of each training, in clips."""
HEAD: Final = ("--freeze", "backbone", "--allow-unlabelled", "--no-balanced")
N_CROPS: Final = 2
"""Crops of each clip that the head of the teacher is trained on."""
SOUNDSCAPES: Final = {"sparse5": (6, "0.3", "1", 300), "dense5": (5, "1", "4", 300), "mixed5": (7, "0.3", "4", 600)}
"""Seed, shortest and longest event, and number of the soundscapes of fold 5."""


def distilled_models(
    bank: Path | None = None,
    audio: Path | None = None,
    teacher: Path | None = None,
    work: Path | None = None,
    *,
    share: float = 1.0,
    seed: int = 0,
) -> None:
    """Train, calibrate and measure both students; the page keeps the figures of other seeds.

    Args:
        bank: Folder of ESC-50.
        audio: Folder of freely licensed recordings with their index.csv.
        teacher: Published network with AudioSet's labels, such as mn04_as_mAP_432.pt.
        work: Folder for tables, soundscapes, runs and models.
        share: Share of each budget to spend; for a trial.
        seed: Seed of the trainings.
    """
    given = (bank, audio, teacher, work)
    if bank is not None and audio is not None and teacher is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        results = _Models(bank.resolve(), read_index(audio.resolve()), teacher.resolve(), work.resolve(), share, seed)
        found = results.all_figures()
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else []
        write_json(KEPT, sorted([run for run in kept if run["seed"] != seed] + [found], key=lambda run: run["seed"]))
    elif any(path is not None for path in given):
        raise CycloptsError("BANK, AUDIO, TEACHER and WORK were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


class _Models:
    """The steps; each command continues or skips what an earlier call has done."""

    def __init__(
        self, bank: Path, recordings: list[Recording], teacher: Path, work: Path, share: float, seed: int
    ) -> None:
        self.bank, self.recordings, self.teacher, self.work = bank, recordings, teacher, work
        self.share, self.seed = share, seed

    def all_figures(self) -> dict[str, Any]:
        """Trains both students and returns their figures."""
        facts = {"commit": commit(), "teacher": self.teacher.name, "share": self.share, "seed": self.seed}
        results: dict[str, Any] = {**facts, "audioset": self.audioset()}
        results["esc50"] = self.esc50(FIGURES)
        self.esc50(SHIPPED)
        return results

    def audioset(self) -> dict[str, Any]:
        """Trains the student with AudioSet's labels; its agreement with the teacher."""
        rows = [(row.path, row.label.replace(";", " "), row.split, row.group) for row in self.recordings]
        write_clips(rows, self.work / "recordings.csv")
        splits = ("--split", "train", "--valid-split", "valid,test")
        self._run("distill", self.teacher, "csv:recordings.csv", *splits, out="audioset", settings=STUDENT)
        found = json.loads((self.work / "audioset" / "agreement.json").read_text())
        network, known = self._with_thresholds(), known_labels(found)
        without_thresholds(network, known).save(self.work / "earmark-audioset.safetensors")
        out, typical = "earmark-audioset.onnx", ("--int8", "--calibrate", "csv:recordings.csv", "--split", "valid")
        earmark("export", "earmark-audioset.safetensors", out, *typical, folder=self.work)
        kept = ("n_clips", "threshold", "mAP", "n_labels", "mean_absolute_difference")
        return {
            **{name: found[name] for name in kept},
            "kinds": by_kind(found, network.labels),
            "known": known,
            "n_bytes": (self.work / out).stat().st_size,
            "sources": sorted({f"{row.source} ({row.licence})" for row in self.recordings if row.split == "train"}),
        }

    def _with_thresholds(self) -> Network:
        """The student calibrated to the teacher's tags of held-out recordings, as if they were true."""
        held_out = [row for row in self.recordings if row.split == "valid"]
        tagger = hub.load(self.teacher)
        rows = []
        for row in held_out:
            tags = tagger.tag(row.path, threshold=POSITIVE)
            rows.append((row.path, ";".join(tag.label for tag in tags), "valid", row.group))
        write_clips(rows, self.work / "tagged.csv")
        words = ("audioset/best.safetensors", "csv:tagged.csv", "--out", "audioset-calibrated.safetensors")
        earmark("calibrate", *words, folder=self.work)
        return hub.load_network(self.work / "audioset-calibrated.safetensors")

    def esc50(self, folds: tuple[str, ...]) -> dict[str, Any]:
        """Trains a student with ESC-50's labels on some folds; its figures if fold 5 is not among them."""
        name = "".join(folds)
        n_clips = max(20, round(600 * self.share))
        lengths = ("--event-duration", "0.3", "4", "--sample-rate", 16000)
        mixed = ("--split", ",".join(folds), "--n-clips", n_clips, "--seed", 3, *lengths)
        earmark("soundscapes", f"esc50:{self.bank}", f"mixed{name}", *mixed, folder=self.work)
        write_clips(list(self.labelled(folds)), self.work / f"labelled{name}.csv")
        unknown = ((row.path, "", row.split, row.group) for row in self.recordings if row.kind not in NOTHING)
        write_clips([*self.labelled(folds), *unknown], self.work / f"all{name}.csv")
        n_crops = max(1, round(N_CROPS * self.share))
        head = ("--init", self.teacher, *HEAD, "--encoded-crops", n_crops)
        self._run("train", f"csv:labelled{name}.csv", "--split", "train", *head, out=f"head{name}", settings={})
        words = (f"head{name}/last.safetensors", f"csv:all{name}.csv", "--split", "train", "--label-weight", 0.5)
        start = ("--init", "audioset/last.safetensors")
        self._run("distill", *words, *start, out=f"esc50-{name}", settings={**STUDENT, "balanced": True})
        if folds == SHIPPED:
            like = ("--like", "three-folds.safetensors", "--out", "earmark-esc50.safetensors")
            earmark("calibrate", f"esc50-{name}/last.safetensors", *like, folder=self.work)
            return {}
        return self._measured(f"esc50-{name}/last.safetensors")

    def labelled(self, folds: tuple[str, ...]) -> Iterable[tuple[Path, str, str, str]]:
        """Rows of ESC-50, of soundscapes from the same folds, and of recordings in which nothing sounds."""
        for clip in open_data(f"esc50:{self.bank}"):
            split = "train" if clip.split in folds else clip.split or ""
            yield path_of(clip), ";".join(clip.labels), split, f"esc50 {clip.group}"
        yield from soundscape_rows(self.work / ("mixed" + "".join(folds)))
        yield from nothing_rows(self.recordings)

    def _measured(self, model: str) -> dict[str, Any]:
        """Calibrates a model that does not know fold 5, and measures it there."""
        for name, (seed, shortest, longest, n_clips) in SOUNDSCAPES.items():
            lengths = ("--event-duration", shortest, longest, "--sample-rate", 16000)
            mixed = ("--split", 5, "--n-clips", max(20, round(n_clips * self.share)), "--seed", seed, *lengths)
            earmark("soundscapes", f"esc50:{self.bank}", name, *mixed, folder=self.work)
        table_of_all = f"csv:labelled{''.join(FIGURES)}.csv"
        known = (table_of_all, "soundscapes:mixed5", "--split", 5, "--out", "three-folds.safetensors")
        earmark("calibrate", model, *known, folder=self.work)
        calibrated = self.work / "three-folds.safetensors"
        clips = open_data(f"esc50:{self.bank}").select(splits=("5",))
        network = hub.load_network(calibrated)
        results: dict[str, Any] = {"n_parameters": network.n_parameters, "clips": figures(evaluate(network, clips))}
        for name in ("sparse5", "dense5"):
            results[name] = figures(evaluate(network, open_data(f"soundscapes:{self.work / name}")))
        results["degraded"] = measures(str(calibrated), clips, self.seed)
        results["false_tags"] = false_tags(hub.load(calibrated), self.recordings)
        return results

    def _run(self, command: str, *words: object, out: str, settings: Mapping[str, Any]) -> None:
        kind = next(kind for kind in N_CLIPS if out.startswith(kind))
        budget = {"n_clips_seen": max(64, round(N_CLIPS[kind] * self.share)), "seed": self.seed}
        write_json(self.work / f"{out}.json", {**settings, **budget})
        flags = ("--out", out, "--config", f"{out}.json", *resume(self.work / out))
        earmark(command, *words, *flags, folder=self.work)


def page(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page about both students, with all seeds."""
    text = f"# Students of {runs[0]['teacher']}\n\nWritten by `python -m experiments distilled-models`"
    text += "".join(f"; seed {run['seed']}: {run['share']:g} of each budget, commit {run['commit']}" for run in runs)
    text += f".\n\n## AudioSet's labels\n\nTrained on {', '.join(runs[0]['audioset']['sources'])}.\n\n"
    for run in runs:
        own = run["audioset"]
        text += f"Seed {run['seed']}, on {own['n_clips']} held-out recordings: mAP {own['mAP']:.3f} over the "
        text += f"{own['n_labels']} labels that the teacher scores {own['threshold']:g} or more; mean absolute "
        text += f"difference of scores {own['mean_absolute_difference']:.4f}. {len(own['known'])} labels reach "
        text += f"{LOWEST:g} and have thresholds. {own['n_bytes'] / 1e6:.1f} MB in 8 bits.\n\n"
    text += "| seed | kind of sound | labels | mAP | mean absolute difference |\n|---|---|---|---|---|\n"
    for run in runs:
        for kind, row in run["audioset"]["kinds"].items():
            shown = "-" if row["mAP"] is None else f"{row['mAP']:.3f}"
            difference = row["mean_absolute_difference"]
            text += f"| {run['seed']} | {kind} | {row['n_labels']} | {shown} | {difference:.4f} |\n"
    text += "\n## ESC-50's labels, folds 1 to 3\n\n| seed | fold 5 | n | top-1 | mAP |\n|---|---|---|---|---|\n"
    for run in runs:
        for name in ("clips", "sparse5", "dense5"):
            row = run["esc50"][name]
            top1 = "-" if row["top1"] is None else f"{row['top1']:.3f}"
            text += f"| {run['seed']} | {name} | {row['n_clips']} | {top1} | {row['mAP']:.3f} |\n"
    for run in runs:
        found = run["esc50"]
        text += f"\nSeed {run['seed']}, {found['n_parameters']:,} parameters:\n\n{table(found['degraded'])}\n"
        text += "False tags a recording at the model's own thresholds, on held-out groups: "
        rows = (f"{kind} {row['tags']:.2f} ({row['n']} recordings)" for kind, row in found["false_tags"].items())
        text += "; ".join(rows) + ".\n"
    return text
