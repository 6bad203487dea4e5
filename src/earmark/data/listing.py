"""Lists of clips: which clips of another data set to take, such as those that `earmark doctor` has found clean."""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from earmark.data import open_data
from earmark.data.clips import Dataset
from earmark.errors import DataError
from earmark.storage.files import atomic_write
from earmark.storage.remote import is_url

_FORMAT: Final = 1
_SOURCE: Final = "clips"


def write_clips(path: Path, data: str, ids: Iterable[str], labels: Iterable[str] | None = None) -> None:
    """Writes a list of clips: a line of JSON that says of which data, then an id a line.

    A local path in `data` is written as seen from the list's own folder, so that the two can be moved together. An id
    that would not come back as it is from a line of text (it has a line break in it, blanks around it, or begins with a
    quotation mark) is written as a JSON string.

    Args:
        path: Of the list.
        data: What the clips were taken from, as in `open_data`; of another list, the data that it names.
        ids: Of the clips.
        labels: Names of the labels to narrow the label set to; all of the data's when None.

    Raises:
        DataError: `data` names no source, or a list that cannot be read.
        OSError: The list cannot be written.
    """
    source, _, place = data.partition(":")
    if source == _SOURCE:
        head, _ = _read(Path(place))
        source, _, place = _resolved(Path(place), head["data"]).partition(":")
        labels = head.get("labels") if labels is None else labels
    if not place:
        raise DataError(f"{data!r}: a source and a path were expected, such as folder:DIR")
    if not is_url(place):
        place = _relative(place, path.parent)
    head = {"earmark": _SOURCE, "format": _FORMAT, "data": f"{source}:{place}"}
    if labels is not None:
        head["labels"] = list(labels)
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as stream,
    ):
        stream.write(json.dumps(head) + "\n")
        stream.writelines(f"{_line(id_)}\n" for id_ in ids)


def _relative(place: str, folder: Path) -> str:
    relative = os.path.relpath(place, folder)
    # out of a folder that is a link, `..` leads elsewhere than the name of the link says
    if os.path.realpath(folder / relative) != os.path.realpath(place):
        relative = os.path.relpath(os.path.realpath(place), os.path.realpath(folder))
    return Path(relative).as_posix()


def _line(id_: str) -> str:
    is_plain = id_ == id_.strip() and len(id_.splitlines()) == 1 and not id_.startswith('"')
    return id_ if is_plain else json.dumps(id_)


def read_clips(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a list, in the order of the data set that they are taken from, with its splits, groups and labels.

    That data set is opened leniently: what is wrong with other clips does not matter.

    Args:
        path: Of the list.
        lenient: Skips clips that are no longer there.

    Raises:
        DataError: The file is no such list, its data set cannot be opened, or clips of the list are no longer there.
    """
    path = Path(path)
    head, ids = _read(path)
    try:
        dataset = open_data(_resolved(path, head["data"]), lenient=True)
        if "labels" in head:
            dataset = dataset.select(labels=head["labels"])
    except DataError as error:
        raise DataError(
            f"{path} is a list of clips, and names its data as seen from its own folder: {error}"
        ) from error
    wanted = frozenset(ids)
    clips = tuple(clip for clip in dataset.clips if clip.id in wanted)
    there = {clip.id for clip in clips}
    gone = tuple(dict.fromkeys(id_ for id_ in ids if id_ not in there))
    if gone and not (lenient and clips):
        shown = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
        place, why = dataset.damaged[0] if dataset.damaged else ("", "")
        perhaps = f" ({place} is damaged: {why})" if place else ""
        raise DataError(
            f"{path}: {len(gone)} of its {len(wanted)} clips are no longer in {head['data']}: {shown}{perhaps}; bring "
            "them back, or have `earmark doctor` make the list anew"
        )
    outside = tuple((id_, lost) for id_, lost in dataset.outside if id_ in there)
    name = f"{dataset.name} ({path.name})"
    return replace(dataset, name=name, clips=clips, missing=gone, missing_splits=(), outside=outside, damaged=())


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """What the first line says, and the ids."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        first, *lines = text.split("\n")
        head = json.loads(first)
        ids = [json.loads(line) if line.startswith('"') else line for line in map(str.strip, lines) if line]
    except OSError as error:
        there = f"; {path / 'clean.txt'} is there" if (path / "clean.txt").is_file() else ""
        raise DataError(f"{path}: cannot be read: {error.strerror or error}{there}") from error
    except ValueError as error:
        raise DataError(f"{path}: a list of clips that `earmark doctor` wrote was expected, this is none") from error
    if not (isinstance(head, dict) and head.get("earmark") == _SOURCE and head.get("format") == _FORMAT):
        raise DataError(f"{path}: its first line does not say that it is a list of clips of format {_FORMAT}")
    labels = head.get("labels", [""])
    if not isinstance(head.get("data"), str) or not isinstance(labels, list):
        raise DataError(f"{path}: its first line names no data set to take the clips from")
    if head["data"].partition(":")[0] == _SOURCE:  # it might be this one
        raise DataError(f"{path}: a list of clips of another list; name the data set itself in its first line")
    return head, ids


def _resolved(path: Path, data: str) -> str:
    """What `data` in the list at `path` is from where this process stands."""
    source, colon, place = data.partition(":")
    if is_url(place):
        return data
    # a way up out of a folder that is a link leads up from where the link leads to
    real = os.path.realpath(path.parent)
    folder = path.parent if real == os.path.abspath(path.parent) else Path(real)  # noqa: PTH100
    return f"{source}{colon}{folder / place}"
