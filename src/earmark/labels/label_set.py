"""Label sets: names and ids of labels in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING
from unicodedata import category, normalize

import numpy as np

from earmark.errors import DataError, first_few

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Num

ESC10 = (
    "dog",
    "rooster",
    "rain",
    "sea_waves",
    "crackling_fire",
    "crying_baby",
    "sneezing",
    "clock_tick",
    "helicopter",
    "chainsaw",
)
"""The ten labels of ESC-10, the part of ESC-50 with the CC BY licence."""
_JOINERS = dict.fromkeys((0xAD, 0x200C, 0x200D, *range(0xE0020, 0xE0080)))
"""Invisible characters inside words: soft hyphen, non-joiner and joiner (Persian, Hindi, emoji), letters of flags."""
_MARKS = dict.fromkeys((0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF))
"""Invisible characters that spell nothing: spaces of no width, directions of writing, byte order marks."""


def normal_label(text: str) -> str:
    """The form in which labels are compared: composed (NFC), with plain spaces, without blanks around it.

    Invisible characters are removed, except those within words (Persian, Hindi, emoji).

    >>> normal_label("Ga\u0308nse\u00a0")
    'G\u00e4nse'
    """
    if not text.isascii():
        text = "".join(" " if category(c) == "Zs" else c for c in normalize("NFC", text.translate(_MARKS)))
    return text.strip()


def check_label(text: object, kind: str = "name") -> None:
    """Checks the name or id of a label.

    Raises:
        DataError: It is no text, empty, or has blanks around it or control characters.
    """
    if not isinstance(text, str):
        raise DataError(f"a label {kind} is text, got {text!r}")
    if not text or text != text.strip() or not text.translate(_JOINERS).isprintable():
        raise DataError(f"a label {kind} is text without surrounding blanks and control characters, got {text!r}")


@dataclass(frozen=True)
class LabelSet:
    """Labels in a fixed order; each has a name and, in a taxonomy, an id.

    >>> labels = LabelSet(("dog", "rain", "siren"))
    >>> labels.index("rain")
    1
    >>> labels.encode(["siren", "dog"]).tolist()
    [1.0, 0.0, 1.0]
    >>> labels.decode([1, 0, 1])
    ('dog', 'siren')

    Raises:
        DataError: The set is empty, a name or id is empty or repeated, or an id is the name of another label.
    """

    names: tuple[str, ...]
    """Readable names, in the order of a model's outputs."""
    ids: tuple[str, ...] = ()
    """Ids in a taxonomy, for example `/m/0bt9lr`; by default the names."""

    def __post_init__(self) -> None:
        if isinstance(self.names, str):
            raise DataError(f"expected a sequence of label names, got the single text {self.names!r}")
        names, ids = (
            tuple(normal_label(entry) if isinstance(entry, str) and not entry.isascii() else entry for entry in entries)
            for entries in (self.names, self.ids)
        )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "ids", ids or names)
        _check_labels(self.names, self.ids)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, label: object) -> bool:
        return isinstance(label, str) and normal_label(label) in self._positions

    @cached_property
    def _positions(self) -> dict[str, int]:
        positions = {name: position for position, name in enumerate(self.names)}
        return positions | {id_: position for position, id_ in enumerate(self.ids)}

    def index(self, label: str) -> int:
        """The position of a label given by name or id.

        Raises:
            DataError: The label is unknown; the text suggests similar ones.
        """
        if label not in self:
            raise DataError(self._describe_unknown(label))
        return self._positions[normal_label(label)]

    def _describe_unknown(self, label: str) -> str:
        folded = {name.casefold(): name for name in reversed(self.names)}
        close = [folded[match] for match in get_close_matches(str(label).casefold(), folded, n=3)]
        if close:
            return f"unknown label {label!r}: did you mean {' or '.join(map(repr, close))}?"
        return f"unknown label {label!r}: none of the {len(self)} labels ({first_few(self.names, 8)}) is similar"

    def encode(self, labels: Iterable[str]) -> Float32[np.ndarray, " label"]:
        """The multi-hot target of a clip with these labels, given by name or id.

        Raises:
            DataError: A label is not in the set.
        """
        target = np.zeros(len(self), dtype=np.float32)
        if isinstance(labels, str):
            labels = (labels,)
        for label in labels:
            target[self.index(label)] = 1.0
        return target

    def decode(
        self, target: Num[np.ndarray, " label"] | Bool[np.ndarray, " label"] | Sequence[int | float]
    ) -> tuple[str, ...]:
        """The names of the labels whose target is not 0, in the order of the set.

        Raises:
            DataError: The target has another length than the set.
        """
        values = np.asarray(target)
        if values.shape != (len(self),):
            raise DataError(f"expected one value for each of {len(self)} labels, got shape {values.shape}")
        return tuple(self.names[position] for position in np.flatnonzero(values))

    def subset(self, labels: Iterable[str]) -> LabelSet:
        """The set of these labels, given by name or id, in the order of this set.

        Raises:
            DataError: A label is not in the set, or `labels` is empty.
        """
        if isinstance(labels, str):
            labels = (labels,)
        positions = sorted({self.index(label) for label in labels})
        return LabelSet(tuple(self.names[p] for p in positions), tuple(self.ids[p] for p in positions))

    @classmethod
    def audioset(cls) -> LabelSet:
        """The 527 labels of AudioSet, in the order of every published model; ids are the MIDs."""
        return _shipped("audioset")

    @classmethod
    def esc50(cls) -> LabelSet:
        """The 50 labels of ESC-50; ids are the target numbers."""
        return _shipped("esc50")


def _check_labels(names: tuple[str, ...], ids: tuple[str, ...]) -> None:
    if not names:
        raise DataError("a label set needs at least one label, got none")
    if len(ids) != len(names):
        raise DataError(f"a label set needs one id for each label, got {len(names)} names and {len(ids)} ids")
    for kind, entries in (("name", names), ("id", ids)):
        for entry in entries:
            check_label(entry, kind)
        if len(set(entries)) < len(entries):
            seen: set[str] = set()
            repeated = next(entry for entry in entries if entry in seen or seen.add(entry))  # type: ignore[func-returns-value]
            raise DataError(f"the label {kind} {repeated!r} is repeated; names and ids must be unique")
    # `index` accepts both: an id that is the name of another label would be ambiguous
    by_name = {name: position for position, name in enumerate(names)}
    for position, id_ in enumerate(ids):
        if by_name.get(id_, position) != position:
            raise DataError(f"{id_!r} is the id of {names[position]!r} and the name of another label")


@cache
def _shipped(name: str) -> LabelSet:
    # a line is an id, a tab and a name
    lines = (files("earmark.labels") / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    ids, names = zip(*(line.split("\t") for line in lines), strict=True)
    return LabelSet(names, ids)
