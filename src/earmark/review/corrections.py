"""The data set of a review: confirmed, corrected and rejected clips, as a table that `csv:` reads."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from earmark.data.joined_labels import join_labels
from earmark.errors import DataError
from earmark.review.comparison import Verdict
from earmark.review.manifest import CutClip, relative_path
from earmark.storage.files import atomic_write
from earmark.storage.text_files import row_writer

_COLUMNS = ("path", "onset", "offset", "labels", "known", "group")


class Written(NamedTuple):
    """Numbers of clips in a data set, by verdict."""

    confirmed: int
    corrected: int
    noise: int
    deleted: int
    missing: int
    """Deleted clips that are left out because their recording is gone too."""


def write_corrections(path: Path, folder: Path, verdicts: Sequence[Verdict], labels: Sequence[str]) -> Written:
    """Writes the judged clips of a folder as a table of clips with their known labels.

    A confirmed clip has its label, and nothing is known about the others. A corrected clip has the labels of its
    folders and lacks the one that it was cut for. A clip in `_noise` lacks all labels of the review. A deleted clip
    lacks the label that it was cut for; it is read from its recording. Clips that were set aside are left out.

    Args:
        path: The table; the paths in it are relative to its folder.
        folder: The folder of the clips.
        verdicts: Its clips.
        labels: All labels of the review.

    Raises:
        DataError: No clip was judged.
        OSError: The table cannot be written.
    """
    counts = dict.fromkeys(Written._fields, 0)
    rows = list(_rows(path, folder, verdicts, labels, counts))
    if not rows:
        raise DataError(f"{folder}: no clip was judged, so there is nothing to train on")
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        write = row_writer(stream)
        write(_COLUMNS)
        for row in rows:
            write(row)
    return Written(**counts)


def _rows(
    path: Path, folder: Path, verdicts: Sequence[Verdict], labels: Sequence[str], counts: dict[str, int]
) -> Iterator[tuple[str, ...]]:
    root = Path(os.path.realpath(folder))
    deleted: dict[tuple[str, float], list[CutClip]] = {}
    for verdict in verdicts:
        row = verdict.row
        if verdict.kind == "deleted":
            if not (root / row.recording).is_file():
                counts["missing"] += 1
                continue
            deleted.setdefault((row.recording, row.start), []).append(row)
        if verdict.kind != "aside":
            counts[verdict.kind] += 1
        if verdict.path is not None and verdict.kind != "aside":
            known = labels if verdict.kind == "noise" else (*verdict.labels, row.label)
            recording = os.path.realpath(root / row.recording)
            file = relative_path(verdict.path, path.parent)
            yield file, "", "", join_labels(verdict.labels), join_labels(known), recording
    # a clip's id is made of file and onset; the common part of clips with the same onset lacks the labels of all
    for (recording, start), rows in deleted.items():
        file = os.path.realpath(root / recording)
        end = min(row.end for row in rows)
        known = [row.label for row in rows]
        yield relative_path(Path(file), path.parent), str(start), str(end), "", join_labels(known), file
