"""Degraded versions of recordings, and the measures of a model on each: writes a table of top-1 and mAP."""

import json
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark import hub
from earmark.audio.recording import Audio
from earmark.data import open_data
from earmark.data.clips import AudioReader, Dataset
from earmark.data.mixing import noise
from earmark.evaluation.report import Report, evaluate
from earmark.training.degradation import (
    by_mp3,
    by_opus,
    by_telephone,
    clipped,
    reverberated,
    through_device,
    with_background,
)

Degradation = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _noisy(snr_db: float) -> Degradation:
    def change(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        return with_background(waveform, noise(len(waveform), rate, 1.0, rng), snr_db, rng)

    return change


def _in_room(seconds: float) -> Degradation:
    return lambda waveform, rate, rng: reverberated(waveform, rate, seconds, 0.0, rng)


def _without_draws(function: Callable[[np.ndarray, int], np.ndarray]) -> Degradation:
    return lambda waveform, rate, _: function(waveform, rate)


DEGRADATIONS: Final[Mapping[str, Degradation]] = {
    "as they are": lambda waveform, *_: waveform,
    "pink noise 20 dB below": _noisy(20.0),
    "pink noise 10 dB below": _noisy(10.0),
    "pink noise 0 dB below": _noisy(0.0),
    "room, 0.5 s": _in_room(0.5),
    "room, 1 s": _in_room(1.0),
    "another device": lambda waveform, rate, rng: through_device(waveform, rate, 8.0, (200.0, 5000.0), rng),
    "mp3, 23 kbit/s": _without_draws(by_mp3),
    "Opus, 12 kbit/s": _without_draws(partial(by_opus, kbit=12.0)),
    "telephone": _without_draws(by_telephone),
    "clipped 15 dB below the peak": lambda waveform, *_: clipped(waveform, 15.0),
    "20 dB quieter": lambda waveform, *_: waveform * np.float32(0.1),
}
"""Degradations by name; each draws random numbers only from the generator that it gets."""


@dataclass(frozen=True)
class Degraded:
    """Reader of a degraded recording; the same seed gives the same sound."""

    audio: AudioReader
    name: str
    seed: tuple[int, ...]

    def load(self, sample_rate: int) -> Audio:
        """The degraded recording at this rate."""
        waveform = self.audio.load(sample_rate).waveform
        changed = DEGRADATIONS[self.name](waveform, sample_rate, np.random.default_rng(self.seed))
        return Audio(changed.astype(np.float32), sample_rate)


def degrade(data: Dataset, name: str, seed: int = 0) -> Dataset:
    """The same clips, degraded; what is drawn for a clip depends on the seed and the clip's id alone."""
    clips = (replace(clip, audio=Degraded(clip.audio, name, (seed, zlib.crc32(clip.id.encode())))) for clip in data)
    return replace(data, name=f"{data.name} ({name})", clips=tuple(clips))


def measures(model: str, data: Dataset, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Top-1, mAP and its interval on each degraded version of the clips."""
    network = hub.load_network(model)
    results = {}
    for name in DEGRADATIONS:
        report: Report = evaluate(network, degrade(data, name, seed))
        low, high = report.mAP_interval
        results[name] = {"n": len(report.ids), "top1": report.top1, "mAP": report.mAP, "low": low, "high": high}
        shown = "-" if report.top1 is None else f"{report.top1:.3f}"
        print(f"{name}: top-1 {shown}, mAP {report.mAP:.3f}", file=sys.stderr)
    return results


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows of degradations, with the loss of top-1 against the clips as they are."""
    clean = results["as they are"]["top1"]
    text = "| clips | n | top-1 | change | mAP | 95 % interval |\n|---|---|---|---|---|---|\n"
    for name, row in results.items():
        change = "" if row["top1"] is None else f"{row['top1'] - clean:+.3f}"
        top1 = "-" if row["top1"] is None else f"{row['top1']:.3f}"
        text += (
            f"| {name} | {row['n']} | {top1} | {change} | {row['mAP']:.3f} | {row['low']:.3f} to {row['high']:.3f} |\n"
        )
    return text


def degraded(model: str, bank: Path, *, split: str = "5", seed: int = 0, out: Path | None = None) -> None:
    """Measure a model on degraded versions of a split of ESC-50.

    Args:
        model: A name or a checkpoint with the labels of ESC-50, not trained on that split.
        bank: Folder of ESC-50.
        split: Folds, joined by commas.
        seed: Seed of noise, rooms and devices.
        out: Write the figures as JSON to this file; by default print the table.
    """
    data = open_data(f"esc50:{bank}").select(splits=split.split(","))
    results = measures(model, data, seed)
    if out is not None:
        facts = {"model": Path(model).name, "split": split, "seed": seed, "degradations": results}
        out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(table(results), end="")
