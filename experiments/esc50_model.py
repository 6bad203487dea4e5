"""Writes results/esc50-model.md and .json: trains, calibrates and measures a model by the recipe esc50.

The first training uses folds 1 to 3; its model is calibrated and measured on fold 5. With the recipe fixed, a second
model is trained on folds 1, 2, 3 and 5 and takes the calibration of the first, since no fold is left to fit one to.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from cyclopts import CycloptsError

from earmark import hub
from earmark.audio.recording import Audio, resample
from earmark.data import open_data
from earmark.data.clips import AudioReader, Dataset
from earmark.evaluation.report import Report, evaluate
from experiments.steps import RESULTS, earmark, resume

KEPT: Final = RESULTS / "esc50-model.json"
RUNS: Final = RESULTS / "esc50-model"


def esc50_model(bank: Path | None = None, work: Path | None = None) -> None:
    """Train, calibrate and measure the shipped model.

    Args:
        bank: Folder of ESC-50.
        work: Folder for soundscapes, runs and models.
    """
    if (bank is None) != (work is None):
        raise CycloptsError("both BANK and WORK were expected, or neither to write the page again")
    if bank is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        train_and_measure(bank.resolve(), work.resolve())
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def train_and_measure(bank: Path, work: Path) -> None:
    """Both trainings, the calibration and the figures; copies the records of the runs to results/."""
    data = f"esc50:{bank}"
    _train(data, work, "run", "1,2,3", "--valid-split", "5")
    for name, seed, shortest, longest, n_clips in (
        ("dense5", 5, "1", "4", 300),
        ("sparse5", 6, "0.3", "1", 300),
        ("mixed5", 7, "0.3", "4", 600),
    ):
        lengths = ["--event-duration", shortest, longest, "--sample-rate", 16000]
        mixed = ["--split", 5, "--n-clips", n_clips, "--seed", seed, *lengths]
        earmark("soundscapes", data, name, *mixed, folder=work)
    with (RUNS / "calibrate.txt").open("w", encoding="utf-8") as output:
        known = [data, "soundscapes:mixed5", "--split", 5, "--out", "three-folds.safetensors"]
        earmark("calibrate", "run/last.safetensors", *known, folder=work, output=output)
    print((RUNS / "calibrate.txt").read_text(encoding="utf-8"), end="")
    results = measure(str(work / "run" / "last.safetensors"), bank, [work / "sparse5", work / "dense5"])
    results["model"] = "earmark-esc50"
    KEPT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    _train(data, work, "final", "1,2,3,5")
    like = ["--like", "three-folds.safetensors", "--out", "earmark-esc50.safetensors"]
    earmark("calibrate", "final/last.safetensors", *like, folder=work)
    for run, prefix in (("run", ""), ("final", "final-")):
        for file in ("metrics.csv", "run.json"):
            shutil.copyfile(work / run / file, RUNS / f"{prefix}{file}")


def _train(data: str, work: Path, run: str, splits: str, *more: str) -> None:
    words = [data, "--out", run, "--split", splits, *more, "--config", "esc50", *resume(work / run)]
    earmark("train", *words, folder=work)


@dataclass(frozen=True)
class Changed:
    """A recording changed in one of the ways of `CHANGES`."""

    audio: AudioReader
    change: str

    def load(self, sample_rate: int) -> Audio:
        """The changed recording at this rate."""
        return Audio(*CHANGES[self.change](self.audio.load(sample_rate))).mono(sample_rate)


def _louder(db: float) -> Callable[[Audio], tuple[np.ndarray, int]]:
    return lambda audio: ((audio.waveform * 10 ** (db / 20)).astype(np.float32), audio.sample_rate)


def _loudest(seconds: float) -> Callable[[Audio], tuple[np.ndarray, int]]:
    def cut(audio: Audio) -> tuple[np.ndarray, int]:
        n, energy = round(seconds * audio.sample_rate), np.cumsum(audio.waveform.astype(np.float64) ** 2)
        start = int(np.argmax(energy[n:] - energy[:-n])) if len(energy) > n else 0
        return audio.waveform[start : start + n], audio.sample_rate

    return cut


def _within(seconds: float, noise_db: float) -> Callable[[Audio], tuple[np.ndarray, int]]:
    def surround(audio: Audio) -> tuple[np.ndarray, int]:
        rng = np.random.default_rng(len(audio.waveform))
        whole = 10 ** (noise_db / 20) * rng.standard_normal(round(seconds * audio.sample_rate))
        start = int(rng.integers(len(whole) - len(audio.waveform)))
        whole[start : start + len(audio.waveform)] += audio.waveform
        return whole.astype(np.float32), audio.sample_rate

    return surround


def _at_44100(audio: Audio) -> tuple[np.ndarray, int]:
    return resample(audio.waveform, audio.sample_rate, 44100), 44100


CHANGES: dict[str, Callable[[Audio], tuple[np.ndarray, int]]] = {
    "as they are": lambda audio: (audio.waveform, audio.sample_rate),
    "20 dB quieter": _louder(-20),
    "40 dB quieter": _louder(-40),
    "resampled to 44.1 kHz": _at_44100,
    "loudest second": _loudest(1.0),
    "loudest two seconds": _loudest(2.0),
    "somewhere in 15 s of faint noise": _within(15.0, -60.0),
    "somewhere in 60 s of faint noise": _within(60.0, -60.0),
}


def changed(data: Dataset, change: str) -> Dataset:
    """The same clips, each changed in that way."""
    return replace(data, clips=tuple(replace(clip, audio=Changed(clip.audio, change)) for clip in data))


def confusions(report: Report) -> list[tuple[str, str, int]]:
    """The ten most frequent confusions: true label, predicted label, count."""
    names = [figures.label for figures in report.labels]
    truth, predicted = report.target.argmax(1).tolist(), report.scores.argmax(1).tolist()
    counts = Counter((names[a], names[b]) for a, b in zip(truth, predicted, strict=True) if a != b)
    return [(*pair, count) for pair, count in counts.most_common(10)]


def figures(report: Report) -> dict[str, Any]:
    """The figures of a report that the page shows."""
    kept = ("n_clips", "clip_ids_sha256", "mAP", "mAP_interval", "mAUC", "d_prime")
    return {**{key: report.to_json()[key] for key in kept}, "top1": report.top1}


def cold_start(model: str, folder: Path) -> float:
    """Seconds from launching the program to the tags of a five-second clip; the best of three."""
    path = folder / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(80000), 16000)
    command = [sys.executable, "-m", "earmark", "tag", str(path), "--model", model]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(model: str, bank: Path, soundscapes: Sequence[Path], split: str = "5") -> dict[str, Any]:
    """All figures, as plain JSON values."""
    network = hub.load_network(model)
    clips = open_data(f"esc50:{bank}").select(splits=split.split(","))
    results: dict[str, Any] = {"model": Path(model).name, "split": split, "extra": network.extra}
    results["n_parameters"] = network.n_parameters
    for change in CHANGES:
        report = evaluate(network, changed(clips, change))
        results[change] = figures(report)
        top1, mean = results[change]["top1"], results[change]["mAP"]
        print(f"{change}: top-1 {top1:.3f}, mAP {mean:.3f}", file=sys.stderr)
        if change == "as they are":
            results["confusions"] = confusions(report)
            results["labels"] = [[f.label, f.n_positive, f.average_precision] for f in report.labels]
    for folder in soundscapes:
        results[f"soundscapes {folder.name}"] = figures(evaluate(network, open_data(f"soundscapes:{folder}")))
    with tempfile.TemporaryDirectory() as name:
        results["cold_start_seconds"] = cold_start(model, Path(name))
    return results


def page(results: dict[str, Any]) -> str:
    """The page: a Markdown table and a few sentences."""
    text = f"# {results['model']} on fold {results['split']}: trained on folds 1 to 3, not calibrated\n\n"
    text += "Written by `python -m experiments esc50-model`.\n\n"
    text += "| clips | n | top-1 | mAP | 95 % interval | mAUC |\n|---|---|---|---|---|---|\n"
    for name, row in results.items():
        if isinstance(row, dict) and "mAP" in row:
            low, high = row["mAP_interval"]
            top1 = "-" if row["top1"] is None else f"{row['top1']:.3f}"
            others = f"{row['mAP']:.3f} | {low:.3f} to {high:.3f} | {row['mAUC']:.3f}"
            text += f"| {name} | {row['n_clips']} | {top1} | {others} |\n"
    text += "\nHere clips longer than 5 s are pooled whole; `earmark tag` scores them by their best windows.\n"
    text += f"\n{results['n_parameters']:,} parameters. Time from starting the program to the tags of a clip: "
    text += f"{results['cold_start_seconds']:.1f} s, the best of three.\n\n"
    text += "Most frequent confusions (true label, predicted label, times): "
    text += "; ".join(f"{a} as {b} ({n})" for a, b, n in results["confusions"]) + ".\n\n"
    worst = sorted(results["labels"], key=lambda row: row[2])
    text += "Hardest: " + ", ".join(f"{name} {value:.2f}" for name, _, value in worst[:10]) + ". "
    text += "Easiest: " + ", ".join(f"{name} {value:.2f}" for name, _, value in worst[-10:]) + " (average precision).\n"
    return text
