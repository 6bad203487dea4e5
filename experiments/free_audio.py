"""Lists of freely licensed recordings: which may be trained on, which groups are held out, what kind each one is."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from earmark.errors import ConfigError
from earmark.inference.tagger import Tagger
from experiments.esc50_labels import IN_AUDIOSET

SPLITS: Final = {"test": 0.075, "valid": 0.15, "train": 1.0}
"""Shares of the groups, each counted from 0 on: half of what is held out is for calibration, half for tests."""
NOTHING: Final = ("speech", "music")
"""Kinds of recordings in which none of ESC-50's sounds is expected."""
_SPEECH: Final = ("picovoice_intent", "picovoice_wakeword")
_MUSIC: Final = ("salamander_piano", "sonicpi_samples")
_LABELS_OF_MUSIC: Final = ("music", "trumpet")
EXAMPLES: Final = ("fs583142", "fs253953")
"""Groups of recordings that the guides show or have shown; no training uses them."""
SHARE_ALIKE: Final = ("cdda_ccsounds",)
"""Sources that are CC BY-SA 4.0 as collections, whatever the list says of single recordings."""


class Recording(NamedTuple):
    """A row of the list."""

    path: Path
    source: str
    licence: str
    label: str
    group: str
    split: str
    """`train`, `valid` or `test`; all recordings of a group have the same."""
    kind: str
    """`speech`, `music` or `other`, by source and label."""


def read_index(folder: Path) -> list[Recording]:
    """The recordings that `index.csv` in a folder lists: file, source, licence, label, group."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        return list(_recordings(folder, csv.DictReader(file)))


def _recordings(folder: Path, rows: "csv.DictReader[str]") -> Iterator[Recording]:
    for row in rows:
        path = folder / row["file"]
        licence = "CC BY-SA 4.0" if row["source"] in SHARE_ALIKE else row["licence"]
        yield Recording(path, row["source"], licence, row["label"], row["group"], split_of(row["group"]), kind_of(row))


def split_of(group: str) -> str:
    """The split of a group, by a hash of its name, so that it does not depend on the other groups."""
    if group in EXAMPLES:
        return "test"
    number = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
    return next(split for split, share in SPLITS.items() if number < share)


def kind_of(row: Mapping[str, str]) -> str:
    """`speech`, `music` or `other`."""
    source, label = row["source"], row["label"]
    if source in _SPEECH or label in ("speech", "speech en", "speech es"):
        return "speech"
    if source in _MUSIC or label.startswith(_LABELS_OF_MUSIC):
        return "music"
    return "other"


def write_clips(rows: list[tuple[Path, str, str, str]], path: Path) -> None:
    """Writes path, labels, split and group of clips as a table for `csv:`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "split", "group"))
        writer.writerows(rows)


def nothing_rows(recordings: Iterable[Recording]) -> Iterator[tuple[Path, str, str, str]]:
    """Rows of recordings in which none of ESC-50's sounds is expected.

    Half of the held-out ones have the split 5: a model is calibrated on them together with fold 5.
    """
    for row in recordings:
        if row.kind in NOTHING:
            yield row.path, "", "5" if row.split == "valid" else row.split, row.group


def false_tags(tagger: Tagger, recordings: Iterable[Recording]) -> dict[str, dict[str, float]]:
    """Tagged classes of ESC-50 a recording at the model's own thresholds, on test recordings of speech and music.

    None of these sounds is expected there. A label of AudioSet stands for the class that it is nearest to.

    Raises:
        ConfigError: The model has no such label.
    """
    class_of = {label: name for name, labels in IN_AUDIOSET.items() for label in (name, *labels)}
    if not set(class_of).intersection(tagger.labels.names):
        raise ConfigError("a model with labels of ESC-50 or AudioSet was expected, this one has none of them")
    counts: dict[str, list[int]] = {kind: [] for kind in NOTHING}
    for row in recordings:
        if row.split == "test" and row.kind in NOTHING:
            tags = tagger.tag(row.path, threshold="auto")
            counts[row.kind].append(len({class_of[tag.label] for tag in tags if tag.label in class_of}))
    return {kind: {"n": len(own), "tags": float(np.mean(own))} for kind, own in counts.items() if own}
