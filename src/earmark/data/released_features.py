"""AudioSet's released features: VGGish segments of 0.96 s as TFRecord files (Gemmeke et al. 2017)."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from earmark.data.clips import Clip, Dataset
from earmark.data.damage import Damage, DamageError
from earmark.data.segments import Encoder, SegmentedClip, SegmentTable
from earmark.data.sequence_examples import read_example, steps, whole_numbers
from earmark.data.tfrecord import damaged_records, find_records
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet

VGGISH: Final = Encoder("VGGish of AudioSet's released features", "audioset-vggish-v1", 128, 0.96, 16000)
_SUFFIX: Final = ".tfrecord"
_BYTES_PER_GROUP: Final = 1 << 26
"""Files are read in groups of about this size."""
_FRAME: Final = bytes.fromhex("0a8601 0a8301 0a8001")
"""Bytes before the 128 of a segment: the head of a feature with one text of 128 bytes."""
_STRIDE: Final = len(_FRAME) + VGGISH.n_channels


@dataclass
class _Columns:
    """Clips by column."""

    ids: list[str] = field(default_factory=list)
    labels: list[tuple[int, ...]] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    segments: list[np.ndarray] = field(default_factory=list)


def read_released_features(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a folder of `.tfrecord` files, with their labels and segments.

    A split is the name of the folder that holds a file, such as `bal_train`; a group is the video. A file that is
    damaged or cut off is left out, and a warning names it.

    Args:
        path: A folder with files, or with folders of files.
        lenient: List damaged files in the data set instead of warning of them.

    Raises:
        DataError: There is no file, or none that can be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: a folder of AudioSet's released features was expected")
    files = sorted(file for file in path.rglob(f"*{_SUFFIX}") if file.is_file())
    if not files:
        raise DataError(f"{path}: {_SUFFIX} files of AudioSet's released features were expected, there are none")
    labels = LabelSet.audioset()
    columns, damage = _Columns(), Damage(lenient=True)
    for group in _groups(files):
        _read_group(path, group, len(labels), columns, damage)
    if not lenient:
        for name, reason in damage.found:
            warnings.warn(f"{path / name}: {reason}; left out", EarmarkWarning, stacklevel=3)
    if not columns.ids:
        raise DataError(f"{path}: no clip can be read{damage.summary()}")
    table = SegmentTable(VGGISH, [np.concatenate(columns.segments)], np.array(columns.lengths, np.int64))
    known = {numbers: tuple(labels.names[n] for n in numbers) for numbers in set(columns.labels)}
    rows = zip(columns.ids, columns.labels, columns.splits, strict=True)
    clips = tuple(
        Clip(video_id, known[numbers], SegmentedClip(table, row), split, video_id)
        for row, (video_id, numbers, split) in enumerate(rows)
    )
    name = f"AudioSet's released features ({', '.join(sorted(set(columns.splits)))})"
    return Dataset(name, labels, clips, damaged=tuple(damage.found))


def _groups(files: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    n_bytes = 0
    for file in files:
        group.append(file)
        n_bytes += file.stat().st_size
        if n_bytes >= _BYTES_PER_GROUP:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def _read_group(root: Path, files: Sequence[Path], n_labels: int, columns: _Columns, damage: Damage) -> None:
    """Adds the clips of some files to the columns."""
    buffer, records, reasons = _records(files)
    clips: list[tuple[int, _Clip]] = []
    for number, start, length in records:
        if number not in reasons:
            try:
                clips.append((number, _read_clip(buffer, start, start + length, n_labels)))
            except (DataError, ValueError, IndexError) as error:
                reasons[number] = f"not a clip of AudioSet's released features ({error})"
    kept = [(files[number], clip) for number, clip in clips if number not in reasons]
    columns.ids += [clip.video_id for _, clip in kept]
    columns.labels += [clip.labels for _, clip in kept]
    columns.splits += [file.parent.name for file, _ in kept]
    columns.lengths += [len(clip.places) for _, clip in kept]
    if kept:
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, np.uint8), VGGISH.n_channels)
        columns.segments.append(windows[[place for _, clip in kept for place in clip.places]])
    for number, reason in sorted(reasons.items()):
        damage.add(DamageError(str(files[number]), str(files[number].relative_to(root)), reason))


def _records(files: Sequence[Path]) -> tuple[bytes, list[tuple[int, int, int]], dict[int, str]]:
    """The content of all files, the records (number of the file, start, length), and why files are damaged."""
    contents: list[bytes] = []
    records: list[tuple[int, int, int]] = []
    reasons: dict[int, str] = {}
    n_bytes = 0
    for number, file in enumerate(files):
        try:
            contents.append(file.read_bytes())
            records += [(number, n_bytes + start, length) for start, length in find_records(contents[-1])]
            n_bytes += len(contents[-1])
        except OSError as error:
            reasons[number] = error.strerror or str(error)
        except DataError as error:
            reasons[number] = str(error)
            contents.pop()
    buffer = b"".join(contents)
    places = np.array(records, np.int64).reshape(-1, 3)
    for record in damaged_records(np.frombuffer(buffer, np.uint8), places[:, 1], places[:, 2]).tolist():
        number = records[record][0]
        nth = record - int(np.searchsorted(places[:, 0], number)) + 1
        reasons.setdefault(number, f"the checksum of record {nth} is wrong")
    return buffer, records, reasons


class _Clip(NamedTuple):
    video_id: str
    labels: tuple[int, ...]
    places: list[int]
    """Where the bytes of each segment begin."""


def _read_clip(buffer: bytes, start: int, end: int, n_labels: int) -> _Clip:
    record = read_example(buffer, start, end)
    if missing := {"video_id", "labels"} - record.context.keys():
        raise DataError(f"{' and '.join(sorted(missing))} missing")
    (first, last), *_ = record.context["video_id"] or [(0, 0)]
    labels = whole_numbers(buffer, record.context["labels"])
    if outside := [label for label in labels if label >= n_labels]:
        raise DataError(f"label {outside[0]}, expected 0 to {n_labels - 1}")
    places = _segments(buffer, record.lists.get("audio_embedding", (0, 0)))
    if not places:
        raise DataError("no audio_embedding")
    return _Clip(buffer[first:last].decode(), labels, places)


def _segments(buffer: bytes, span: tuple[int, int]) -> list[int]:
    """Where the bytes of each segment of a clip begin."""
    start, end = span
    usual = range(start, end, _STRIDE)
    if (end - start) % _STRIDE == 0 and all(buffer.startswith(_FRAME, place) for place in usual):
        return [place + len(_FRAME) for place in usual]
    places = []
    for step in steps(buffer, span):
        if len(step) != 1 or step[0][1] - step[0][0] != VGGISH.n_channels:
            raise DataError(f"segments of {VGGISH.n_channels} bytes were expected")
        places.append(step[0][0])
    return places
