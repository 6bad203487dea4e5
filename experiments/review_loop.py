"""Writes results/review-loop.md and .json: detect, clips, review, train, detect; the truth replaces a person."""

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from earmark.annotations.events import Annotation
from earmark.annotations.formats import FORMATS
from earmark.audio.recording import save_audio
from earmark.data.synthetic import synthetic_bank
from earmark.review.cutting import DESCRIPTION
from earmark.review.manifest import read_manifest
from earmark.review.names import NOISE, folder_of
from experiments.steps import RESULTS, commit, earmark, resume

KEPT: Final = RESULTS / "review-loop.json"
SPLITS: Final = ("train", "train", "valid", "test")
"""Splits of the sounds in turn: for the first training, for the field recordings, for the held-out ones."""
THRESHOLD: Final = 0.3
PRECISION: Final = 0.8
"""Precision that the proposed thresholds are to reach."""
PER_LABEL: Final = 40
PAD: Final = 0.5
"""Seconds that clips have before and after an event."""
OVERLAP: Final = 0.1
"""Seconds of a sound that a person notices in a clip."""
RATE: Final = 16000
_MIXED: Final = ("--sample-rate", RATE, "--snr-db", 0, 20, "--event-duration", 0.3, 1.5, "--quiet")
_DETECT: Final = ("--window", 0.8, "--hop", 0.4, "--threshold", THRESHOLD, "--release", 1)
_TRAIN: Final = (
    *("--sample-rate", RATE, "--width", 10, "--clip-duration", 6, "--batch-size", 16, "--learning-rate", 0.0015),
    *("--mixup-alpha", 0, "--no-spec-augment", "--dropout", 0.2, "--block-dropout", 0, "--ema-decay", 0.98),
    *("--cache", "log_mel", "--device", "cpu", "--precision", "float32"),
)
Truth = dict[str, list[tuple[float, float, str]]]
"""Onset, offset and label of the sounds of each recording, by the name of its file."""


def review_loop(
    work: Path | None = None,
    *,
    n_sounds: int = 80,
    n_train: int = 400,
    n_recordings: int = 150,
    n_clips_seen: int = 4800,
    seed: int = 0,
) -> None:
    """Run one round of detect, clips, review, train, detect on the demo's sounds, corrected from the truth.

    Args:
        work: Folder for everything that is made on the way.
        n_sounds: Synthetic sounds of each label.
        n_train: Weakly labelled clips of the first training.
        n_recordings: Field recordings, whose detections are corrected, and as many held-out ones.
        n_clips_seen: Budget of each training.
        seed: Seed of sounds, recordings and trainings.
    """
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        results = run(work, n_sounds, n_train, n_recordings, n_clips_seen, seed)
        KEPT.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")


def run(work: Path, n_sounds: int, n_train: int, n_recordings: int, n_clips_seen: int, seed: int) -> dict[str, Any]:
    """The figures of the loop; finished steps of an earlier call are kept."""
    write_bank(work / "bank", n_sounds, seed)
    for name, split, words in (
        ("training", "train", ("--n-clips", n_train, "--duration", 6, "--n-events", 1, 3)),
        ("field", "valid", ("--n-clips", n_recordings, "--duration", 10, "--n-events", 2, 4)),
        ("held-out", "test", ("--n-clips", n_recordings, "--duration", 10, "--n-events", 2, 4)),
    ):
        earmark("soundscapes", "folder:bank", name, "--split", split, *words, "--seed", seed, *_MIXED, folder=work)
    budget = ("--n-clips-seen", n_clips_seen, "--seed", seed, "--quiet")
    train(work, "first", *_TRAIN, *budget)
    events = listen(work, "first", "field")
    files = ("--thresholds", "thresholds.csv", "--out", "corrected.csv")
    review = reviewed(work, events.stem, "--precision", PRECISION, *files)
    more = ("--init", "first/last.safetensors", *_TRAIN, *budget)
    train(work, "control", *more)
    train(work, "second", "--add", "csv:corrected.csv", *more)
    truth, held_out = read_truth(work / "held-out"), {}
    for name in ("first", "control", "second"):
        found = listen(work, name, "held-out")
        held_out[name] = {"review": overall(reviewed(work, found.stem)), **by_truth(found, truth)}
    proposed = by_truth(work / "first-held-out.csv", truth, read_thresholds(work / "thresholds.csv"))
    return {
        "commit": commit(),
        "settings": {
            "n_sounds": n_sounds,
            "n_train": n_train,
            "n_recordings": n_recordings,
            "n_clips_seen": n_clips_seen,
            "seed": seed,
        },
        "field": by_truth(events, read_truth(work / "field")),
        "review": review,
        "held_out": held_out,
        "proposed": proposed,
    }


def write_bank(folder: Path, n_sounds: int, seed: int) -> None:
    """Writes the demo's sounds as `SPLIT/LABEL/NAME.flac`."""
    for number, clip in enumerate(synthetic_bank(n_sounds, seed)):
        path = folder / SPLITS[number % len(SPLITS)] / clip.labels[0] / f"{clip.id}.flac"
        if not path.exists():
            save_audio(path, clip.load(RATE))


def train(work: Path, name: str, *words: object) -> None:
    """Trains on the weakly labelled clips; a finished run is kept."""
    earmark("train", "soundscapes:training", *words, "--out", name, *resume(work / name), folder=work)


def listen(work: Path, model: str, recordings: str) -> Path:
    """Detects events, cuts clips out and moves the wrong ones, as a person who knows the truth would.

    Returns the table of events. The clips lie in the folder of its name.
    """
    events = work / f"{model}-{recordings}.csv"
    folder = events.with_suffix("")
    if not events.exists():
        checkpoint = ("--model", f"{model}/last.safetensors")
        earmark("detect", f"{recordings}/audio", *checkpoint, *_DETECT, "--out", events.name, "--quiet", folder=work)
    if not (folder / DESCRIPTION).exists():
        with (work / "log.txt").open("a") as log:
            choice = ("--per-label", PER_LABEL, "--pad", PAD)
            earmark("clips", events.name, folder.name, *choice, "--quiet", folder=work, output=log)
    correct(folder, read_truth(work / recordings))
    return events


def correct(folder: Path, truth: Truth) -> None:
    """Moves each clip without its label into the folder of the label that sounds longest in it, or into `_noise`."""
    for row in read_manifest(folder):
        labels = sounding(truth, row.file, row.start, row.end)
        if row.label not in labels and (folder / row.clip).exists():
            target = folder / (folder_of(labels[0]) if labels else NOISE)
            target.mkdir(exist_ok=True)
            shutil.move(folder / row.clip, target / row.name)


def read_truth(folder: Path) -> Truth:
    """The sounds of the soundscapes in a folder."""
    return {
        Path(recording.file).name: [(event.onset, event.offset, event.label) for event in recording.events]
        for recording in FORMATS["dcase"].read(folder / "truth.tsv")
    }


def sounding(truth: Truth, file: str, start: float, end: float) -> list[str]:
    """The labels that sound for `OVERLAP` or more in a part of a recording, by falling time in it."""
    times: dict[str, float] = {}
    for onset, offset, label in truth.get(Path(file).name, ()):
        times[label] = times.get(label, 0.0) + max(0.0, min(end, offset) - max(start, onset))
    return [label for label in sorted(times, key=lambda label: -times[label]) if times[label] >= OVERLAP]


def reviewed(work: Path, folder: str, *words: object) -> dict[str, Any]:
    """The figures that `earmark review` prints."""
    path = work / f"{folder}.json"
    with path.open("w", encoding="utf-8") as output:
        earmark("review", folder, "--json", *words, "--quiet", folder=work, output=output)
    return dict(json.loads(path.read_text(encoding="utf-8")))


def by_truth(events: Path, truth: Truth, thresholds: Mapping[str, float] | None = None) -> dict[str, int]:
    """How many events there are and how many are right, and how many sounds there are and how many were found.

    An event is right if its label sounds in it or within `PAD` of it, as a person judges the clip. A sound is found if
    an event of its label overlaps it.

    Args:
        events: The table of events.
        truth: The sounds.
        thresholds: Lowest scores of events by their labels; other labels keep all events.
    """
    thresholds = thresholds or {}
    kept: dict[str, list[Annotation]] = {
        Path(recording.file).name: [e for e in recording.events if (e.score or 0.0) >= thresholds.get(e.label, 0.0)]
        for recording in FORMATS["csv"].read(events)
    }
    n_right = sum(
        e.label in sounding(truth, file, max(0.0, e.onset - PAD), e.offset + PAD) for file in kept for e in kept[file]
    )
    n_found = sum(
        any(e.label == label and e.onset < offset and onset < e.offset for e in kept.get(file, ()))
        for file, sounds in truth.items()
        for onset, offset, label in sounds
    )
    n_events, n_sounds = sum(map(len, kept.values())), sum(map(len, truth.values()))
    return {"n_events": n_events, "n_right": n_right, "n_sounds": n_sounds, "n_found": n_found}


def overall(review: Mapping[str, Any]) -> float:
    """The precision of all events that a review estimates, over all labels."""
    labels = review["labels"]
    n_events = sum(label["n_events"] for label in labels)
    return float(sum(label["n_events"] * label["precision"] for label in labels) / n_events)


def read_thresholds(path: Path) -> dict[str, float]:
    """The thresholds of a file."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["label"]: float(row["threshold"]) for row in csv.DictReader(file)}


def page(results: Mapping[str, Any]) -> str:
    """The page: precision before and after, the labels of the first review, the settings."""
    settings, review, field = results["settings"], results["review"], results["field"]
    n_sounds, n_recordings = settings["n_sounds"], settings["n_recordings"]
    n_moved = review["n_corrected"] + review["n_noise"]
    rows = [
        ("first network", results["held_out"]["first"]),
        ("the same, events above the proposed thresholds", results["proposed"]),
        ("trained as long again without the corrections", results["held_out"]["control"]),
        ("**trained as long again with the corrections**", results["held_out"]["second"]),
    ]
    lines = [
        "# One round of corrections",
        "",
        f"Written by `python -m experiments review-loop WORK` (commit {results['commit']}). The sounds are those of "
        f"the demo, {n_sounds} of each of ten labels: half for the first training, a quarter for field recordings, a "
        f"quarter for held-out ones. The first network learns from {settings['n_train']} weakly labelled clips. "
        f"It detects events in {n_recordings} field recordings of 10 s (threshold {THRESHOLD}); "
        f"`earmark clips --per-label {PER_LABEL}` cuts {review['n_clips']} of {field['n_events']} events out. "
        "In place of a person, a script knows the truth: it moves a clip in which the label does not sound into the "
        f"folder of the label that sounds longest in it, or into `_noise`: {n_moved} clips. `earmark review` writes "
        "the corrections, and `earmark train --init first --add csv:corrected.csv` trains on them and the first clips.",
        "",
        f"Detections in {n_recordings} held-out recordings of other sounds, at the same threshold:",
        "",
        "| network | precision by `earmark review` | precision by the truth | events | sounds found |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, figures in rows:
        estimate = f"{figures['review']:.3f}" if "review" in figures else "-"
        lines.append(
            f"| {name} | {estimate} | {figures['n_right'] / figures['n_events']:.3f} | {figures['n_events']} | "
            f"{figures['n_found']} of {figures['n_sounds']} |"
        )
    lines += [
        "",
        f"The review judges at most {PER_LABEL} clips of a label, evenly from the score bands, and weighs them by the "
        "events of their band; the truth judges all events. Both call an event right if its label sounds in it or "
        f"within {PAD} s of it.",
        "",
        f"Labels of the first review, and the lowest thresholds with a precision of {PRECISION}:",
        "",
        "| label | events | clips | right | precision | 95 % interval | threshold |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for own in review["labels"]:
        low, high = own["interval"]
        threshold = f"{own['proposal']['threshold']:.3f}" if own["proposal"] else "none"
        lines.append(
            f"| {own['label']} | {own['n_events']} | {own['n_clips']} | {own['n_right']} | {own['precision']:.3f} | "
            f"{low:.3f} to {high:.3f} | {threshold} |"
        )
    return "\n".join(lines) + "\n"
