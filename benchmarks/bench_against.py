"""Compares the speed of this source with another checkout: python benchmarks/bench_against.py OTHER/src [ROUNDS].

Both sources tag the same 20-minute recording and train the same small network, in turn, so that both meet the same
machine. The environment needs the packages of both. Prints the median and the range of each figure and of the ratio.
"""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

HERE = Path(__file__).resolve().parents[1] / "src"
RATE = 16000
CLIPS = ("clips of one length", "clips of many lengths")


def main() -> None:
    other, n_rounds = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder)
        figures: dict[str, list[tuple[float, float]]] = {}
        for number in range(n_rounds):
            sources = (other, HERE) if number % 2 == 0 else (HERE, other)
            measured = {source: measure(source, folder, folder / f"{number}-{source is HERE}") for source in sources}
            for figure, value in measured[other].items():
                figures.setdefault(figure, []).append((value, measured[HERE][figure]))
    for figure, pairs in figures.items():
        ratios = [ours / theirs for theirs, ours in pairs]
        print(f"{figure}: other {spread([a for a, _ in pairs])}, this {spread([b for _, b in pairs])}", end="")
        print(f", this / other {spread(ratios)}")


def write_sounds(folder: Path) -> None:
    """Writes a long recording, and two folders of clips with two labels: clips of 10 s, and clips of 2 to 10 s."""
    rng = np.random.default_rng(0)
    soundfile.write(folder / "long.wav", (0.1 * rng.standard_normal(20 * 60 * RATE)).clip(-1, 1), RATE)
    for label in ("low", "high"):
        for clips in CLIPS:
            (folder / clips / label).mkdir(parents=True)
        for number in range(24):
            tone = np.sin(2 * np.pi * (400 if label == "low" else 3000) * np.arange(10 * RATE) / RATE)
            sound = 0.3 * tone + 0.02 * rng.standard_normal(10 * RATE)
            for clips, n_samples in zip(CLIPS, (len(sound), int(rng.integers(2 * RATE, len(sound)))), strict=True):
                soundfile.write(folder / clips / label / f"{number}.wav", sound[:n_samples], RATE)


def measure(source: Path, folder: Path, out: Path) -> dict[str, float]:
    """Tags and trains with one source."""
    start = time.perf_counter()
    earmark(source, "tag", folder / "long.wav", "--json")
    seconds = time.perf_counter() - start
    figures = {"seconds to tag 20 minutes": seconds}
    settings = ["--config", "small", "--n-clips-seen", 960, "--clips-per-epoch", 480, "--cache", "log_mel"]
    for clips in CLIPS:
        run = out / clips
        earmark(source, "train", f"folder:{folder / clips}", "--out", run, *settings, "--quiet")
        with (run / "metrics.csv").open() as stream:
            *_, last = csv.DictReader(stream)
        figures[f"training clips a second, {clips}"] = float(last["clips_per_second"])
    return figures


def earmark(source: Path, *words: object) -> None:
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run(
        [sys.executable, "-m", "earmark", *map(str, words)], env=environment, check=True, capture_output=True
    )


def spread(values: list[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
