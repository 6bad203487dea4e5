"""Calibration: Platt scaling of a network's logits, and one threshold per label, fitted to held-out clips."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError
from earmark.evaluation.report import Report, evaluate
from earmark.evaluation.scoring import FailedClip
from earmark.evaluation.thresholds import best_threshold, logits_of, shrunk, sigmoid
from earmark.labels import LabelSet
from earmark.model.head import Stages

SHRINKAGE: Final = 40.0
"""Default of `fit`, chosen by measurement (results/thresholds.md)."""
N_BINS: Final = 15
"""Equal-width bins of the expected calibration error, over scores from 0 to 1."""

_MAX_STEPS = 100
_Model = TypeVar("_Model", bound=Stages)
_TOO_CLEAN = "calibrate on more clips that were not used for training"


class CalibrationFigures(NamedTuple):
    """Calibration metrics. Every data set has the same weight, whatever its number of clips."""

    expected_calibration_error: float
    """Pairs of clip and label are binned by score. Absolute difference between the mean score and the share of
    positives of a bin, averaged over bins by the weight of their pairs."""
    cross_entropy: float
    """Mean binary cross entropy over pairs of clip and label, in nats."""
    f1_macro: float
    """F1 of the tags above threshold, mean over the labels with positives."""
    f1_micro: float
    """F1 of all tags together."""


class CalibrationClips(NamedTuple):
    """The clips of one data set that were scored."""

    name: str
    n_clips: int
    clip_ids_sha256: str


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`: `logit' = scale * logit + offset`, and one threshold per label."""

    labels: tuple[str, ...]
    """All labels of the network."""
    scale: float
    offset: float
    thresholds: tuple[float, ...]
    """Calibrated score at or above which a label is a tag, one per label."""
    pooled_threshold: float
    """Best threshold for all labels together."""
    n_positive: tuple[int, ...]
    """Number of clips with each label."""
    shrinkage: float
    """Number of positives at which a label's own best threshold weighs as much as the pooled threshold."""
    before: CalibrationFigures
    """Metrics before calibration, at threshold 0.5."""
    after: CalibrationFigures
    """Metrics after calibration. The thresholds were chosen on the same clips, so F1 is lower on other clips."""
    data: tuple[CalibrationClips, ...]
    failed: tuple[FailedClip, ...] = ()
    """Skipped clips."""

    @property
    def n_pooled(self) -> int:
        """Number of labels without positives, which take the pooled threshold."""
        return sum(not n for n in self.n_positive)

    def facts(self) -> dict[str, Any]:
        """The values that a checkpoint stores beside its thresholds, as JSON values."""
        return {
            "scale": self.scale,
            "offset": self.offset,
            "pooled_threshold": self.pooled_threshold,
            "shrinkage": self.shrinkage,
            "n_labels_pooled": self.n_pooled,
            "before": self.before._asdict(),
            "after": self.after._asdict(),
            "data": [clips._asdict() for clips in self.data],
            "failed": [clip._asdict() for clip in self.failed],
        }

    def to_json(self) -> dict[str, Any]:
        """All values, as JSON values."""
        rows = zip(self.labels, self.n_positive, self.thresholds, strict=True)
        return {**self.facts(), "labels": [{"label": x, "n_positive": n, "threshold": t} for x, n, t in rows]}


def calibrate(
    network: Stages,
    datasets: Sequence[Dataset],
    *,
    shrinkage: float = SHRINKAGE,
    batch_size: int = 16,
    n_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    device: str | torch.device = "cpu",
) -> Calibration:
    """Fits scores and thresholds to held-out clips.

    Clips are scored as by `Tagger.score`, so that the thresholds fit the scores of `tag` and `timeline`; clips that are
    encoded already are scored whole.

    Args:
        network: Is not changed; `apply` returns a calibrated copy.
        datasets: Held-out clips. The network needs all of their labels; they need not have all of the network's.
        shrinkage: As in `fit`.
        batch_size: As in `evaluate`.
        n_workers: As in `evaluate`.
        progress: Called with the number of clips scored so far and their total, over all data sets.
        device: As in `evaluate`.

    Raises:
        DataError: As in `evaluate` and `fit`.
        ConfigError: A setting is invalid, or there is no data set.
    """
    _check_shrinkage(shrinkage)
    reports: list[Report] = []
    n_clips, n_before = sum(map(len, datasets)), 0
    for dataset in datasets:
        show = None if progress is None else lambda done, _, n=n_before: progress(n + done, n_clips)
        report = evaluate(
            network,
            dataset,
            batch_size=batch_size,
            n_workers=n_workers,
            progress=show,
            device=device,
            long_clips="windows",
        )
        reports.append(report)
        n_before += len(dataset)
    return fit(reports, network.labels, shrinkage)


def fit(reports: Sequence[Report], labels: LabelSet, shrinkage: float = SHRINKAGE) -> Calibration:
    """Fits scale, offset and thresholds to scores of `evaluate`.

    Platt scaling (1999) with one scale and offset for all labels keeps the order of clips and of labels. It minimises
    the mean binary cross entropy; every data set has the same weight.

    The pooled threshold has the best F1 of all tags together, a label's own threshold the best F1 of the label. Both
    lie midway between neighbouring scores. If several have the same F1, the pooled threshold is the one nearest to 0.5,
    and the label's own is the one nearest to the pooled one. The label's threshold is the mean of both in log-odds,
    weighted by `n` (its positives in all data sets) and `shrinkage`: its own one is uncertain with few positives.

    Args:
        reports: One report of `evaluate` per data set.
        labels: The network's labels.
        shrinkage: 0 or more; with 0 each label with positives has its own threshold.

    Raises:
        DataError: There are no positives or no negatives; scores are no better than chance; or all positives score
            above all negatives, so that the scale would be infinite.
        ConfigError: There is no report, or `shrinkage` is negative or not finite.
    """
    _check_shrinkage(shrinkage)
    if not reports:
        raise ConfigError("expected at least one data set to calibrate on, got none")
    pairs = _pairs(reports, labels)
    scale, offset = _fit_line(pairs)
    scores = sigmoid(scale * pairs.logits + offset)
    n_positive = np.bincount(pairs.label[pairs.target], minlength=len(labels))
    pooled = best_threshold(pairs.target, scores, pairs.weight, near=0.5)
    thresholds = _label_thresholds(pairs, scores, n_positive, pooled, shrinkage)
    return Calibration(
        labels=labels.names,
        scale=scale,
        offset=offset,
        thresholds=tuple(thresholds.tolist()),
        pooled_threshold=pooled,
        n_positive=tuple(n_positive.tolist()),
        shrinkage=shrinkage,
        before=_figures(pairs, pairs.logits, np.full(len(labels), 0.5)),
        after=_figures(pairs, scale * pairs.logits + offset, thresholds),
        data=tuple(CalibrationClips(report.data, len(report.ids), report.clip_ids_sha256) for report in reports),
        failed=tuple(clip for report in reports for clip in report.failed),
    )


def apply(network: _Model, calibration: Calibration) -> _Model:
    """A calibrated copy of the network, with thresholds and with `Calibration.facts` in `extra["calibration"]`.

    Scale and offset are folded into its last layer, or at the instance level stored after its pooling, so every engine
    applies them without knowing of them. Order, top-1 and mAP do not change, except by float32 rounding.

    Raises:
        ConfigError: The calibration has other labels.
    """
    return _calibrated(network, calibration.labels, calibration.facts(), calibration.thresholds)


def apply_like(network: _Model, calibrated: Stages) -> _Model:
    """A copy of the network with the scale, offset and thresholds of another network with the same training settings.

    Use it for a network that was trained on all clips, so that none are left for calibration.

    Raises:
        ConfigError: The other network is not calibrated or has other labels, or this one is already calibrated.
    """
    if "calibration" in network.extra:
        raise ConfigError("expected a network without calibration, got a calibrated one")
    facts = calibrated.extra.get("calibration")
    if not isinstance(facts, dict) or not {"scale", "offset"} <= facts.keys() or calibrated.thresholds is None:
        raise ConfigError("expected a calibrated checkpoint to copy from; run `earmark calibrate` on it first")
    return _calibrated(network, calibrated.labels.names, {**facts, "copied": True}, calibrated.thresholds)


def _calibrated(
    network: _Model, labels: Sequence[str], facts: Mapping[str, Any], thresholds: Sequence[float]
) -> _Model:
    if labels != network.labels.names:
        raise ConfigError(
            f"expected a calibration for the network's {len(network.labels)} labels, got one for {len(labels)} other "
            "labels; calibrate this network"
        )
    scaled = copy.deepcopy(network)
    last = scaled.classifier[-1]
    weight: torch.Tensor = last.get_parameter("weight") if scaled.affine is None else scaled.affine.scale
    bias: torch.Tensor = last.get_parameter("bias") if scaled.affine is None else scaled.affine.offset
    with torch.no_grad():
        weight.mul_(float(facts["scale"]))
        bias.mul_(float(facts["scale"])).add_(float(facts["offset"]))
    scaled.thresholds = tuple(thresholds)
    scaled.extra["calibration"] = dict(facts)
    return scaled


def _check_shrinkage(shrinkage: float) -> None:
    if not 0 <= shrinkage < np.inf:
        raise ConfigError(f"a finite number of 0 or more was expected, not {shrinkage:g}", "shrinkage")


@dataclass(frozen=True, eq=False)
class _Pairs:
    """All known pairs of clip and label of all data sets."""

    logits: Float64[np.ndarray, " pair"]
    target: Bool[np.ndarray, " pair"]
    label: Int64[np.ndarray, " pair"]
    """Index among the network's labels."""
    weight: Float64[np.ndarray, " pair"]
    """Weights of each data set have the same sum; all sum to 1."""
    clip_weight: Float64[np.ndarray, " pair"]
    """Weights of each data set and label sum to 1."""


def _pairs(reports: Sequence[Report], labels: LabelSet) -> _Pairs:
    positions = {name: position for position, name in enumerate(labels.names)}
    columns = [np.array([positions[figures.label] for figures in report.labels], np.int64) for report in reports]
    masks = [np.ones(report.target.shape, bool) if report.known is None else report.known for report in reports]
    weights = [np.full(int(known.sum()), 1 / max(1, int(known.sum()))) for known in masks]
    # pairs of a label weigh the same in sum, however many clips know it
    clip_weights = [np.broadcast_to(1 / np.maximum(known.sum(axis=0), 1), known.shape)[known] for known in masks]
    return _Pairs(
        logits=np.concatenate([logits_of(report.scores)[known] for report, known in zip(reports, masks, strict=True)]),
        target=np.concatenate([report.target[known] for report, known in zip(reports, masks, strict=True)]),
        label=np.concatenate(
            [np.broadcast_to(own, known.shape)[known] for own, known in zip(columns, masks, strict=True)]
        ),
        weight=np.concatenate(weights) / len(reports),
        clip_weight=np.concatenate(clip_weights),
    )


def _fit_line(pairs: _Pairs) -> tuple[float, float]:
    """Scale and offset that minimise the cross entropy, by Newton's method."""
    logits, target, weight = pairs.logits, pairs.target, pairs.weight
    _check_fit(pairs)
    base_rate = float(weight[target].sum())
    centre = float(weight @ logits)
    spread = float(np.sqrt(weight @ (logits - centre) ** 2))
    inputs = np.stack([(logits - centre) / spread, np.ones_like(logits)])
    # start at a constant score, where the curvature is large in every direction
    line = np.array([0.0, np.log(base_rate / (1 - base_rate))])
    for _ in range(_MAX_STEPS):
        scores = sigmoid(line @ inputs)
        gradient = inputs @ (weight * (scores - target))
        curvature = (inputs * (weight * scores * (1 - scores))) @ inputs.T
        # regularised: if few pairs determine the fit, rounding could turn the step uphill
        curvature += 1e-12 * np.trace(curvature) * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        decrement = float(gradient @ step)
        before = _cross_entropy(line @ inputs, target, weight)
        while _cross_entropy((line - step) @ inputs, target, weight) > before:
            step /= 2  # a step of length 0 ends the loop
        line = line - step
        if decrement < 1e-10:  # Newton's method: the last step squared the remaining error
            scale = float(line[0]) / spread
            return scale, float(line[1]) - scale * centre
    raise DataError(f"the scale of the scores did not converge in {_MAX_STEPS} steps; {_TOO_CLEAN}")


def _check_fit(pairs: _Pairs) -> None:
    """Refuses data without a minimum of the cross entropy at a positive scale."""
    logits, target, weight = pairs.logits, pairs.target, pairs.weight
    if not target.any() or target.all():
        which = "negative" if target.any() else "positive"
        raise DataError(f"calibration needs positives and negatives, but there are no {which}s; use more clips")
    positive, negative = logits[target], logits[~target]
    # the best scale has the sign of this difference: the cross entropy is convex and falls in its direction at scale 0
    difference = np.average(positive, weights=weight[target]) - np.average(negative, weights=weight[~target])
    if difference <= 0 or logits.min() == logits.max():
        raise DataError(
            "the network's logits are no better than chance: the mean logit of positives minus that of negatives is "
            f"{difference:+.3g}; train the network, or check the labels of the clips"
        )
    if positive.min() >= negative.max():
        raise DataError(f"all positives score above all negatives, so the best scale is infinite; {_TOO_CLEAN}")


def _label_thresholds(
    pairs: _Pairs,
    scores: Float64[np.ndarray, " pair"],
    n_positive: Int64[np.ndarray, " label"],
    pooled: float,
    shrinkage: float,
) -> Float64[np.ndarray, " label"]:
    """The shrunk threshold of each label."""
    thresholds = np.full(len(n_positive), pooled)
    for label in np.flatnonzero(n_positive):
        own = pairs.label == label
        best = best_threshold(pairs.target[own], scores[own], pairs.clip_weight[own], near=pooled)
        thresholds[label] = shrunk(best, pooled, n_positive[label] / (n_positive[label] + shrinkage))
    return thresholds


def _figures(
    pairs: _Pairs, logits: Float64[np.ndarray, " pair"], thresholds: Float64[np.ndarray, " label"]
) -> CalibrationFigures:
    scores = sigmoid(logits)
    chosen = scores >= thresholds[pairs.label]
    by_label = [
        _f1(pairs.target[own], chosen[own], pairs.clip_weight[own])
        for own in (pairs.label == label for label in np.unique(pairs.label[pairs.target]))
    ]
    return CalibrationFigures(
        expected_calibration_error=_expected_calibration_error(pairs.target, scores, pairs.weight),
        cross_entropy=_cross_entropy(logits, pairs.target, pairs.weight),
        f1_macro=float(np.mean(by_label)),
        f1_micro=_f1(pairs.target, chosen, pairs.weight),
    )


def _expected_calibration_error(
    target: Bool[np.ndarray, " pair"], scores: Float64[np.ndarray, " pair"], weight: Float64[np.ndarray, " pair"]
) -> float:
    bins = np.minimum((scores * N_BINS).astype(np.int64), N_BINS - 1)
    # the weight of a bin cancels with the division by it
    return float(np.abs(np.bincount(bins, weight * (scores - target))).sum())


def _cross_entropy(
    logits: Float64[np.ndarray, " pair"], target: Bool[np.ndarray, " pair"], weight: Float64[np.ndarray, " pair"]
) -> float:
    return float(weight @ (np.logaddexp(0, logits) - target * logits))


def _f1(
    target: Bool[np.ndarray, " pair"], chosen: Bool[np.ndarray, " pair"], weight: Float64[np.ndarray, " pair"]
) -> float:
    return float(2 * weight[target & chosen].sum() / (weight[target].sum() + weight[chosen].sum()))
