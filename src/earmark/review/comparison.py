"""Verdicts of a person on the clips of a folder: confirmed, corrected, noise, deleted or set aside."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

from earmark.audio.recording import AUDIO_SUFFIXES
from earmark.errors import DataError
from earmark.review.cutting import read_description
from earmark.review.manifest import CutClip, read_manifest
from earmark.review.names import NOISE, PLOTS, label_of
from earmark.storage.files import sha256_of, walk

Kind = Literal["confirmed", "corrected", "noise", "deleted", "aside"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of a person on a clip."""

    row: CutClip
    kind: Kind
    """`confirmed`: lies in the folder of its label; `corrected`: in those of other labels; `noise`: in `_noise`;
    `deleted`: gone; `aside`: in another folder that begins with `_`, or in none, and so not judged."""
    labels: tuple[str, ...] = ()
    """Labels of the folders that it lies in."""
    path: Path | None = None
    """Where it lies; None if it is gone."""

    @property
    def is_right(self) -> bool:
        """Whether the event's label is right."""
        return self.kind == "confirmed"


@dataclass(frozen=True)
class Comparison:
    """All clips of a folder, compared with its manifest."""

    verdicts: tuple[Verdict, ...]
    """In the order of the manifest."""
    labels: tuple[str, ...]
    """The labels of the manifest and of all folders, sorted."""
    others: tuple[Path, ...] = ()
    """Recordings that are not in the manifest."""


def compare(folder: Path) -> Comparison:
    """Compares the clips of a folder of `cut_clips` with its manifest.

    A clip is recognised by its name, or by its content if a person has renamed it.

    Raises:
        DataError: The folder is not one of finished clips; a folder's name is no label; or a clip lies both in `_noise`
            and in the folder of a label.
    """
    read_description(folder)  # unfinished clips would count as deleted
    rows = read_manifest(folder)
    places, labels, others = _places(folder, rows)
    verdicts = tuple(_verdict(row, places.get(row.name, [])) for row in rows)
    return Comparison(verdicts, tuple(sorted({row.label for row in rows} | labels)), others)


def _places(folder: Path, rows: list[CutClip]) -> tuple[dict[str, list[tuple[str, Path]]], set[str], tuple[Path, ...]]:
    """The folders and paths of each clip by its name, the labels of the folders, and recordings that are no clips."""
    names = {normalize("NFC", row.name): row.name for row in rows}
    places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    unknown = []
    labels = set()
    for top, path in _recordings(folder):
        if not top.startswith("_") and top:
            labels.add(label_of(top))
        name = names.get(normalize("NFC", path.name))
        if name is None:
            unknown.append((top, path))
        else:
            places[name].append((top, path))
    # several events may have been cut from the same seconds, into equal files
    by_content: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.name not in places:
            by_content[row.sha256].append(row.name)
    others = []
    for top, path in unknown:
        waiting = by_content.get(sha256_of(path))
        if waiting:
            places[waiting.pop(0)].append((top, path))
        else:
            others.append(path)
    return places, labels, tuple(others)


def _recordings(folder: Path) -> Iterator[tuple[str, Path]]:
    """The recordings below the folder, each with the name of the top folder that it lies in; empty without one."""
    for current, files in walk(folder):
        below = Path(current).relative_to(folder).parts
        if below[:1] != (PLOTS,):
            for file in sorted(Path(entry) for entry in files):
                if file.suffix.lower() in AUDIO_SUFFIXES:
                    yield (below[0] if below else ""), file


def _verdict(row: CutClip, places: list[tuple[str, Path]]) -> Verdict:
    if not places:
        return Verdict(row, "deleted")
    tops = {top for top, _ in places}
    labels = tuple(sorted({label_of(top) for top in tops if top and not top.startswith("_")}))
    path = places[0][1]
    if labels and NOISE in tops:
        raise DataError(f"{path.name}: lies in {NOISE} and in the folder of {labels[0]!r}; leave it in one of them")
    if labels:
        return Verdict(row, "confirmed" if row.label in labels else "corrected", labels, path)
    return Verdict(row, "noise" if NOISE in tops else "aside", (), path)
