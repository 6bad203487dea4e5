"""The soundscapes of a table: mixed and rendered once, from parts of the bank without common sources."""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from earmark.data.clips import GROUP_SEPARATOR, Clip, Dataset, ids_sha256, sources
from earmark.data.damage import RowError
from earmark.data.soundscapes import (
    TRUTH_COLUMNS,
    SoundscapeConfig,
    TruthEvent,
    mix_soundscapes,
    read_soundscapes,
    render_soundscapes,
)
from earmark.data.tables import read_csv_table
from earmark.errors import DataError
from experiments.table1.plan import TablePlan
from experiments.table1.profiles import DIFFICULTIES

PARTS: Final = ("train", "valid", "test")
_HELD_OUT: Final = 1 / 6
_SEEDS: Final = {
    difficulty: {part: 10 * number + position for position, part in enumerate(PARTS, 1)}
    for number, difficulty in enumerate(DIFFICULTIES)
}


def hold_out(bank: Dataset, share: float = _HELD_OUT) -> tuple[Dataset, Dataset]:
    """Splits the bank in two: most sounds, and about this share of each label's sounds; no source is in both.

    A hash of the sounds' ids chooses the sources: the same on every machine, and independent of the order of the bank.

    Raises:
        DataError: A label has only one source, or cannot be in both parts.
    """
    of_source: dict[str, list[Clip]] = {}
    for clip in bank:
        of_source.setdefault(min(sources(clip)), []).append(clip)
    in_turn = sorted(of_source.values(), key=lambda clips: _digest(min(clip.id for clip in clips)))
    held: set[str] = set()
    for label in bank.labels:
        held |= _held_out(label, in_turn, held, share)
    parts = [
        replace(bank, clips=tuple(clip for clip in bank if (clip.id in held) is inside)) for inside in (False, True)
    ]
    for label in {label for clip in bank for label in clip.labels}:
        if not all(any(label in clip.labels for clip in part) for part in parts):
            raise DataError(
                f"{bank.name}: the sounds of {label!r} share sources with those of other labels too often "
                "to be in training and validation both; leave some out"
            )
    return parts[0], parts[1]


def _held_out(label: str, in_turn: Sequence[Sequence[Clip]], held: set[str], share: float) -> set[str]:
    """Ids of the sounds to hold out for a label, in addition to those already held out."""
    sizes = [sum(label in clip.labels for clip in clips) for clips in in_turn]
    wanted = share * sum(sizes)
    taken = sum(label in clip.labels and clip.id in held for clips in in_turn for clip in clips)
    more: set[str] = set()
    free = [(size, clips) for size, clips in zip(sizes, in_turn, strict=True) if size and clips[0].id not in held]
    if sum(sizes) and not taken and len(free) < 2:
        raise DataError(f"{label!r}: sounds of two sources were expected, to hold one out for validation; one is there")
    for size, clips in free:
        # hold a source out if that comes nearer to the share
        if taken + size / 2 <= wanted:
            more |= {clip.id for clip in clips}
            taken += size
    if sum(sizes) and not taken:
        more |= {clip.id for clip in min(free, key=lambda entry: entry[0])[1]}
    return more


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def part_folder(out: Path, difficulty: str, part: str) -> Path:
    """Folder of the soundscapes of a part."""
    return out / "data" / difficulty / part


def n_soundscapes(plan: TablePlan, part: str) -> int:
    """Number of soundscapes of a part."""
    return {"train": plan.profile.n_train, "valid": plan.profile.n_valid, "test": plan.profile.n_test}[part]


def n_recordings(out: Path, difficulty: str, part: str, clip_ids_sha256: str) -> int | None:
    """Number of sources in the soundscapes of a part; None if their list is missing or lists other soundscapes."""
    path = part_folder(out, difficulty, part) / "clips.csv"
    with suppress(OSError, KeyError), path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        if ids_sha256(Path(row["path"]).stem for row in rows) == clip_ids_sha256:
            return len({source for row in rows for source in row["group"].split(GROUP_SEPARATOR)})
    return None


def open_part(plan: TablePlan, out: Path, difficulty: str, part: str) -> Dataset:
    """The soundscapes of a part, under a name without paths.

    Raises:
        DataError: The part is incomplete.
    """
    folder = part_folder(out, difficulty, part)
    clips = read_soundscapes(folder)
    if len(clips) != n_soundscapes(plan, part):
        raise DataError(
            f"{folder}: {n_soundscapes(plan, part)} soundscapes were expected, {len(clips)} are there; "
            "run the same command again to resume"
        )
    return replace(clips, name=f"{difficulty} {part} soundscapes of {plan.bank}")


def read_truth(folder: Path) -> list[TruthEvent]:
    """The true events of a rendered folder.

    Raises:
        DataError: The table is missing or damaged.
    """
    path = folder / "truth.tsv"
    events = []
    for number, row in read_csv_table(path, TRUTH_COLUMNS, separators="\t"):
        filename, onset, offset, label, gain_db = (row[name] for name in TRUTH_COLUMNS)
        try:
            events.append(TruthEvent(filename, float(onset), float(offset), label, float(gain_db)))
        except ValueError as error:
            raise RowError(path, number, str(error)) from error
    return events


def true_events(folder: Path) -> dict[str, list[TruthEvent]]:
    """The events of each soundscape of a folder that has any, by its id.

    Raises:
        DataError: The table of events is missing or damaged.
    """
    truth: dict[str, list[TruthEvent]] = {}
    for event in read_truth(folder):
        truth.setdefault(Path(event.filename).stem, []).append(event)
    return truth


def unrendered(plan: TablePlan, out: Path) -> Iterator[tuple[str, str]]:
    """Yields difficulty and part of the incomplete parts."""
    for difficulty in plan.difficulties:
        for part in PARTS:
            with suppress(DataError):
                open_part(plan, out, difficulty, part)
                continue
            yield difficulty, part


def render_part(
    plan: TablePlan,
    bank: Dataset,
    out: Path,
    difficulty: str,
    part: str,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Mixes and writes the soundscapes of a part; interrupted, the same call resumes.

    Raises:
        DataError: The bank is unsuitable, or the folder holds other soundscapes.
        AudioError: A sound cannot be read.
    """
    if part == "test":
        sounds = bank.select(splits=plan.test_splits)
    else:
        sounds = hold_out(bank.select(splits=plan.train_splits))[part == "valid"]
    settings = SoundscapeConfig(
        duration=plan.profile.duration,
        sample_rate=plan.profile.training.sample_rate,
        event_duration=DIFFICULTIES[difficulty],
        seed=_SEEDS[difficulty][part],
    )
    mixed = mix_soundscapes(sounds, settings, n_soundscapes(plan, part), split=part)
    render_soundscapes(mixed, part_folder(out, difficulty, part), progress=progress)
