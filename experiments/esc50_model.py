"""What the shipped model can do, measured on recordings that it never met; writes results/esc50-model.md and .json.

python results/esc50_model.py MODEL ESC-50-FOLDER [--split 5] [--soundscapes FOLDER ...]
python results/esc50_model.py             # writes the page anew from results/esc50-model.json
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earmark import hub
from earmark.audio.recording import Audio, resample
from earmark.data import open_data
from earmark.data.clips import AudioReader, Dataset
from earmark.evaluation.report import Report, evaluate

HERE = Path(__file__).parent
KEPT = HERE / "esc50-model.json"


@dataclass(frozen=True)
class Changed:
    """A recording as it might come from elsewhere."""

    audio: AudioReader
    change: str

    def load(self, sample_rate: int) -> Audio:
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
    """True label, label heard instead, how often: the ten most frequent."""
    names = [figures.label for figures in report.labels]
    truth, heard = report.target.argmax(1).tolist(), report.scores.argmax(1).tolist()
    counts = Counter((names[a], names[b]) for a, b in zip(truth, heard, strict=True) if a != b)
    return [(*pair, count) for pair, count in counts.most_common(10)]


def figures(report: Report) -> dict[str, Any]:
    """What the page shows of a report."""
    kept = ("n_clips", "clip_ids_sha256", "mAP", "mAP_interval", "mAUC", "d_prime")
    return {**{key: report.to_json()[key] for key in kept}, "top1": report.top1}


def cold_start(model: str, folder: Path) -> float:
    """Seconds from an empty process to the tags of a five-second clip; the best of three."""
    path = folder / "noise.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(80000), 16000)
    command = [sys.executable, "-m", "earmark", "tag", str(path), "--model", model]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(model: str, bank: str, split: str, soundscapes: list[str]) -> dict[str, Any]:
    """All figures."""
    import tempfile

    network = hub.load_network(model)
    clips = open_data(f"esc50:{bank}").select(splits=split.split(","))
    results: dict[str, Any] = {"model": Path(model).name, "split": split, "extra": network.extra}
    results["n_parameters"] = network.n_parameters
    for change in CHANGES:
        report = evaluate(network, changed(clips, change))
        results[change] = figures(report)
        sys.stderr.write(f"{change}: top-1 {results[change]['top1']:.3f}, mAP {results[change]['mAP']:.3f}\n")
        if change == "as they are":
            results["confusions"] = confusions(report)
            results["labels"] = [[f.label, f.n_positive, f.average_precision] for f in report.labels]
    for folder in soundscapes:
        results[f"soundscapes {Path(folder).name}"] = figures(evaluate(network, open_data(f"soundscapes:{folder}")))
    with tempfile.TemporaryDirectory() as folder:
        results["cold_start_seconds"] = cold_start(model, Path(folder))
    return results


def page(results: dict[str, Any]) -> str:
    """The figures for people."""
    text = (
        f"# The model {results['model']} on fold {results['split']}\n\nWritten by `python results/esc50_model.py`.\n\n"
    )
    text += "| clips | n | top-1 | mAP | 95 % interval | mAUC |\n|---|---|---|---|---|---|\n"
    for name, row in results.items():
        if isinstance(row, dict) and "mAP" in row:
            low, high = row["mAP_interval"]
            top1 = "-" if row["top1"] is None else f"{row['top1']:.3f}"
            others = f"{row['mAP']:.3f} | {low:.3f} to {high:.3f} | {row['mAUC']:.3f}"
            text += f"| {name} | {row['n_clips']} | {top1} | {others} |\n"
    text += f"\n{results['n_parameters']:,} parameters. From an empty process to the tags of a clip: "
    text += f"{results['cold_start_seconds']:.1f} s.\n\nMost frequent confusions (true label, predicted label, times): "
    text += "; ".join(f"{a} as {b} ({n})" for a, b, n in results["confusions"]) + ".\n\n"
    worst = sorted(results["labels"], key=lambda row: row[2])
    text += "Hardest: " + ", ".join(f"{name} {value:.2f}" for name, _, value in worst[:10]) + ". "
    text += "Easiest: " + ", ".join(f"{name} {value:.2f}" for name, _, value in worst[-10:]) + " (average precision).\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("bank", nargs="?")
    parser.add_argument("--split", default="5")
    parser.add_argument("--name", help="what the page calls the model; by default its file")
    parser.add_argument("--soundscapes", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=KEPT)
    words = parser.parse_args()
    if words.model:
        results = measure(words.model, words.bank, words.split, words.soundscapes)
        results["model"] = words.name or results["model"]
        words.out.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(words.out.read_text())
    words.out.with_suffix(".md").write_text(page(results))


if __name__ == "__main__":
    main()
