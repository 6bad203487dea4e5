"""One step of training and what it moves, as Lightning wants it."""

import copy
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from earmark.errors import DataError
from earmark.model.backbone import MaskedBatchNorm
from earmark.model.network import Network
from earmark.training.augmentation import crop, mixup, overlay, recolour, spec_augment, wander
from earmark.training.batches import AUGMENTATION, DROPOUT, Batch, derived_seed, unreadable_clips
from earmark.training.ranks import ALONE, Rank
from earmark.training.settings import Plan, TrainConfig

_UNCHECKED_ON_GPU = 32
"""Losses that may wait on a GPU before someone looks at them: looking makes it wait for us."""


class WeakLabelModule(pl.LightningModule):
    """The network, the moving average of its weights, and the step.

    Args:
        network: What is trained, on the CPU.
        config: The settings of the run.
        plan: Its steps.
        rank: This process among those of the run.
    """

    def __init__(self, network: Network, config: TrainConfig, plan: Plan, rank: Rank = ALONE) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.plan = plan
        self.rank = rank
        self.n_steps_done = 0
        self.stop_wanted = False
        """Whether someone wants this process to stop; to be set before a step."""
        self.stop_agreed = False
        """Whether any process was wanted to stop before the last step: the same in all of them."""
        self.loss_sum = 0.0
        """Over the epoch's checked losses; a Python float, so that a resumed epoch adds up to the same."""
        self.n_losses = 0
        self.bad_clips: dict[str, str] = {}
        self._unchecked: list[tuple[tuple[str, ...], Tensor]] = []
        self._optimizer_state: dict[str, Any] | None = None
        self._stripes = config.spec_augment_config()
        if config.compiled:
            for block in network.backbone.blocks:
                block.compile()
        self.averaged = network
        if config.ema_decay > 0:
            self.averaged = copy.deepcopy(network).eval()
            self.averaged.requires_grad_(False)

    def configure_optimizers(self) -> Optimizer:
        config = self.config
        # without weight decay AdamW is Adam; fused updates all weights in one pass
        return torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self._note_failures(batch)
        log_mel, n_frames, target = self._clips_of_all(batch)
        log_mel, target, n_frames = self._augmented(batch.step, log_mel, target, n_frames)
        share = self.rank.share(len(log_mel))
        log_mel, target, n_frames = log_mel[share], target[share], n_frames[share]
        devices = [log_mel.device] if log_mel.device.type == "cuda" else []
        # dropout draws from PyTorch's global generator: seeded by the step, and put back as it was
        with torch.random.fork_rng(devices):
            own = () if self.rank.is_first else (self.rank.number,)
            torch.manual_seed(derived_seed(self.config.seed, DROPOUT, batch.step, *own))
            logits = self.network.logits_from_log_mel(log_mel, n_frames)
        with torch.autocast(log_mel.device.type, enabled=False):
            loss = self._loss(logits.float(), target)
        self._unchecked.append((batch.ids, loss.detach()))
        if len(self._unchecked) >= (1 if loss.device.type == "cpu" else _UNCHECKED_ON_GPU):
            self.check_losses()
        return loss

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, target)
        if self.config.softmax_weight > 0:
            # a clip of several labels wants them all alike; one of none has no say
            shares = target / target.sum(1, keepdim=True).clamp(min=1e-6)
            loss = loss + self.config.softmax_weight * F.cross_entropy(logits, shares)
        return loss

    @torch.no_grad()
    def _clips_of_all(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mel, frames and target of the step's clips, those of all processes.

        Each process augments all of them, so that mixup has the same pairs on any number of devices, and then takes
        its share: augmentation is a hundredth of the work.
        """
        log_mel, n_frames = self.log_mel(batch)
        target = batch.target
        if not self.rank.is_alone:
            log_mel, n_frames, target, self.stop_agreed = self.rank.gather_clips(
                log_mel, n_frames, target, self.stop_wanted
            )
        if not len(log_mel):
            raise unreadable_clips(batch.failed, f"step {batch.step}")
        if len(log_mel) < self.plan.batch_size:
            # readable clips of the batch stand in for the others, so that every batch is full
            rows = torch.arange(self.plan.batch_size) % len(log_mel)
            moved = rows.to(log_mel.device)
            log_mel, n_frames, target = log_mel[moved], n_frames[rows], target[moved]
        return log_mel, n_frames, target

    @torch.no_grad()
    def _augmented(self, step: int, log_mel: Tensor, target: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(derived_seed(self.config.seed, AUGMENTATION, step))
        config = self.config
        if config.random_shift_stretch:
            log_mel = wander(log_mel, n_frames, generator, config.time_stretch, config.mel_shift)
        if config.shortest_crop < 1:
            log_mel, n_frames = crop(log_mel, n_frames, generator, config.shortest_crop)
        if config.mix_clips > 0:
            log_mel, target, n_frames = overlay(
                log_mel, target, n_frames, generator, config.mix_clips, config.mix_clips_db
            )
        if config.gain_db > 0 or config.equalizer_db > 0:
            log_mel = recolour(log_mel, generator, config.gain_db, config.equalizer_db)
        if config.mixup_alpha > 0:
            log_mel, target, n_frames = mixup(log_mel, target, n_frames, config.mixup_alpha, generator)
        if self._stripes is not None:
            log_mel = spec_augment(log_mel, n_frames, generator, self._stripes)
        return log_mel, target, n_frames

    def log_mel(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The batch's log-mels (always float32) and the frames of each clip."""
        if not batch.ids:  # none could be read
            return batch.target.new_zeros(0, 0, self.network.config.frontend.n_mels), batch.lengths
        if batch.are_log_mels:
            return batch.features, batch.lengths
        # the front end turns autocast off by itself
        return self.network.frontend(batch.features, batch.lengths), self.network.frontend.n_frames(batch.lengths)

    def _note_failures(self, batch: Batch) -> None:
        self.bad_clips.update(batch.failed)
        if batch.failed and not self.config.skip_bad:
            raise unreadable_clips(batch.failed, f"step {batch.step}")

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.config.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.plan.learning_rate(self.n_steps_done, self.config)
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self._average()
        self.n_steps_done += 1

    @torch.no_grad()
    def _average(self) -> None:
        if self.averaged is self.network:
            return
        # an average of few steps must not remember the random start: its decay grows with the steps
        decay = min(self.config.ema_decay, (1 + self.n_steps_done) / (10 + self.n_steps_done))
        pairs = list(zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True))
        floats = [(average, value) for average, value in pairs if average.is_floating_point()]
        averages, values = map(list, zip(*floats, strict=True))
        torch._foreach_lerp_(averages, values, 1 - decay)
        for average, value in pairs:
            if not average.is_floating_point():  # batch norm's count of batches
                average.copy_(value)

    def check_losses(self) -> list[float]:
        """Looks at the losses that no one has looked at, and returns them.

        Raises:
            DataError: One of them is not finite; names the batch's clips.
        """
        if not self._unchecked:
            return []
        losses: list[float] = torch.stack([loss for _, loss in self._unchecked]).tolist()
        for (ids, _), loss in zip(self._unchecked, losses, strict=True):
            if not -float("inf") < loss < float("inf"):
                raise DataError(
                    f"the loss became {loss} where a number was expected, on a batch of the clips {', '.join(ids)}; "
                    "the checkpoints of the last epoch are untouched: look at these clips, lower the learning rate, "
                    "clip the gradient or compute in float32",
                    remedy={"gradient_clip": 1, "precision": "float32"},
                )
            self.loss_sum += loss
            self.n_losses += 1
        self._unchecked.clear()
        return losses

    def train_mode(self) -> None:
        """Puts the network into training mode, as far as the config wants it there; the average never is."""
        self.averaged.eval()
        self.network.train()  # after the line above: without an average the two are one
        if self.config.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, MaskedBatchNorm):
                    module.eval()

    def agree(self) -> None:
        """Has all processes know the same of what each has seen by itself.

        That is: the loss, the clips that could not be read, and the statistics of batch norm, those of the first
        process as at every step.
        """
        if self.rank.is_alone:
            return
        told = self.rank.gather((self.loss_sum, self.n_losses, self.bad_clips))
        self.loss_sum = sum(loss for loss, _, _ in told) / len(told)
        for _, _, clips in told:
            self.bad_clips.update(clips)
        for network in (self.network, self.averaged):
            self.rank.copy_from_first(list(network.buffers()))

    def training_state(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors and plain values."""
        return {
            "n_steps_done": self.n_steps_done,
            "loss_sum": self.loss_sum,
            "n_losses": self.n_losses,
            "bad_clips": dict(self.bad_clips),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
        }

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Takes up where `training_state` was taken; the optimizer's part waits until there is one."""
        self.n_steps_done = state["n_steps_done"]
        self.loss_sum = state["loss_sum"]
        self.n_losses = state["n_losses"]
        self.bad_clips = dict(state["bad_clips"])
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer_state = state["optimizer"]

    def on_train_start(self) -> None:
        self.train_mode()
        if self._optimizer_state is not None:
            self.trainer.optimizers[0].load_state_dict(self._optimizer_state)
            self._optimizer_state = None
