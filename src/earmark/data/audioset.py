"""AudioSet: two million clips of videos, 527 sounds, weak labels and some strong ones (Gemmeke et al. 2017)."""

import csv
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from earmark.audio import media
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage, RowError
from earmark.data.segment_files import SCHEMES, SegmentFiles, list_files, match_files
from earmark.data.tables import parse_seconds, read_csv_table, read_labels
from earmark.errors import DataError, EarmarkWarning, first_few
from earmark.labels import LabelSet
from earmark.storage.text_files import read_lines

_SEGMENTS: Final = "_segments.csv"
_LABELS: Final = "class_labels_indices.csv"
_LABEL_COLUMNS: Final = ["index", "mid", "display_name"]
_STRONG_COLUMNS: Final = ["segment_id", "start_time_seconds", "end_time_seconds", "label"]
_ID: Final = re.compile(r"[^\s/\\\"]+")
_LABEL_ID: Final = re.compile(r"/[mtg]/\w+")
_EXPECTED: Final = (
    """expected an id, start and end in seconds, and labels, as in 'id, 30.000, 40.000, "/m/09x0r,/m/04rlf"'"""
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of a segment list: a part of a video and the labels that occur in it."""

    video_id: str
    onset: float
    """Start in the video, in seconds."""
    offset: float
    """End in the video, in seconds: 10 s later, or the end of a short video."""
    label_ids: tuple[str, ...]
    """MIDs, such as `/m/09x0r`."""


def read_segments(path: Path | str) -> list[Segment]:
    """The segments of a list as Google publishes it, or as a spreadsheet has saved it again.

    Lines that begin with `#` are comments.

    Raises:
        DataError: The file cannot be read, or a row is damaged; the text names the row by its line.
    """
    return [segment for _, segment in _numbered_segments(Path(path), Damage(lenient=False))]


def _numbered_segments(path: Path, damage: Damage) -> Iterator[tuple[int, Segment]]:
    """Segments with their line numbers; if `damage` is lenient, labels may be unknown or missing."""
    seconds: dict[str, float] = {}
    label_ids: dict[str, tuple[str, ...]] = {}  # a million rows share a hundred thousand label lists
    for number, line in enumerate(map(str.strip, read_lines(path)), 1):
        start = line.lstrip('" ')
        if start.startswith("#") and not start.startswith("#NAME?"):
            continue
        try:
            # one line at a time: an unclosed quote must not swallow the rows after it
            cells = next(csv.reader([line], skipinitialspace=True, strict=True), [])
            if not any(cells):
                continue
            if start.startswith("#NAME?"):
                raise DataError("a spreadsheet took the id for a formula; take the original file")
            if len(cells) < 4:
                raise DataError(f"{len(cells)} columns")
            video_id, onset, offset = (cell.strip() for cell in cells[:3])
            listed = ",".join(cells[3:])
            for text in (onset, offset):
                if text not in seconds:
                    seconds[text] = parse_seconds(text)
            if listed not in label_ids:
                label_ids[listed] = _label_ids(listed, damage.lenient)
            if not _ID.fullmatch(video_id):
                raise DataError(f"{video_id!r} is not an id")
            if seconds[offset] <= seconds[onset]:
                raise DataError(f"it ends at {offset} s, not after its start at {onset} s")
        except (csv.Error, DataError) as error:
            row = line if len(line) <= 60 else f"{line[:60]}..."
            damaged = RowError(path, number, f"{_EXPECTED}, got {row!r}: {error}")
            damaged.__cause__ = error
            damage.add(damaged)
            continue
        yield number, Segment(video_id, seconds[onset], seconds[offset], label_ids[listed])


def _label_ids(listed: str, lenient: bool) -> tuple[str, ...]:
    # a spreadsheet splits the list at its commas and doubles its quotes
    label_ids = tuple(dict.fromkeys(filter(None, (label.strip('" ') for label in listed.split(",")))))
    if not label_ids and not lenient:
        raise DataError("no label")
    if not lenient and (strange := [label for label in label_ids if not _LABEL_ID.fullmatch(label)]):
        raise DataError(f"{strange[0]!r} is not a label id")
    return label_ids


def read_label_set(path: Path | str) -> LabelSet:
    """The labels of a `class_labels_indices.csv`, in the order of their indices; ids are the MIDs.

    Raises:
        DataError: The file is not such a table; the text names the row.
    """
    path = Path(path)
    rows = read_csv_table(path, _LABEL_COLUMNS)
    return read_labels(path, ((number, [row["index"], row["display_name"], row["mid"]]) for number, row in rows))


class StrongEvent(NamedTuple):
    """An event in a segment: a label with its times."""

    label_id: str
    """MID; the strong labels include some that are not among the 527 weak ones."""
    onset: float
    """Seconds from the start of the segment."""
    offset: float


def read_strong_labels(path: Path | str) -> dict[str, list[StrongEvent]]:
    """The events of each segment in a table of strong labels, by segment id, in the order of the table.

    Raises:
        DataError: The file is not such a table, or a row is damaged; the text names the row by its line.
    """
    path = Path(path)
    events: dict[str, list[StrongEvent]] = {}
    for number, row in read_csv_table(path, _STRONG_COLUMNS, separators="\t"):
        segment_id, start, end, label_id = (row[name] for name in _STRONG_COLUMNS)
        try:
            split_segment_id(segment_id)
            onset, offset = parse_seconds(start), parse_seconds(end)
            if offset < onset:
                raise DataError(f"it ends at {end} s, before its start at {start} s")
            if not _LABEL_ID.fullmatch(label_id):
                raise DataError(f"{label_id!r} is not a label id")
        except DataError as error:
            raise RowError(path, number, str(error)) from error
        events.setdefault(segment_id, []).append(StrongEvent(label_id, onset, offset))
    return events


def split_segment_id(segment_id: str) -> tuple[str, float]:
    """The video id, and the start of the segment in the video in seconds.

    >>> split_segment_id("b0RFKhbpFJA_-_30000")
    ('b0RFKhbpFJA_-', 30.0)

    Raises:
        DataError: The id does not end in an underscore and milliseconds.
    """
    video_id, _, milliseconds = segment_id.rpartition("_")
    if not (_ID.fullmatch(video_id) and milliseconds.isdecimal()):
        raise DataError(f"expected a segment id that ends in milliseconds, such as id_30000, got {segment_id!r}")
    return video_id, int(milliseconds) / 1000


def read_audioset(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a folder with segment lists and recordings, or of one list with the recordings in its folder.

    Lists are named `SPLIT_segments.csv`, as in `balanced_train_segments.csv`, and lie in the folder or one folder
    below. Recordings lie anywhere below the folder; each holds one segment and is named by one of `SCHEMES`. A
    `class_labels_indices.csv` beside the lists defines the labels; without one they are AudioSet's 527. The video id,
    which occurs once, is the clip's id and its group.

    Videos disappear, so missing recordings are normal: they are skipped, counted in an `EarmarkWarning` and listed in
    `Dataset.missing`.

    Args:
        path: The folder or the list.
        lenient: Skip missing recordings and damaged rows without a warning; allow unknown labels and rows without
            labels.

    Raises:
        DataError: There is no list; a row is damaged, has an unknown label or repeats a video; or no recording is
            found.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected AudioSet's folder or one of its segment lists")
    folder = str(path.parent if path.is_file() else path)
    files = list_files(folder)
    above = [place for place in files if folder in (place, os.path.dirname(place))]  # noqa: PTH120 (as they are listed)
    tables = [(folder, path.name)] if path.is_file() else [(at, n) for at in above for n in files[at] if _is_list(n)]
    if not tables:
        raise DataError(
            f"{path}: not AudioSet's folder: expected a list such as eval{_SEGMENTS} in it or one folder below; "
            "give a list of another name as audioset:FILE.csv"
        )
    beside = sorted({Path(place, _LABELS) for place, _ in tables if _LABELS in files[place]})
    labels = read_label_set(beside[0]) if beside else LabelSet.audioset()
    for other in beside[1:]:
        if read_label_set(other) != labels:
            raise DataError(f"{beside[0]} and {other} define different labels; keep one of them")
    damage = Damage(lenient)
    segments = _all_segments(sorted(Path(*table) for table in tables), labels, damage)
    found = match_files({s.video_id: (s.onset, s.offset) for s, _ in segments}, files)
    gone = [(s.video_id, split) for s, split in segments if s.video_id not in found.paths]
    not_there = tuple(video_id for video_id, _ in gone)
    _warn_of_missing_files(str(path), len(segments), not_there, found, lenient)
    there = [(s, split) for s, split in segments if s.video_id in found.paths]
    name_of = dict(zip(labels.ids, labels.names, strict=True))
    names = {ids: tuple(name_of[i] for i in ids if i in name_of) for ids in {s.label_ids for s, _ in there}}
    clips = tuple(
        Clip(s.video_id, names[s.label_ids], FileAudio(found.paths[s.video_id]), split, s.video_id)
        for s, split in there
    )
    lost = {ids: tuple(i for i in ids if i not in name_of) for ids in names}
    outside = tuple((s.video_id, lost[s.label_ids]) for s, _ in there if lost[s.label_ids])
    name = "AudioSet" if path.is_dir() else f"AudioSet {path.name}"
    splits = tuple(split for _, split in gone)
    return Dataset(name, labels, clips, not_there, splits, outside, tuple(damage.found))


def _is_list(name: str) -> bool:
    return name.endswith(_SEGMENTS) and name != _SEGMENTS


def _all_segments(lists: Sequence[Path], labels: LabelSet, damage: Damage) -> list[tuple[Segment, str]]:
    """The segments of several lists, each with its split."""
    segments: list[tuple[Segment, str]] = []
    where: dict[str, Path] = {}
    known: set[tuple[str, ...]] = set()
    unknown: dict[str, list[str]] = {}
    for path in lists:
        split = path.stem.removesuffix(_SEGMENTS.removesuffix(".csv"))
        for number, segment in _numbered_segments(path, damage):
            if segment.video_id in where:
                listed = f"video {segment.video_id} is already listed in {where[segment.video_id].name}"
                damage.add(RowError(path, number, f"{listed}; to read one list only, give audioset:FILE.csv"))
                continue
            where[segment.video_id] = path
            if segment.label_ids not in known:
                strange = [label_id for label_id in segment.label_ids if label_id not in labels]
                for label_id in strange:
                    unknown.setdefault(label_id, []).append(f"{path.name} row {number}")
                if not strange:
                    known.add(segment.label_ids)
            segments.append((segment, split))
    if unknown and not damage.lenient:
        shown = first_few([f"{label_id} ({first_few(rows)})" for label_id, rows in unknown.items()])
        text = f"{len(unknown)} labels are not among the {len(labels)} of the set: {shown}"
        raise DataError(f"{lists[0].parent}: {text}")
    if not segments:
        raise DataError(f"{', '.join(map(str, lists))}: no segment in it{damage.summary()}")
    return segments


def _warn_of_missing_files(
    name: str, n_segments: int, not_there: Sequence[str], found: SegmentFiles, lenient: bool
) -> None:
    """Warns of segments without a recording, or with several; refuses a list without any recording."""
    text = f"{name}: {len(not_there)} of {n_segments} recordings are missing"
    if not found.paths:
        example = SCHEMES[0].replace("<id>", not_there[0])
        expected = f"expected files named {', '.join(SCHEMES)}, such as {example}.wav"
        n_unread = found.n_unread
        unread = f"; {n_unread} files need another decoder: {media.INSTALL}" if n_unread else ""
        raise DataError(f"{text} ({first_few(not_there)}); {expected}, among {found.n_recordings} recordings{unread}")
    if not_there and not lenient:
        warnings.warn(f"{text} and left out: {first_few(not_there)}", EarmarkWarning, stacklevel=3)
    if found.n_doubled:
        several = f"{name}: {found.n_doubled} segments have several files; the first by name is used"
        warnings.warn(several, EarmarkWarning, stacklevel=3)
