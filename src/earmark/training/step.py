"""The parts of a training step that are functions of tensors alone, and the figures of a validation."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from earmark.errors import EarmarkError
from earmark.evaluation.metrics import average_precision, d_prime, label_mean, roc_auc
from earmark.model.network import Network


class LogMelNetwork(nn.Module):
    """Log-mel to logits, as `DistributedDataParallel` needs it: as `forward`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, log_mel: Tensor, n_frames: Tensor) -> Tensor:
        logits: Tensor = self.network.logits_from_log_mel(log_mel, n_frames)
        return logits


def filled(log_mel: Tensor, target: Tensor, n_frames: Tensor, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The clips, repeated in place of those that could not be read, so that every batch is full."""
    if len(log_mel) == batch_size:
        return log_mel, target, n_frames
    rows = torch.arange(batch_size) % len(log_mel)
    moved = rows.to(log_mel.device)
    return log_mel[moved], target[moved], n_frames[rows]


def loss_of(logits: Tensor, target: Tensor, softmax_weight: float) -> Tensor:
    """Binary cross entropy, plus `softmax_weight` times a softmax cross entropy over the labels."""
    loss = F.binary_cross_entropy_with_logits(logits, target)
    if softmax_weight > 0:
        # all labels of a clip count alike; a clip without labels adds nothing
        shares = target / target.sum(1, keepdim=True).clamp(min=1e-6)
        loss = loss + softmax_weight * F.cross_entropy(logits, shares)
    return loss


@torch.no_grad()
def update_average(averaged: Network, network: Network, decay: float) -> None:
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
