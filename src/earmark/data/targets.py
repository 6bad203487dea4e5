"""Multi-hot targets of many clips in little memory."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32, Int

from earmark.errors import DataError
from earmark.labels import LabelSet


class Targets:
    """Multi-hot targets, stored as the few labels of each clip: 20 MB for AudioSet's two million clips, not 4 GB.

    >>> targets = Targets([("dog",), (), ("dog", "rain")], LabelSet(("dog", "rain")))
    >>> targets.rows([2, 1]).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    >>> [clips.tolist() for clips in targets.by_label()], targets.unlabelled().tolist()
    ([[0, 2], [2]], [1])

    Args:
        clips: The labels of each clip, as names or ids.
        labels: The label set, one column of a target per label.

    Raises:
        DataError: A label is not in the set, or there are no clips.
    """

    def __init__(self, clips: Iterable[Sequence[str]], labels: LabelSet) -> None:
        known: dict[tuple[str, ...], np.ndarray] = {}  # many clips share the same labels
        of_clip = []
        for names in clips:
            key = tuple(names)
            if key not in known:
                known[key] = np.unique([labels.index(name) for name in key]).astype(np.int32)
            of_clip.append(known[key])
        if not of_clip:
            raise DataError("expected the targets of at least one clip, got none")
        self.n_labels = len(labels)
        self._ends = np.cumsum([len(one) for one in of_clip], dtype=np.int64)
        self._labels = np.concatenate(of_clip)

    def __len__(self) -> int:
        return len(self._ends)

    def rows(self, clips: Sequence[int]) -> Float32[np.ndarray, "clip label"]:
        """The multi-hot targets of the clips with these indices."""
        target = np.zeros((len(clips), self.n_labels), np.float32)
        chosen = np.asarray(clips, np.int64)
        counts = self._counts()[chosen]
        # of each label of these clips: its row, and its place among the labels of all clips
        row = np.repeat(np.arange(len(chosen)), counts)
        place = np.arange(len(row)) + np.repeat(self._ends[chosen] - np.cumsum(counts), counts)
        target[row, self._labels[place]] = 1.0
        return target

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
