"""Agreement of a student with its teacher on held-out clips."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from earmark.data.clips import Dataset
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.evaluation.scoring import Scorer, evaluating, score_clips
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.storage.json_files import json_value
from earmark.training.teacher import POSITIVE, Teacher, for_student, teacher_scores


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement on one label."""

    label: str
    n_positive: int
    """Clips in which the teacher's score is the threshold or more."""
    average_precision: float
    """Average precision of the student's scores, with these clips as positives; nan without positives."""
    mean_absolute_difference: float
    """Between the scores of both."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of a student with its teacher on held-out clips."""

    n_clips: int
    threshold: float
    """Score of the teacher from which a label counts as positive."""
    mAP: float
    """Mean average precision over the labels that have a positive."""
    n_labels: int
    """Number of these labels."""
    mean_absolute_difference: float
    """Between the scores of both, over all clips and labels."""
    labels: tuple[LabelAgreement, ...]

    def to_json(self) -> dict[str, Any]:
        """All values, as JSON values."""
        return dict(json_value(asdict(self)))


def agreement(
    student: Network,
    held_out: Dataset,
    teacher: Teacher,
    path: Path,
    *,
    threshold: float = POSITIVE,
    n_readers: int = 2,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compares a student's scores with its teacher's on held-out clips; unreadable clips are left out.

    Args:
        student: The trained network, with the teacher's labels.
        held_out: Clips that the student was not trained on.
        teacher: The taggers.
        path: Journal of the teacher's scores, as in `teacher_scores`.
        threshold: As in `Agreement`.
        n_readers: Threads that decode.
        device: Device that runs the student.
        progress: Called with the number of clips that the student has scored, and their total.

    Raises:
        ConfigError: As in `teacher_scores`.
        DataError: As in `teacher_scores`.
    """
    clips = for_student(held_out, teacher)
    wanted = teacher_scores(clips, teacher, path, n_readers, skip_bad=True, advance=lambda _: None)
    with evaluating(student, device):
        measured, scores, _ = score_clips(Scorer(student, "windows"), clips, 16, n_readers, progress)
    rows = {clip.id: row for row, clip in enumerate(clips)}
    order = [student.labels.index(name) for name in teacher.labels.names]
    return compared(wanted[[rows[clip.id] for clip in measured]], scores[:, order], teacher.labels, threshold)


def compared(
    teacher: Float32[np.ndarray, "clip label"],
    student: Float32[np.ndarray, "clip label"],
    labels: LabelSet,
    threshold: float,
) -> Agreement:
    """The agreement of two sets of scores of the same clips."""
    positive = teacher >= threshold
    precision = average_precision(positive, student)
    difference = np.abs(teacher - student)
    counts = positive.sum(0)
    return Agreement(
        n_clips=len(teacher),
        threshold=threshold,
        mAP=label_mean(precision),
        n_labels=int((counts > 0).sum()),
        mean_absolute_difference=float(difference.mean()),
        labels=tuple(
            LabelAgreement(name, int(count), float(value), float(mean))
            for name, count, value, mean in zip(labels.names, counts, precision, difference.mean(0), strict=True)
        ),
    )
