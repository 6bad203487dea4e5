"""Prints what results/audioset-shaped.md shows: a small data set in AudioSet's Parquet layout, from doctor to report.

WORK/audioset/data/bal_train/*.parquet and .../eval/*.parquet have AudioSet's columns (video_id, audio with bytes and
path, labels as MIDs, human_labels), its sample rates (48 kHz, a tenth at 44.1 kHz) and row groups of a hundred clips of
10 s, mixed from ESC-50. As in AudioSet some rows are bad: in each split two cannot be decoded, two are silent, two are
duplicates.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from earmark.audio.recording import Audio
from earmark.data import Clip, open_data
from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes
from earmark.labels import LabelSet
from earmark.packing.shard import encode
from experiments.steps import earmark, resume, run
from experiments.table2 import table2

NAMES: Final = {
    "dog": "Dog", "rooster": "Crowing, cock-a-doodle-doo", "pig": "Oink", "cow": "Moo", "frog": "Frog", "cat": "Cat",
    "hen": "Cluck", "insects": "Insect", "sheep": "Sheep", "crow": "Crow", "rain": "Rain", "sea_waves": "Waves, surf",
    "crackling_fire": "Crackle", "crickets": "Cricket", "chirping_birds": "Chirp, tweet", "water_drops": "Drip",
    "wind": "Wind", "pouring_water": "Pour", "toilet_flush": "Toilet flush", "thunderstorm": "Thunderstorm",
    "crying_baby": "Baby cry, infant cry", "sneezing": "Sneeze", "clapping": "Clapping", "breathing": "Breathing",
    "coughing": "Cough", "footsteps": "Walk, footsteps", "laughing": "Laughter", "brushing_teeth": "Toothbrush",
    "snoring": "Snoring", "door_wood_knock": "Knock", "keyboard_typing": "Computer keyboard",
    "door_wood_creaks": "Creak", "vacuum_cleaner": "Vacuum cleaner", "clock_alarm": "Alarm clock",
    "clock_tick": "Tick-tock", "glass_breaking": "Shatter", "helicopter": "Helicopter", "chainsaw": "Chainsaw",
    "siren": "Siren", "car_horn": "Vehicle horn, car horn, honking", "engine": "Engine", "train": "Train",
    "church_bells": "Church bell", "airplane": "Fixed-wing aircraft, airplane", "fireworks": "Fireworks",
    "hand_saw": "Sawing",
}  # fmt: skip
"""ESC-50's labels and their names in AudioSet; four labels of ESC-50 have no counterpart there."""
SCHEMA: Final = pa.schema(
    [
        ("video_id", pa.string()),
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("labels", pa.list_(pa.string())),
        ("human_labels", pa.list_(pa.string())),
    ]
)
ROWS_PER_GROUP: Final = 100
ROWS_PER_FILE: Final = 1000


def video_id(name: str) -> str:
    """Eleven characters like the id of a video; some start with a hyphen."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    return "".join(alphabet[byte % 64] for byte in hashlib.sha256(name.encode()).digest()[:11])


def row(clip: Clip, number: int, labels: LabelSet) -> dict[str, object]:
    """The row of a clip; rows 11 and 12 are silent, 21 and 22 cannot be decoded."""
    rate = 44100 if number % 10 == 9 else 48000
    audio = clip.load(16000).mono(rate)
    if number in (11, 12):
        audio = Audio(np.zeros_like(audio.waveform), rate)
    data = encode(audio, "flac")
    names = [NAMES[label] for label in clip.labels]
    name = video_id(clip.id)
    return {
        "video_id": name,
        "audio": {"bytes": data[: len(data) // 3] if number in (21, 22) else data, "path": f"{name}.flac"},
        "labels": [labels.ids[labels.index(label)] for label in names],
        "human_labels": names,
    }


def write(folder: Path, clips: list[Clip]) -> None:
    """Writes the Parquet files of a split."""
    folder.mkdir(parents=True)
    labels = LabelSet.audioset()
    for first in range(0, len(clips), ROWS_PER_FILE):
        rows = [row(clip, first + i, labels) for i, clip in enumerate(clips[first : first + ROWS_PER_FILE])]
        if first == 0:  # duplicates: the same sound with another id
            rows += [{**rows[number], "video_id": video_id(f"again {clips[number].id}")} for number in (0, 1)]
        table = pa.Table.from_pylist(rows, SCHEMA)
        parquet.write_table(table, folder / f"{first // ROWS_PER_FILE:02d}.parquet", row_group_size=ROWS_PER_GROUP)


def audioset_shaped(bank: Path, work: Path, *, n_train: int = 2000, n_eval: int = 600) -> None:
    """Run doctor, pack, train and evaluate on a small data set in AudioSet's Parquet layout.

    Args:
        bank: Folder of ESC-50.
        work: Folder for the data set, the pack, the run and the report.
        n_train: Number of training clips.
        n_eval: Number of evaluation clips.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "audioset").exists():
        shutil.rmtree(work / "unfinished", ignore_errors=True)
        write_data_set(bank, work / "unfinished", n_train, n_eval)
        (work / "unfinished").rename(work / "audioset")
    _show("du -sh audioset", work)
    _show("earmark doctor parquet:audioset/data --out doctor --quiet", work)
    _show("earmark pack clips:doctor/clean.txt packed --sample-rate 16000", work)
    _show("du -sh packed", work)
    _show("earmark pack packed --check --quiet", work)
    train = "earmark train parquet:packed --split balanced_train --out run --config small --n-clips-seen 24000 --quiet"
    _show(" ".join([train, *resume(work / "run")]), work)
    _show("earmark evaluate run/last.safetensors parquet:packed --split eval --out report --quiet", work)
    print("\n$ python -m experiments table2 --report report/report.json", flush=True)
    print(table2(work / "report" / "report.json"), end="")


def write_data_set(bank: Path, out: Path, n_train: int, n_eval: int) -> None:
    """Writes both splits of the data set to `out/data`; training clips are mixed from folds 1 to 3, others from 5."""
    sounds = open_data(f"esc50:{bank}")
    for name, folds, n_clips, seed in (("bal_train", ("1", "2", "3"), n_train, 1), ("eval", ("5",), n_eval, 2)):
        config = SoundscapeConfig(sample_rate=16000, event_duration=(1.0, 5.0), seed=seed)
        mixed = mix_soundscapes(sounds.select(splits=folds, labels=NAMES), config, n_clips, split=name)
        write(out / "data" / name, list(mixed.dataset))


def _show(command: str, folder: Path) -> None:
    """Prints a command, runs it and lets its output through."""
    print(f"\n$ {command}", flush=True)
    program, *words = command.split()
    if program == "earmark":
        earmark(*words, folder=folder)
    else:
        run([program, *words], folder)
