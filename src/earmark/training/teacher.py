"""Soft targets: the scores that other taggers give the training clips."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from earmark import hub
from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.data.targets import Targets
from earmark.errors import ConfigError, DataError, Limit, check_settings, counted, first_few
from earmark.labels import LabelSet
from earmark.parallel.prefetch import in_threads
from earmark.storage.differences import differences
from earmark.storage.files import sha256_of
from earmark.storage.journal import open_journal
from earmark.training.batches import AnyTargets, Batch, sound_or_error
from earmark.training.provenance import exact_sha256

POSITIVE: Final = 0.5
"""Score from which a teacher's label counts as one of the clip's, where clips are ranked or drawn by label."""
_SECONDS_PER_FLUSH: Final = 2.0


@dataclass(frozen=True)
class TeacherConfig:
    """Settings of a distillation beside those of the training."""

    models: Sequence[str]
    """Names or paths of the taggers whose scores are averaged."""
    label_weight: Annotated[float, Limit(at_least=0, at_most=1)] = 0.0
    """Weight of the true labels in the targets of labelled clips; the teacher's scores have the rest."""

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.models:
            raise ConfigError("the name or path of at least one tagger was expected, not none", "teacher")


class Teacher:
    """Several taggers as one: the mean of their scores.

    Args:
        config: Names the taggers.
        device: Device that runs them, as for `hub.load`.

    Raises:
        CheckpointError: A tagger cannot be read.
        ConfigError: The taggers have different labels.
    """

    def __init__(self, config: TeacherConfig, device: str = "auto") -> None:
        self.config, self._device = config, device
        self._taggers = [hub.load(name, device=device) for name in config.models]
        self.labels = self._taggers[0].labels
        """Labels of the scores, in the first tagger's order."""
        for name, tagger in zip(config.models, self._taggers, strict=True):
            if set(tagger.labels.names) != set(self.labels.names):
                raise ConfigError(
                    f"taggers with the same labels were expected, {config.models[0]} has {len(self.labels)} and "
                    f"{name} has {len(tagger.labels)} others",
                    "teacher",
                )
        self._columns = [[tagger.labels.index(name) for name in self.labels.names] for tagger in self._taggers]

    @property
    def sample_rate(self) -> int:
        """The highest rate of the taggers (Hz)."""
        return max(tagger.sample_rate for tagger in self._taggers)

    def score(self, audio: Audio) -> Float32[np.ndarray, " label"]:
        """The mean score of each label for a recording, as `Tagger.score` gives it."""
        parts = zip(self._taggers, self._columns, strict=True)
        scores = [tagger.score(audio).scores[columns] for tagger, columns in parts]
        return np.stack(scores).mean(0)

    def facts(self) -> dict[str, Any]:
        """The entry of the teacher in `run.json`: each tagger by name and the SHA-256 of the file that runs."""
        names, digests = [], []
        for name in self.config.models:
            engine = hub.choose_engine(name, device=self._device)
            digests.append(sha256_of(hub.find_checkpoint(name, engine)))
            names.append(Path(name).name)
        return {"models": names, "sha256": digests, "label_weight": self.config.label_weight}


def for_student(data: Dataset, teacher: Teacher, are_all_labelled: bool = False) -> Dataset:
    """The clips with the teacher's label set, and with their own labels where these have a weight.

    Args:
        data: The clips.
        teacher: The taggers.
        are_all_labelled: Whether a clip without labels is an example of none of them; otherwise all its labels are
            unknown.

    Raises:
        DataError: The clips' labels have a weight, and the teacher lacks some of them.
    """
    labels, is_kept = teacher.labels, teacher.config.label_weight > 0
    if is_kept:
        used = dict.fromkeys(label for clip in data for label in clip.labels)
        if unknown := [label for label in used if label not in labels]:
            raise DataError(
                f"{data.name}: the teacher ({counted(len(labels), 'label')}) lacks "
                f"{counted(len(unknown), 'label')} of the clips: {first_few(unknown)}; rename or remove them, or give "
                "the labels no weight",
                remedy={"label_weight": 0},
            )
    clips = (_relabelled(clip, labels, is_kept, are_all_labelled) for clip in data)
    return Dataset(data.name, labels, tuple(clips))


def _relabelled(clip: Clip, labels: LabelSet, is_kept: bool, are_all_labelled: bool) -> Clip:
    if not is_kept:
        return replace(clip, labels=(), known=None)
    if clip.is_unlabelled and not are_all_labelled:
        return replace(clip, known=())
    names = tuple(labels.names[labels.index(label)] for label in clip.labels)
    known = None if clip.known is None else tuple(labels.names[labels.index(x)] for x in clip.known if x in labels)
    return replace(clip, labels=names, known=known)


def teacher_scores(
    data: Dataset,
    teacher: Teacher,
    path: Path,
    n_readers: int,
    skip_bad: bool,
    advance: Callable[[int], None],
) -> Float32[np.ndarray, "clip label"]:
    """The teacher's scores of all clips, kept in a journal: after a kill the same call computes those that are left.

    The scores of a clip that cannot be read are zero and are not kept, so that each call tries it again.

    Args:
        data: Clips to score, each whole.
        teacher: The taggers.
        path: The journal.
        n_readers: Threads that decode.
        skip_bad: Go on after a clip that cannot be read.
        advance: Called with the number of clips done since the last call.

    Raises:
        DataError: The journal is damaged or in use, or a clip cannot be read and `skip_bad` is off.
        ConfigError: The journal holds the scores of another teacher or of other clips.
    """
    head = {"teacher": teacher.facts()["sha256"], "clips": exact_sha256(data)}
    scores = np.zeros((len(data), len(teacher.labels)), np.float16)
    with open_journal(path, head, seconds=_SECONDS_PER_FLUSH) as journal:
        if differing := differences(journal.head, head):
            raise ConfigError(
                f"{path}: holds other scores, these differ: {', '.join(differing)}; remove it or take another folder"
            )
        done = np.zeros(len(data), bool)
        for number, text in journal.read(lambda line: (int(line[0]), base64.b64decode(line[1]))):
            scores[number], done[number] = np.frombuffer(text, "<f2"), True
        advance(int(done.sum()))
        left = np.flatnonzero(~done).tolist()
        read = partial(sound_or_error, sample_rate=teacher.sample_rate)
        loaded = in_threads(read, (data[number] for number in left), max(1, n_readers), 2 * n_readers + 1)
        for number, audio in zip(left, loaded, strict=True):
            if isinstance(audio, Audio):
                scores[number] = teacher.score(audio)
                journal.append((number, base64.b64encode(scores[number].astype("<f2").tobytes()).decode()))
            elif not skip_bad:
                raise DataError(
                    f"{data[number].id}: {audio}; repair or remove it, or train without it", remedy={"skip_bad": True}
                )
            advance(1)
    return scores.astype(np.float32)


def blended(
    truth: Float[np.ndarray, "clip label"],
    scores: Float[np.ndarray, "clip label"],
    label_weight: float,
) -> Float32[np.ndarray, "clip label"]:
    """`label_weight` of the true labels and the rest of the scores; where the truth is unknown, the scores alone.

    Args:
        truth: Multi-hot targets; nan is unknown.
        scores: The teacher's.
        label_weight: From 0 to 1.
    """
    mixed: np.ndarray = np.where(np.isnan(truth), scores, label_weight * truth + (1 - label_weight) * scores)
    return mixed.astype(np.float32)


class SoftTargets:
    """Targets that blend the true labels of clips with a teacher's scores.

    A label has the clips in which its target is `POSITIVE` or more, so that rare ones can be drawn as often as others.

    Args:
        truth: The true labels.
        scores: The teacher's score of each clip and label.
        label_weight: As in `blended`.
    """

    def __init__(self, truth: AnyTargets, scores: Float32[np.ndarray, "clip label"], label_weight: float) -> None:
        self._truth, self._scores, self._weight = truth, scores, label_weight

    def __len__(self) -> int:
        return len(self._scores)

    @property
    def has_unknown(self) -> bool:
        """False: an unknown label has the teacher's score."""
        return False

    def rows(self, clips: Sequence[int]) -> Float32[np.ndarray, "clip label"]:
        """The blended targets of the clips with these indices."""
        scores = self._scores[np.asarray(clips, np.int64)]
        return blended(self._truth.rows(clips), scores, self._weight)

    def by_label(self) -> list[Int[np.ndarray, " _"]]:
        """Indices of the clips of each label, ascending."""
        return [np.flatnonzero(column) for column in self._positive().T]

    def unlabelled(self) -> Int[np.ndarray, " clip"]:
        """Indices of the clips in which no label is positive."""
        return np.flatnonzero(~self._positive().any(1))

    def _positive(self) -> np.ndarray:
        positive: np.ndarray = self.rows(range(len(self))) >= POSITIVE
        return positive


def positives(scores: Float32[np.ndarray, "clip label"], labels: LabelSet) -> Targets:
    """The labels that score `POSITIVE` or more, as if they were true."""
    return Targets(([labels.names[place] for place in np.flatnonzero(row >= POSITIVE)] for row in scores), labels)


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that scores the clips of each step as the student gets them: the same mix and the same crop."""

    teacher: Teacher
    sample_rate: int
    """Rate of the student's waveforms (Hz)."""

    def target(self, batch: Batch) -> Tensor:
        """The blended targets of a batch of waveforms, on its device."""
        if not batch.ids:
            return batch.target
        rows = zip(batch.features.cpu().numpy(), batch.lengths.tolist(), strict=True)
        scores = np.stack([self.teacher.score(Audio(row[:n_samples], self.sample_rate)) for row, n_samples in rows])
        truth, weight = batch.target.cpu().numpy(), self.teacher.config.label_weight
        return torch.from_numpy(blended(truth, scores, weight)).to(batch.target.device)
