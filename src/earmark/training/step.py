"""The parts of a training step that are functions of tensors alone, and the figures of a validation."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earmark.errors import EarmarkError
from earmark.evaluation.metrics import average_precision, d_prime, label_mean, roc_auc
from earmark.model.frontend import FLOOR_DB
from earmark.model.head import Head, Stages
from earmark.model.network import Network
from earmark.training.augmentation import augment, augment_segments, first_segments, mixup, spec_augment
from earmark.training.batches import Batch
from earmark.training.settings import TrainConfig


class LogMelNetwork(nn.Module):
    """A network as it is trained: from log-mels, which are augmented; the loss is computed from `forward`."""

    padding: Final = FLOOR_DB
    """Value after the end of a shorter clip."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The log-mels of a batch, and the frames of each clip."""
        if not batch.ids:  # no clip could be read
            return batch.target.new_zeros(0, 0, self.network.config.frontend.n_mels), batch.lengths
        if batch.are_log_mels:
            return batch.features, batch.lengths
        return self.network.frontend(batch.features, batch.lengths), self.network.frontend.n_frames(batch.lengths)

    def augmented(
        self, config: TrainConfig, log_mel: Tensor, target: Tensor, n_frames: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented log-mels, their targets and frames."""
        floor_db = self.network.config.frontend.floor_db
        return augment(config, log_mel, target, n_frames, generator, floor_db)

    def forward(self, log_mel: Tensor, n_frames: Tensor) -> Tensor:
        """Logits of whole clips."""
        logits: Tensor = self.network.logits_from_log_mel(log_mel, n_frames)
        return logits


class WaveformNetwork(LogMelNetwork):
    """A network whose backbone takes the waveform too: each frame of the log-mel has its samples behind its mel bins.

    So mixup blends both with the same weights; SpecAugment hides parts of the log-mel alone.
    """

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Frames of the log-mel with their samples (batch, frame, mel + sample), and the samples of each clip."""
        frontend = self.network.config.frontend
        if not batch.ids:  # no clip could be read
            return batch.target.new_zeros(0, 0, frontend.n_mels + frontend.hop_length), batch.lengths
        log_mel, waveform = self.network.frontend(batch.features, batch.lengths), batch.features
        padded = F.pad(waveform, (0, log_mel.shape[1] * frontend.hop_length - waveform.shape[1]))
        return torch.cat([log_mel, padded.unflatten(1, (-1, frontend.hop_length))], 2), batch.lengths

    def augmented(
        self, config: TrainConfig, clips: Tensor, target: Tensor, n_samples: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented frames with their samples, their targets and samples."""
        log_mel, waveform = self._parts(clips)
        real = torch.arange(waveform.shape[1], device=clips.device) < n_samples.to(clips.device)[:, None]
        samples = waveform.masked_fill(~real, 0.0).unflatten(1, (len(clips[0]), -1))
        clips = torch.cat([log_mel, samples], 2)
        if config.mixup_alpha > 0:
            clips, target, n_samples = mixup(clips, target, n_samples, config.mixup_alpha, generator)
        if config.spec_augment:
            n_mels = log_mel.shape[2]
            n_frames = self.network.frontend.n_frames(n_samples)
            hidden = spec_augment(clips[..., :n_mels], n_frames, generator, config)
            clips = torch.cat([hidden, clips[..., n_mels:]], 2)
        return clips, target, n_samples

    def forward(self, clips: Tensor, n_samples: Tensor) -> Tensor:
        """Logits of whole clips."""
        log_mel, waveform = self._parts(clips)
        n_frames = self.network.frontend.n_frames(n_samples)
        logits: Tensor = self.network.logits_from_log_mel(log_mel, n_frames, waveform, n_samples)
        return logits

    def _parts(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        n_mels = self.network.config.frontend.n_mels
        return clips[..., :n_mels], clips[..., n_mels:].flatten(1)


class SegmentHead(nn.Module):
    """A head as it is trained: from segments, which are augmented; the loss is computed from `forward`."""

    padding: Final = 0.0
    """Value after the end of a shorter clip."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The segments of a batch, and their number in each clip."""
        return batch.features, batch.lengths

    def augmented(
        self, config: TrainConfig, segments: Tensor, target: Tensor, n_segments: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augmented segments, their targets and masks."""
        return augment_segments(config, segments, target, n_segments, generator)

    def forward(self, segments: Tensor, real: Tensor) -> Tensor:
        """Logits of each clip, from its first segments, if `real` is their number, or from those of a mask."""
        return self.head.classify(segments, real if real.ndim == 2 else first_segments(real, segments))


def as_trained(stages: Stages) -> LogMelNetwork | SegmentHead:
    """The network or head with what depends on its input: features, augmentation, logits."""
    if isinstance(stages, Head):
        return SegmentHead(stages)
    if isinstance(stages, Network):
        return WaveformNetwork(stages) if stages.backbone.takes_waveform else LogMelNetwork(stages)
    raise TypeError(f"a Network or a Head was expected, not {type(stages).__name__}")


def filled(features: Tensor, target: Tensor, lengths: Tensor, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The clips, repeated in place of those that could not be read, so that every batch is full."""
    if len(features) == batch_size:
        return features, target, lengths
    rows = torch.arange(batch_size) % len(features)
    moved = rows.to(features.device)
    return features[moved], target[moved], lengths[rows]


def loss_of(logits: Tensor, target: Tensor, softmax_weight: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross entropy, plus `softmax_weight` times a softmax cross entropy over the labels.

    Args:
        logits: Logits (batch, label).
        target: Targets in 0..1; with a weight, nan where a label is unknown.
        softmax_weight: 0 leaves the softmax cross entropy out.
        weight: `weight_of_known` of the step, where labels are unknown: pairs of clip and label that are unknown do not
            count, and the softmax is over the known labels of a clip.
    """
    if weight is not None:
        known = ~target.isnan()
        target = torch.where(known, target, 0.0)
        pairs = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        loss = torch.where(known, pairs, 0.0).mean() * weight
        logits = logits.masked_fill(~known, torch.finfo(logits.dtype).min)
    else:
        loss = F.binary_cross_entropy_with_logits(logits, target)
    if softmax_weight > 0:
        # all labels of a clip count alike; a clip without labels adds nothing
        shares = target / target.sum(1, keepdim=True).clamp(min=1e-6)
        loss = loss + softmax_weight * F.cross_entropy(logits, shares)
    return loss


def weight_of_known(target: Tensor) -> Tensor:
    """The number of pairs of clip and label in a step over that of the known ones.

    It turns a mean over all pairs into one over the known pairs. It counts the pairs of the whole step, so that the
    loss does not depend on how many devices share it.
    """
    return target.numel() / (~target.isnan()).sum().clamp(min=1)


@torch.no_grad()
def update_average(averaged: Stages, network: Stages, decay: float) -> None:
    """Moves the averaged weights and statistics towards the network's by `1 - decay`."""
    pairs = list(zip(averaged.state_dict().values(), network.state_dict().values(), strict=True))
    averages, values = zip(*((average, value) for average, value in pairs if average.is_floating_point()), strict=True)
    torch._foreach_lerp_(list(averages), list(values), 1 - decay)
    for average, value in pairs:
        if not average.is_floating_point():  # batch norm's count of batches
            average.copy_(value)


def mean_figures(target: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """mAP, mAUC and the d' of the mean AUC over the labels that have a positive, of batches of clips."""
    if not target:
        raise EarmarkError("no clip of the validation set can be read; validation needs at least one")
    truth, ranking = np.concatenate(target), np.concatenate(scores)
    area = label_mean(roc_auc(truth, ranking))
    return label_mean(average_precision(truth, ranking)), area, float(d_prime(area))
