"""Clip lists: a selection of the clips of another data set, such as the clean ones that `earmark doctor` lists."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

from earmark.data import ANNOTATED, EventClips, open_data
from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError, first_few
from earmark.storage.files import atomic_write
from earmark.storage.remote import is_url

_FORMAT: Final = 1
_SOURCE: Final = "clips"


def write_clips(
    path: Path,
    data: str,
    ids: Iterable[str],
    labels: Iterable[str] | None = None,
    label_separator: str | None = None,
    event_clips: EventClips | None = None,
) -> None:
    """Writes a clip list: a line of JSON that names the data set, then one id a line.

    A local path in `data` is written relative to the list's folder, so that both can be moved together. An id that a
    line of text would change (it contains a line break, is surrounded by blanks, or begins with a quotation mark) is
    written as a JSON string.

    Args:
        path: Where to write.
        data: The data set, as for `open_data`; if it is a clip list itself, the list's data set is named.
        ids: Ids of the clips.
        labels: Label names to narrow the label set to; None keeps all.
        label_separator: As in `open_data`.
        event_clips: As in `open_data`.

    Raises:
        DataError: `data` names no source, or a clip list that cannot be read.
        OSError: The list cannot be written.
    """
    source, _, place = data.partition(":")
    if source == _SOURCE:
        head, _ = _read(Path(place))
        source, _, place = _resolved(Path(place), head["data"]).partition(":")
        labels = head.get("labels") if labels is None else labels
        label_separator = head.get("label_separator") if label_separator is None else label_separator
        event_clips = _event_clips(Path(place), head)
    if not place:
        raise DataError(f"{data!r}: expected a source and a path, such as folder:DIR")
    if not is_url(place):
        place = _relative(place, path.parent)
    head = {"earmark": _SOURCE, "format": _FORMAT, "data": f"{source}:{place}"}
    if labels is not None:
        head["labels"] = list(labels)
    if label_separator is not None:
        head["label_separator"] = label_separator
    if event_clips is not None and source in ANNOTATED:
        audio = None if event_clips.audio is None else _relative(event_clips.audio, path.parent)
        head["event_clips"] = {**asdict(event_clips), "audio": audio}
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as stream,
    ):
        stream.write(json.dumps(head) + "\n")
        stream.writelines(f"{_line(id_)}\n" for id_ in ids)


def _relative(place: str, folder: Path) -> str:
    relative = os.path.relpath(place, folder)
    # from a linked folder, `..` leads to the parent of the link's target
    if os.path.realpath(folder / relative) != os.path.realpath(place):
        relative = os.path.relpath(os.path.realpath(place), os.path.realpath(folder))
    return Path(relative).as_posix()


def _line(id_: str) -> str:
    is_plain = id_ == id_.strip() and len(id_.splitlines()) == 1 and not id_.startswith('"')
    return id_ if is_plain else json.dumps(id_)


def read_clips(path: Path | str, lenient: bool = False) -> Dataset:
    """The clips of a clip list, in the order of their data set, with its splits, groups and labels.

    The data set is opened leniently: faults of clips that are not listed do not matter.

    Args:
        path: The clip list.
        lenient: Skip listed clips that are gone.

    Raises:
        DataError: The file is not a clip list, its data set cannot be opened, or listed clips are gone.
    """
    path = Path(path)
    head, ids = _read(path)
    try:
        rules = _event_clips(path, head)
        dataset = open_data(_resolved(path, head["data"]), True, head.get("label_separator"), rules)
        if "labels" in head:
            dataset = dataset.select(labels=head["labels"])
    except DataError as error:
        raise DataError(
            f"{path}: the data set of this clip list (relative to the list's folder) cannot be opened: {error}"
        ) from error
    ids = _in_form_of(dataset, ids)
    wanted = frozenset(ids)
    clips = tuple(clip for clip in dataset.clips if clip.id in wanted)
    there = {clip.id for clip in clips}
    gone = tuple(dict.fromkeys(id_ for id_ in ids if id_ not in there))
    if gone and not (lenient and clips):
        place, why = dataset.damaged[0] if dataset.damaged else ("", "")
        perhaps = f" ({place} is damaged: {why})" if place else ""
        raise DataError(
            f"{path}: {len(gone)} of its {len(wanted)} clips are no longer in {head['data']}: "
            f"{first_few(gone)}{perhaps}; restore them, or run `earmark doctor` again to renew the list"
        )
    outside = tuple((id_, lost) for id_, lost in dataset.outside if id_ in there)
    name = f"{dataset.name} ({path.name})"
    return replace(dataset, name=name, clips=clips, missing=gone, missing_splits=(), outside=outside, damaged=())


def _in_form_of(dataset: Dataset, ids: list[str]) -> list[str]:
    """The ids, in the Unicode form of the data set where only that occurs: its files may have been copied meanwhile."""
    if all(map(str.isascii, ids)):
        return ids
    there = {clip.id for clip in dataset}
    by_form = {normalize("NFC", id_): id_ for id_ in there if not id_.isascii()}
    return [id_ if id_ in there else by_form.get(normalize("NFC", id_), id_) for id_ in ids]


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The description in the first line, and the ids."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        first, *lines = text.split("\n")
        head = json.loads(first)
        ids = [json.loads(line) if line.startswith('"') else line for line in map(str.strip, lines) if line]
    except OSError as error:
        hint = f"; did you mean {path / 'clean.txt'}?" if (path / "clean.txt").is_file() else ""
        raise DataError(f"{path}: cannot be read: {error.strerror or error}{hint}") from error
    except ValueError as error:
        raise DataError(f"{path}: expected a clip list written by `earmark doctor`") from error
    if not (isinstance(head, dict) and head.get("earmark") == _SOURCE and head.get("format") == _FORMAT):
        raise DataError(f"{path}: its first line does not declare a clip list of format {_FORMAT}")
    labels, separator = head.get("labels", [""]), head.get("label_separator", "")
    if not isinstance(head.get("data"), str) or not isinstance(labels, list) or not isinstance(separator, str):
        raise DataError(f"{path}: its first line names no data set")
    if head["data"].partition(":")[0] == _SOURCE:  # might refer to itself
        raise DataError(
            f"{path}: this clip list refers to another clip list; name the data set itself in its first line"
        )
    return head, ids


def _event_clips(path: Path, head: Mapping[str, Any]) -> EventClips | None:
    """The rules of the list at `path` by which annotations become clips; None where it states none."""
    values = head.get("event_clips")
    if values is None:
        return None
    try:
        rules = EventClips(**values)
    except (TypeError, ConfigError) as error:
        raise DataError(f"{path}: its first line has event_clips that this version cannot read ({error})") from error
    return rules if rules.audio is None else replace(rules, audio=os.fspath(_folder(path) / rules.audio))


def _folder(path: Path) -> Path:
    """The folder that the paths in a list start from."""
    # from a linked folder, `..` leads to the parent of the link's target
    real = os.path.realpath(path.parent)
    return path.parent if real == os.path.abspath(path.parent) else Path(real)  # noqa: PTH100


def _resolved(path: Path, data: str) -> str:
    """The data spec of the list at `path`, relative to the working directory."""
    source, colon, place = data.partition(":")
    if is_url(place):
        return data
    return f"{source}{colon}{_folder(path) / place}"
