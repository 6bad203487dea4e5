"""Multi-hot targets of many clips in little memory."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int

from earmark.errors import DataError
from earmark.labels import LabelSet


class Targets:
    """Multi-hot targets, stored as the few labels of each clip: 20 MB for AudioSet's two million clips, not 4 GB.

    >>> targets = Targets([("dog",), (), ("dog", "rain")], LabelSet(("dog", "rain")))
    >>> targets.rows([2, 1]).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    >>> Targets([("dog",)], LabelSet(("dog", "rain")), [("dog",)]).rows([0]).tolist()
    [[1.0, nan]]
    >>> [clips.tolist() for clips in targets.by_label()], targets.unlabelled().tolist()
    ([[0, 2], [2]], [1])

    Args:
        clips: The labels of each clip, as names or ids.
        labels: The label set, one column of a target per label.
        known: The known labels of each clip, as `Clip.known`; by default all of them.

    Raises:
        DataError: A label is not in the set, or there are no clips.
    """

    def __init__(
        self, clips: Iterable[Sequence[str]], labels: LabelSet, known: Iterable[Sequence[str] | None] | None = None
    ) -> None:
        seen: dict[tuple[str, ...], np.ndarray] = {}  # many clips share the same labels
        of_clip = []
        for names in clips:
            key = tuple(names)
            if key not in seen:
                seen[key] = np.unique([labels.index(name) for name in key]).astype(np.int32)
            of_clip.append(seen[key])
        if not of_clip:
            raise DataError("expected the targets of at least one clip, got none")
        self.n_labels = len(labels)
        self._unknown = _Unknown(known, labels) if known is not None else None
        self._ends = np.cumsum([len(one) for one in of_clip], dtype=np.int64)
        self._labels = np.concatenate(of_clip)

    def __len__(self) -> int:
        return len(self._ends)

    def rows(self, clips: Sequence[int]) -> Float32[np.ndarray, "clip label"]:
        """The multi-hot targets of the clips with these indices; unknown labels are nan."""
        target = np.zeros((len(clips), self.n_labels), np.float32)
        chosen = np.asarray(clips, np.int64)
        counts = self._counts()[chosen]
        # of each label of these clips: its row, and its place among the labels of all clips
        row = np.repeat(np.arange(len(chosen)), counts)
        place = np.arange(len(row)) + np.repeat(self._ends[chosen] - np.cumsum(counts), counts)
        target[row, self._labels[place]] = 1.0
        if self._unknown is not None and self._unknown.any:
            target[self._unknown.rows(chosen)] = np.nan
        return target

    @property
    def has_unknown(self) -> bool:
        """Whether a label of a clip is unknown."""
        return self._unknown is not None and self._unknown.any

    def by_label(self) -> list[Int[np.ndarray, " _"]]:
        """Indices of the clips of each label, ascending."""
        clips = np.repeat(np.arange(len(self)), self._counts())
        order = np.argsort(self._labels, kind="stable")
        borders = np.cumsum(np.bincount(self._labels, minlength=self.n_labels))[:-1]
        return np.split(clips[order], borders)

    def unlabelled(self) -> Int[np.ndarray, " clip"]:
        """Indices of the clips without a label."""
        return np.flatnonzero(self._counts() == 0)

    def _counts(self) -> np.ndarray:
        return np.diff(self._ends, prepend=0)


class _Unknown:
    """The unknown labels of each clip, stored once for all clips that know the same labels."""

    def __init__(self, known: Iterable[Sequence[str] | None], labels: LabelSet) -> None:
        patterns: dict[tuple[str, ...] | None, int] = {None: 0}
        self._pattern = np.array(
            [patterns.setdefault(None if names is None else tuple(names), len(patterns)) for names in known], np.int32
        )
        self._table = np.zeros((len(patterns), len(labels)), bool)
        for names, number in patterns.items():
            if names is not None:
                self._table[number] = True
                self._table[number, [labels.index(name) for name in names]] = False
        self.any = bool(self._table.any())

    def rows(self, clips: Int[np.ndarray, " clip"]) -> Bool[np.ndarray, "clip label"]:
        rows: np.ndarray = self._table[self._pattern[clips]]
        return rows
