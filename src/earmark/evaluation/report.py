"""Evaluation of a network on a data set: metrics, their interval and the clips behind them."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32

from earmark.data.clips import Clip, Dataset, ids_sha256
from earmark.data.segments import segments_of
from earmark.data.targets import Targets
from earmark.errors import ConfigError, DataError, counted, first_few
from earmark.evaluation.metrics import average_precision, bootstrap_interval, d_prime, label_mean, roc_auc
from earmark.evaluation.scoring import FailedClip, LongClips, Scorer, evaluating, score_clips
from earmark.evaluation.segment_scores import check_encoder, score_segments
from earmark.labels import LabelSet
from earmark.model.head import Stages
from earmark.model.network import Network
from earmark.storage.files import atomic_write
from earmark.storage.json_files import json_value, write_json

_MID: Final = re.compile(r"/[mtg]/\w+")  # ids that mean the same in every data set


class LabelFigures(NamedTuple):
    """Metrics of one label."""

    label: str
    n_positive: int
    """Number of clips with the label."""
    average_precision: float
    """nan without positives."""
    auc: float
    """nan if all clips have the label, or none."""


@dataclass(frozen=True, eq=False)
class Report:
    """Result of `evaluate`, over the clips in `ids`."""

    model: str
    data: str
    mAP: float
    """Mean average precision over the labels with positives; nan without any."""
    mAUC: float
    """Mean area under the ROC curve over the labels where it is defined."""
    d_prime: float
    """d' of the mean AUC, as the literature reports it; inf if mAUC is 1."""
    mAP_interval: tuple[float, float]
    """95 % bootstrap interval of the mAP over clips (`metrics.bootstrap_interval`)."""
    top1: float | None
    """Share of clips whose label scores highest; None unless each clip has exactly one label, and all are known."""
    labels: tuple[LabelFigures, ...]
    """In the order of the data set."""
    ids: tuple[str, ...]
    """Ids of the measured clips, in the order of the data set."""
    scores: Float32[np.ndarray, "clip label"]
    target: Bool[np.ndarray, "clip label"]
    known: Bool[np.ndarray, "clip label"] | None = None
    """Pairs of clip and label that are known; the metrics are over these. None if all are."""
    failed: tuple[FailedClip, ...] = ()
    long_clips: LongClips = "whole"
    """Rule by which clips longer than the training clips were scored."""
    n_long_clips: int = 0
    """Number of these clips."""

    @property
    def n_labels_with_positives(self) -> int:
        return sum(figures.n_positive > 0 for figures in self.labels)

    @property
    def n_unknown(self) -> int:
        """Number of pairs of clip and label that are unknown."""
        return 0 if self.known is None else int((~self.known).sum())

    @property
    def clip_ids_sha256(self) -> str:
        """Hash of the measured clip ids; equals the data set's if no clip failed."""
        return ids_sha256(self.ids)

    def to_json(self) -> dict[str, Any]:
        """The metrics as JSON values; a value that is not finite is None, such as the d' of a mean AUC of 1."""
        values = {
            "model": self.model,
            "data": self.data,
            "n_clips": len(self.ids),
            "n_labels": len(self.labels),
            "n_labels_with_positives": self.n_labels_with_positives,
            "n_unknown": self.n_unknown,
            "clip_ids_sha256": self.clip_ids_sha256,
            "mAP": self.mAP,
            "mAP_interval": self.mAP_interval,
            "mAUC": self.mAUC,
            "d_prime": self.d_prime,
            "top1": self.top1,
            "labels": [figures._asdict() for figures in self.labels],
            "failed": [clip._asdict() for clip in self.failed],
            "long_clips": self.long_clips,
            "n_long_clips": self.n_long_clips,
        }
        return dict(json_value(values))

    def markdown(self) -> str:
        """The report as Markdown: metrics, coverage, labels by falling average precision, clips not measured."""
        low, high = self.mAP_interval
        n_all = len(self.ids) + len(self.failed)
        lines = [
            f"# {_cell(self.model)} on {_cell(self.data)}",
            "",
            "| figure | value |",
            "|---|---|",
            f"| mAP | {_digits(self.mAP)} (95 % interval {_digits(low)} to {_digits(high)}) |",
            f"| mAUC | {_digits(self.mAUC)} |",
            f"| d' of the mAUC | {_digits(self.d_prime)} |",
            *([f"| top-1 accuracy | {_digits(self.top1)} |"] if self.top1 is not None else []),
            "",
            f"Measured on {len(self.ids)} of {counted(n_all, 'clip')} ({len(self.ids) / n_all:.1%}). Means are over "
            f"the {self.n_labels_with_positives} of {len(self.labels)} labels that have a positive clip. "
            "The interval is a bootstrap over clips, shifted so that its median is the measured mAP: it shows how much "
            "the mAP varies with the choice of clips. It treats clips from the same recording as independent, so "
            "it is too narrow if clips share recordings.",
            "",
            *([self._about_unknown(), ""] if self.n_unknown else []),
            *([self._about_long_clips(), ""] if self.n_long_clips else []),
            f"SHA-256 of the clip ids: `{self.clip_ids_sha256}`",
            "",
            "## Labels",
            "",
            "| label | clips | average precision | AUC |",
            "|---|---:|---:|---:|",
        ]
        # best first, nan last
        ranked = sorted(self.labels, key=lambda f: (math.isnan(f.average_precision), -f.average_precision, f.label))
        for label, n_positive, precision, auc in ranked:
            lines.append(f"| {_cell(label)} | {n_positive} | {_digits(precision)} | {_digits(auc)} |")
        if self.failed:
            lines += ["", "## Clips not measured", "", "| clip | reason |", "|---|---|"]
            lines += [f"| {_cell(clip.id)} | {_cell(clip.error)} |" for clip in self.failed]
        return "\n".join(lines) + "\n"

    def _about_unknown(self) -> str:
        return f"Left out: {self.n_unknown} of {self.target.size} pairs of clip and label, which are unknown."

    def _about_long_clips(self) -> str:
        rule = "pooled whole" if self.long_clips == "whole" else "scored by their best windows, as `earmark tag` does"
        return f"Longer than the training clips: {counted(self.n_long_clips, 'clip')}, {rule}."

    def save(self, out_dir: Path | str) -> None:
        """Writes `report.json`, `report.md` and `scores.npz` (`save_scores`) into a folder.

        Raises:
            OSError: The folder cannot be written.
        """
        out_dir = Path(out_dir)
        self.save_scores(out_dir / "scores.npz")
        with atomic_write(out_dir / "report.md") as path:
            path.write_text(self.markdown(), encoding="utf-8", errors="backslashreplace")
        write_json(out_dir / "report.json", self.to_json())

    def save_scores(self, path: Path) -> None:
        """Writes an `.npz` file with ids, labels, scores and target; and `known` if some labels are unknown.

        The scores allow a paired bootstrap of two models on the same clips (`metrics.bootstrap_samples`).

        Raises:
            OSError: The file cannot be written.
        """
        arrays: dict[str, Any] = {
            "ids": np.array(self.ids, np.str_),
            "labels": np.array([figures.label for figures in self.labels], np.str_),
            "scores": self.scores,
            "target": self.target.astype(np.uint8),
        }
        if self.known is not None:
            arrays["known"] = self.known.astype(np.uint8)
        # by a stream, for NumPy adds .npz to a name without it
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)


def evaluate(
    network: Stages,
    dataset: Dataset,
    *,
    model: str | None = None,
    batch_size: int = 16,
    n_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    device: str | torch.device = "cpu",
    long_clips: LongClips = "whole",
) -> Report:
    """Scores clips and computes the metrics of the data set's labels.

    The batch size does not change the metrics. Unreadable clips are listed in the report and excluded from its metrics.
    The mode and device of the network are restored.

    Args:
        network: Has all labels of the data set, matched by name or MID; may have more. For encoded clips, a head will
            do.
        dataset: The clips to score.
        model: Name of the network in the report.
        batch_size: Maximum clips per batch; batches of long clips are smaller.
        n_workers: Threads that decode the next batch while the network scores; 0 decodes in turn with scoring.
        progress: Called with the number of clips scored so far and their total.
        device: Device that runs the network.
        long_clips: Rule for clips longer than the training clips: `whole` pools them like the others, as the literature
            does; `windows` scores them like `Tagger.score`, by their best windows.

    Raises:
        DataError: The network lacks labels, no clip can be read, the clips were encoded by another network, or scores
            are not finite.
        ConfigError: A setting is invalid, or the device is not available.
    """
    if batch_size < 1:
        raise ConfigError(f"at least 1 was expected, not {batch_size}", "batch_size")
    if n_workers < 0:
        raise ConfigError(f"at least 0 was expected, not {n_workers}", "n_workers")
    columns = _columns(network.labels, dataset)
    segments = segments_of(dataset)
    check_encoder(network, segments and segments.encoder, dataset.name)
    with evaluating(network, device):
        measured, scores, unreadable, n_long = _scored(network, dataset, long_clips, batch_size, n_workers, progress)
    truth = Targets((clip.labels for clip in measured), dataset.labels, [clip.known for clip in measured])
    target = truth.rows(range(len(measured)))
    report = measure(
        target == 1,
        scores[:, columns],
        known=~np.isnan(target) if truth.has_unknown else None,
        ids=[clip.id for clip in measured],
        labels=dataset.labels,
        model=model or f"{network.config.pooling}, {network.n_parameters:,} parameters",
        data=dataset.name,
        failed=[FailedClip(clip_id, "its file is missing") for clip_id in dataset.missing] + unreadable,
    )
    return replace(report, long_clips=long_clips, n_long_clips=n_long)


def _scored(
    network: Stages,
    dataset: Dataset,
    long_clips: LongClips,
    batch_size: int,
    n_workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Clip], Float32[np.ndarray, "clip label"], list[FailedClip], int]:
    """The readable clips, their scores, the unreadable clips, and the number of long ones.

    Raises:
        DataError: No clip can be read.
    """
    if not isinstance(network, Network) or segments_of(dataset) is not None:
        return list(dataset.clips), score_segments(network, dataset, progress), [], 0
    scorer = Scorer(network, long_clips)
    measured, scores, unreadable = score_clips(scorer, dataset, batch_size, n_workers, progress)
    if not measured:
        first = unreadable[0]
        raise DataError(f"{dataset.name}: none of its {len(dataset)} clips can be read; {first.id!r}: {first.error}")
    return measured, scores, unreadable, scorer.n_long


def measure(
    target: Bool[np.ndarray, "clip label"],
    scores: Float32[np.ndarray, "clip label"],
    *,
    ids: Sequence[str],
    labels: LabelSet,
    model: str,
    data: str,
    failed: Sequence[FailedClip] = (),
    known: Bool[np.ndarray, "clip label"] | None = None,
) -> Report:
    """Computes the metrics of given scores, over the known pairs of clip and label.

    Raises:
        DataError: Scores are nan, or shapes differ.
    """
    truth = target if known is None else np.where(known, target, np.nan)
    precision, auc = average_precision(truth, scores), roc_auc(truth, scores)
    mean_auc = label_mean(auc)
    one_each = known is None and bool((target.sum(axis=1) == 1).all())
    return Report(
        model=model,
        data=data,
        mAP=label_mean(precision),
        mAUC=mean_auc,
        d_prime=d_prime(mean_auc),
        mAP_interval=bootstrap_interval(truth, scores),
        top1=float(target[np.arange(len(target)), scores.argmax(axis=1)].mean()) if one_each else None,
        labels=tuple(
            LabelFigures(*figures)
            for figures in zip(labels, target.sum(axis=0).tolist(), precision.tolist(), auc.tolist(), strict=True)
        ),
        ids=tuple(ids),
        scores=scores,
        target=target,
        known=known,
        failed=tuple(failed),
    )


def _columns(labels: LabelSet, dataset: Dataset) -> list[int]:
    """Columns of the network's logits for the data set's labels, matched by name, else by MID."""
    by_name = {name: position for position, name in enumerate(labels.names)}
    by_mid = {id_: position for position, id_ in enumerate(labels.ids) if _MID.fullmatch(id_)}
    pairs = zip(dataset.labels.names, dataset.labels.ids, strict=True)
    columns = {name: by_name.get(name, by_mid.get(id_)) for name, id_ in pairs}
    found = [column for column in columns.values() if column is not None]
    doubled = {column for column in found if found.count(column) > 1}
    if unknown := [name for name, column in columns.items() if column is None or column in doubled]:
        shown = first_few(unknown, 5, "; ")
        raise DataError(
            f"{dataset.name}: the network does not know {len(unknown)} of its {len(dataset.labels)} labels ({shown}); "
            "select labels that it knows, or use a network trained on these"
        )
    return found


def _digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
