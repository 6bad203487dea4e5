"""Recordings with annotations of other programs: Raven, Audacity, DCASE's tables, Label Studio."""

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np

from earmark.annotations.audacity import audacity_rows, is_audacity
from earmark.annotations.dcase import dcase_rows
from earmark.annotations.events import Annotation
from earmark.annotations.label_studio import label_studio_rows
from earmark.annotations.raven import is_raven, raven_rows
from earmark.annotations.rows import AnnotationError, Faulty, Located
from earmark.data.audioset import StrongEvent
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.damage import Damage, DamageError
from earmark.data.event_clips import EventClips, Span, covered_labels, draw_spans, event_spans, free_parts
from earmark.data.manifest import SLACK, stated_seconds, warn_of_labels
from earmark.data.recording_names import RecordingNames
from earmark.errors import DataError, EarmarkWarning, counted, first_few
from earmark.labels import LabelSet
from earmark.storage.files import in_either_form, walk

_Rows = Callable[[Path, Faulty], Iterator[Located]]
_TABLES: Final = (".txt", ".tsv")
_SEED: Final = 0
"""Clips without events are the same whenever the source is read: clip lists name them."""


@dataclass
class _Recording:
    """A recording with its events; the same events of several tables are one."""

    id: str
    path: Path
    duration: float
    """Seconds; infinite where the header does not state them."""
    events: dict[Annotation, None] = field(default_factory=dict)


@dataclass
class _Found:
    """The recordings that annotations name."""

    recordings: list[_Recording]
    missing: tuple[str, ...]
    damage: Damage


def read_raven(path: Path | str, lenient: bool = False, rules: EventClips | None = None) -> Dataset:
    """The clips of Raven's selections: a folder with tables (`.txt`) and recordings, or one table.

    Args:
        path: The folder or table.
        lenient: Skip missing recordings and rows that cannot be read.
        rules: How clips are made; None takes the defaults.

    Raises:
        DataError: There is no table, a row or table cannot be read, a recording is missing, or there is no annotation.
    """
    return _clips("raven", Path(path), lenient, rules)


def read_audacity(path: Path | str, lenient: bool = False, rules: EventClips | None = None) -> Dataset:
    """The clips of Audacity's labels: a folder with label tracks, each named like its recording, or one label track.

    Args and errors as in `read_raven`.
    """
    return _clips("audacity", Path(path), lenient, rules)


def read_dcase(path: Path | str, lenient: bool = False, rules: EventClips | None = None) -> Dataset:
    """The clips of a table of events with the columns of DCASE: `filename`, `onset`, `offset`, `event_label`.

    Args and errors as in `read_raven`.
    """
    return _clips("dcase", Path(path), lenient, rules)


def read_label_studio(path: Path | str, lenient: bool = False, rules: EventClips | None = None) -> Dataset:
    """The clips of a JSON export of Label Studio.

    Args and errors as in `read_raven`.
    """
    return _clips("label-studio", Path(path), lenient, rules)


def read_recordings(source: str, path: Path | str, rules: EventClips) -> tuple[Dataset, dict[str, list[StrongEvent]]]:
    """The whole recordings of a source with their labels, and the events of each by its id.

    Raises:
        DataError: As in `read_raven`.
    """
    found = _read(source, Path(path), Damage(lenient=False), rules)
    labels = _label_set(Path(path), found)
    clips = tuple(
        Clip(recording.id, tuple(dict.fromkeys(event.label for event in recording.events)), FileAudio(recording.path))
        for recording in found.recordings
    )
    events = {
        recording.id: [StrongEvent(event.label, event.onset, event.offset) for event in recording.events]
        for recording in found.recordings
    }
    return Dataset(Path(path).resolve().name, labels, clips), events


def _clips(source: str, path: Path, lenient: bool, rules: EventClips | None) -> Dataset:
    rules = rules or EventClips()
    found = _read(source, path, Damage(lenient), rules)
    labels = _label_set(path, found)
    spans = [event_spans(tuple(recording.events), recording.duration, rules) for recording in found.recordings]
    clips: list[Clip] = []
    for recording, own in zip(found.recordings, spans, strict=True):
        named = covered_labels(own, tuple(recording.events))
        clips += (_clip(recording, span, labels_) for span, labels_ in zip(own, named, strict=True))
    clips += _negatives(path, found.recordings, [span for own in spans for span in own], rules)
    warn_of_labels(str(path), labels.names, clips)
    unstated = (None,) * len(found.missing)
    return Dataset(
        path.resolve().name, labels, tuple(clips), found.missing, unstated, damaged=tuple(found.damage.found)
    )


def _label_set(path: Path, found: _Found) -> LabelSet:
    names = sorted({event.label for recording in found.recordings for event in recording.events})
    if not names:
        n = counted(len(found.recordings), "recording")
        raise DataError(f"{path}: no annotation in {n}{found.damage.summary()}")
    return LabelSet(tuple(names))


def _clip(recording: _Recording, span: Span, labels: tuple[str, ...]) -> Clip:
    return Clip(
        id=f"{recording.id}@{span.onset}-{span.offset}",
        labels=labels,
        audio=FileAudio(recording.path, span.onset, round(span.offset - span.onset, 6)),
        group=recording.id,
    )


def _negatives(path: Path, recordings: Sequence[_Recording], spans: Sequence[Span], rules: EventClips) -> list[Clip]:
    """Clips without events; warns where fewer than wanted find room."""
    if not rules.negatives:
        return []
    parts: list[Span] = []
    owners: list[_Recording] = []
    for recording in recordings:
        if math.isfinite(recording.duration):
            own = free_parts(tuple(recording.events), recording.duration, rules.pad)
            parts += own
            owners += [recording] * len(own)
    lengths = [round(span.offset - span.onset, 6) for span in spans]
    drawn = draw_spans(parts, lengths, rules.negatives, np.random.default_rng(_SEED))
    if len(drawn) < rules.negatives:
        text = f"only {counted(len(drawn), 'clip')} of {rules.negatives} without annotations found room"
        warnings.warn(f"{path}: {text} in {counted(len(recordings), 'recording')}", EarmarkWarning, stacklevel=4)
    return [_clip(owners[index], span, ()) for index, span in drawn]


def _read(source: str, path: Path, damage: Damage, rules: EventClips) -> _Found:
    """The recordings that the annotations name, in the order of the tables.

    Raises:
        DataError: There is no table, or no recording is found; and as in `read_raven` unless `damage` is lenient.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; expected annotations for {source}:")
    names = RecordingNames(Path(rules.audio) if rules.audio else path if path.is_dir() else path.parent)
    find = names.find if rules.audio else partial(_find, names)
    rows: Mapping[str, _Rows] = {
        "raven": partial(raven_rows, label_column=rules.label_column),
        "audacity": audacity_rows,
        "dcase": dcase_rows,
        "label-studio": label_studio_rows,
    }
    recordings: dict[str, _Recording] = {}
    ids: set[str] = set()
    missing: dict[str, None] = {}
    for table in _tables(source, path):
        known: dict[str, _Recording | None] = {}
        for located in _located(table, rows[source], damage):
            if located.file not in known:
                known[located.file] = _recording(table, located, find, names.folder, recordings, ids, damage, missing)
            recording = known[located.file]
            if recording is not None and located.event is not None:
                _add(table, recording, located, located.event, damage)
    if not recordings:
        if not missing:
            raise DataError(f"{path}: no annotation could be read{damage.summary()}")
        n, first = counted(len(missing), "recording"), next(iter(missing))
        text = f"none of its {n} is found in {names.folder}, such as {first!r}; give their folder"
        raise DataError(f"{path}: {text}{damage.summary()}", remedy={"audio": "FOLDER"})
    return _Found(list(recordings.values()), tuple(missing), damage)


def _located(table: Path, rows: _Rows, damage: Damage) -> Iterator[Located]:
    try:
        yield from rows(table, lambda error: damage.add(_damage(error.path, error.place, error.reason)))
    except AnnotationError as error:
        damage.add(_damage(error.path, error.place, error.reason))
    except DataError as error:
        if not damage.lenient:
            raise
        damage.add(DamageError(str(table), table.name, str(error).removeprefix(f"{table}").lstrip(":, ")))


def _damage(table: Path, place: str, reason: str) -> DamageError:
    return DamageError(f"{table}, {place}", f"{table.name}, {place}", reason)


def _recording(
    table: Path,
    located: Located,
    find: Callable[[str, Path], Path],
    folder: Path,
    recordings: dict[str, _Recording],
    ids: set[str],
    damage: Damage,
    missing: dict[str, None],
) -> _Recording | None:
    """The recording that a row names, added to the known ones; None where it is missing and `damage` is lenient."""
    try:
        path = find(located.file, table.parent)
    except DataError as error:
        if not damage.lenient:
            raise _damage(table, located.place, str(error)) from error
        missing[located.file] = None
        return None
    real = os.path.realpath(path)
    if real not in recordings:
        written = os.path.relpath(path, folder)
        written = str(path) if written.startswith(os.pardir) else Path(written).as_posix()
        composed = normalize("NFC", written)
        id_ = written if composed in ids else composed  # two files whose names differ only in their Unicode form
        ids.add(id_)
        recordings[real] = _Recording(id_, path, stated_seconds(path))
    return recordings[real]


def _find(names: RecordingNames, written: str, beside: Path) -> Path:
    """The recording; the name may count from the working folder too, as `earmark detect` writes it."""
    try:
        return names.find(written, beside)
    except DataError:
        path = in_either_form(Path(written))
        if os.path.isfile(path):  # noqa: PTH113 (never raises)
            return path
        raise


def _add(table: Path, recording: _Recording, located: Located, event: Annotation, damage: Damage) -> None:
    if event.onset > recording.duration + SLACK:
        reason = (
            f"the annotation from {event.onset:g} s on begins after the end of {recording.path}, which lasts "
            f"{recording.duration:.3f} s"
        )
        damage.add(_damage(table, located.row, reason))
        return
    onset, offset = min(event.onset, recording.duration), min(event.offset, recording.duration)
    recording.events[Annotation(onset, offset, event.label)] = None


def _tables(source: str, path: Path) -> list[Path]:
    """The files of annotations.

    Raises:
        DataError: There are none.
    """
    if path.is_file():
        return [path]
    if source not in ("raven", "audacity"):
        raise DataError(f"{path}: expected a file for {source}:, got a folder")
    try:
        files = [Path(entry.path) for _, entries in walk(path) for entry in entries]
    except OSError as error:
        raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror or error}") from error
    candidates = sorted(file for file in files if file.suffix.lower() in _TABLES)
    is_table = is_raven if source == "raven" else is_audacity
    tables = [file for file in candidates if is_table(file)]
    skipped = [str(file.relative_to(path)) for file in candidates if file not in set(tables)]
    kind = "selection tables of Raven" if source == "raven" else "label tracks of Audacity"
    if not tables:
        others = f"; {first_few(skipped)} are others" if skipped else ""
        raise DataError(f"{path}: expected {kind} (.txt) in the folder, there are none{others}")
    if skipped:
        text = f"skipped {counted(len(skipped), 'text file')} among the {kind}: {first_few(skipped)}"
        warnings.warn(f"{path}: {text}", EarmarkWarning, stacklevel=5)
    return tables
