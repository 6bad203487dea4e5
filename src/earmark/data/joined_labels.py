"""Several labels in one text: read as lists, split at a separator, or reported as likely."""

import re
import warnings
from ast import literal_eval
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError, EarmarkWarning
from earmark.labels import LabelSet

_QUOTED: Final = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_LIST: Final = re.compile(rf"[\[({{]\s*(?:(?:{_QUOTED})\s*,?\s*)*[\])}}]")
"""A list of texts as Python, NumPy or JSON prints it: `['dog', 'rain']`, `['dog' 'rain']`, `["dog", "rain"]`."""
_BARE_LIST: Final = re.compile(r"\[[^\[\]'\"]*\]")
"""A list of texts without quotes: `[dog, rain]`."""
_PLAIN: Final = (",", "|", ";", "\uff0c", "\u3001", "\uff1b")
"""Separators that seldom occur within a label."""
_SEPARATORS: Final = (*_PLAIN, "/", "&", "+")
_MANY: Final = 3
"""Number of joined labels from which shared parts alone make a separator likely."""


def split_cell(text: str) -> tuple[str, ...]:
    """The labels in a cell of a table: joined by `;`, tabs or line ends, or a printed list of texts.

    >>> split_cell("dog; rain"), split_cell("['dog', 'rain']"), split_cell("")
    (('dog', 'rain'), ('dog', 'rain'), ())
    """
    if text[:1] in tuple("[({") and _LIST.fullmatch(text):
        parts = [str(literal_eval(quoted)) for quoted in re.findall(_QUOTED, text)]
    elif _BARE_LIST.fullmatch(text):
        parts = text[1:-1].split(",")
    else:
        parts = re.split("[;\t\r\n]", text)
    return tuple(dict.fromkeys(label for part in parts if (label := part.strip())))


def join_labels(labels: Iterable[str]) -> str:
    """The labels without repetitions as the text of one cell, which `split_cell` reads.

    >>> join_labels(["dog", "rain", "dog"]), join_labels(["[bell]"])
    ('dog;rain', "['[bell]']")
    """
    names = list(dict.fromkeys(labels))
    plain = ";".join(names)
    is_plain = plain.count(";") == len(names) - 1 and not plain.startswith(("[", "(", "{"))
    return plain if is_plain or not names else repr(names)


def split_labels(dataset: Dataset, separator: str) -> Dataset:
    """The data set with each label split at `separator` into several.

    Raises:
        ConfigError: The separator is empty.
        DataError: The labels have ids: they are those of a published label set, which joins none.
    """
    if not separator:
        raise ConfigError("one or more characters were expected, not an empty text", "label_separator")
    if dataset.labels.ids != dataset.labels.names:
        raise DataError(f"{dataset.name}: its labels have ids, so none of them is joined from several")
    parts = {name: _parts(name, separator) for name in dataset.labels}
    names = sorted({part for own in parts.values() for part in own})

    def split(labels: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(part for label in labels for part in parts[label]))

    clips = (
        replace(clip, labels=split(clip.labels), known=None if clip.known is None else split(clip.known))
        for clip in dataset
    )
    return replace(dataset, labels=LabelSet(tuple(names)), clips=tuple(clips))


def warn_of_joined(dataset: Dataset) -> None:
    """Warns of labels that are likely joined from several; the text names the setting that splits them."""
    if dataset.labels.ids != dataset.labels.names:
        return
    found = likely_separator(dataset.labels.names)
    if found is None:
        return
    separator, joined = found
    others = f" and {len(joined) - 1} more" if len(joined) > 1 else ""
    text = f"the label {joined[0]!r}{others} may be several labels joined by {separator!r}; if so, split them"
    remedy = {"label_separator": separator}
    warnings.warn(EarmarkWarning(f"{dataset.name}: {text}", remedy=remedy), stacklevel=3)


def likely_separator(names: Iterable[str]) -> tuple[str, list[str]] | None:
    """A text that likely joins several labels, and the joined ones; None if there is none.

    It is likely if parts are labels of their own, or if most of several joined labels consist of parts of others.

    >>> likely_separator(["dog", "rain", "dog,rain"])
    (',', ['dog,rain'])
    >>> likely_separator(["Boat, Water vehicle", "Chirp, tweet", "Tick-tock", "Train"])
    """
    all_names = list(names)
    for separator in _SEPARATORS:
        parts = {name: _parts(name.casefold(), separator) for name in all_names if separator in name}
        parts = {name: own for name, own in parts.items() if len(own) > 1}
        single = {name.casefold() for name in all_names if name not in parts}
        n_labels = Counter(part for own in parts.values() for part in own)
        are_labels = any if separator in _PLAIN else all
        shown = [name for name, own in parts.items() if are_labels(part in single for part in own)]
        shared = [name for name, own in parts.items() if all(part in single or n_labels[part] > 1 for part in own)]
        if shown or (len(parts) >= _MANY and 2 * len(shared) > len(parts)):
            return separator, shown or shared
    return None


def _parts(label: str, separator: str) -> tuple[str, ...]:
    """The different parts of a label; the label itself if it consists of separators."""
    return tuple(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip())) or (label,)
