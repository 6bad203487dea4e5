"""Figures of the scores of a run: by label, by group of labels, and on resamples of the clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from earmark.errors import DataError
from earmark.evaluation.metrics import average_precision, bootstrap_samples, label_mean
from earmark.storage.files import atomic_write

_RESAMPLING_SEED: Final = 0


@dataclass(frozen=True, eq=False)
class Figures:
    """Average precision of a run, by label and by group of labels."""

    precision: Float32[np.ndarray, " label"]
    groups: tuple[str, ...]
    n_labels: Int[np.ndarray, " group"]
    """Labels of each group that have a positive clip."""
    mAP: Float[np.ndarray, " group"]
    """Mean average precision over the labels of each group."""
    moved: Float[np.ndarray, "group resample"]
    """How far it moves on each resample of the clips; the resamples are the same for all runs."""

    def save(self, path: Path) -> None:
        """Writes an `.npz` file of some kB.

        Raises:
            OSError: The file cannot be written.
        """
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                precision=self.precision,
                groups=np.array(self.groups, np.str_),
                n_labels=self.n_labels,
                mAP=self.mAP,
                moved=self.moved.astype(np.float16),  # they are small: the error is below 1e-5
            )

    @classmethod
    def read(cls, path: Path) -> "Figures":
        """Reads what `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                groups = tuple(map(str, arrays["groups"]))
                moved: np.ndarray[Any, Any] = arrays["moved"].astype(np.float64)
                return cls(arrays["precision"], groups, arrays["n_labels"], arrays["mAP"], moved)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise DataError(
                f"{path}: the figures of a run were expected ({error}); remove the run's line, and the same command "
                "trains it again"
            ) from error


def figures_of(
    target: Bool[np.ndarray, "clip label"],
    scores: Float32[np.ndarray, "clip label"],
    groups: Mapping[str, Int[np.ndarray, " _"]],
    n_resamples: int,
) -> Figures:
    """The figures of the scores of a run.

    Raises:
        DataError: As for `average_precision`.
    """
    precision = average_precision(target, scores)
    mAP = np.array([label_mean(precision[labels]) for labels in groups.values()])
    resampled = [
        bootstrap_samples(target[:, labels], scores[:, labels], n_resamples, _RESAMPLING_SEED)
        for labels in groups.values()
    ]
    sizes = np.array([np.count_nonzero(~np.isnan(precision[labels])) for labels in groups.values()])
    return Figures(precision.astype(np.float32), tuple(groups), sizes, mAP, np.stack(resampled) - mAP[:, None])
