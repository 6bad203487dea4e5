"""The training loop: every step, and at the end of each epoch validation and checkpoints."""

import copy
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from earmark.errors import DataError, EarmarkError
from earmark.model.backbones.layers import MaskedBatchNorm
from earmark.model.head import Head, Stages
from earmark.model.network import Network
from earmark.parallel.interrupts import handled
from earmark.training.batches import (
    AUGMENTATION,
    DROPOUT,
    Batch,
    TrainBatches,
    ValidBatches,
    derived_seed,
    load_batches,
    unreadable_clips,
)
from earmark.training.folder import Epoch, RunFolder, best_epoch
from earmark.training.interruption import Interruption
from earmark.training.machine import long_run
from earmark.training.settings import TrainConfig
from earmark.training.step import as_trained, filled, loss_of, mean_figures, update_average, weight_of_known
from earmark.training.teacher import LiveTeacher

_STEPS_PER_LOG: Final = 25
_STEPS_TO_JUDGE: Final = (5, 20)
"""Steps of a call between which its pace is measured; the very first are slower."""
_VALUES: Final = ("n_steps_done", "loss_sum", "n_losses", "bad_clips", "seconds", "epoch_seconds", "data_seconds")
_WEIGHTS: Final = ("network", "averaged", "optimizer")
_UNCHECKED_ON_GPU: Final = 32
"""Losses that may wait on a GPU before they are checked; a check waits for the GPU."""


@dataclass(eq=False)
class Loop:
    """The network, the moving average of its weights, the optimizer and the history of a run.

    Everything that the next step depends on is in `state()`; a loop that loads it continues bit for bit.
    """

    config: TrainConfig
    network: Stages
    """Network or head to train; it is moved to the device."""
    batches: TrainBatches
    """Training batches, with the plan of the run and this process's rank."""
    valid: ValidBatches | None
    n_workers: int
    """Processes that read clips."""
    device: torch.device
    folder: RunFolder
    """Receives checkpoints and metrics; its facts give the precision, and go into checkpoints."""
    bar: Progress
    bad_clips: dict[str, str]
    """Errors of the unreadable clips, by id; it starts with those that were left out of the features."""
    encoder: Network | None = None
    """Network whose front end and backbone made the segments of a head; checkpoints join the two."""
    teacher: LiveTeacher | None = None
    """Tagger that scores the clips of each step, for their targets; None where the targets are known."""

    def __post_init__(self) -> None:
        config, network = self.config, self.network.to(self.device)
        self.plan, self.rank = self.batches.plan, self.batches.rank
        if config.compiled and isinstance(network, Network):
            for block in network.backbone.blocks:
                block.compile()
        self.averaged = network
        """The network that is validated and saved."""
        if config.ema_decay > 0:
            self.averaged = copy.deepcopy(network).eval().requires_grad_(False)
        self._trained, self._validated = as_trained(network), as_trained(self.averaged)
        self._model: nn.Module = self._trained
        # without weight decay AdamW is Adam; fused updates all weights in one pass
        self.optimizer = torch.optim.AdamW(
            network.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.n_steps_done = 0
        self.loss_sum = 0.0
        """Sum of the epoch's checked losses; a Python float, so that a resumed epoch gives the same sum."""
        self.n_losses = 0
        self.history: list[Epoch] = []
        self.seconds = self.epoch_seconds = self.data_seconds = 0.0
        self.stopped = False
        """Whether the loop ended before the last step because it was asked to."""
        self.interruption = Interruption()
        self._unchecked: list[tuple[tuple[str, ...], Tensor]] = []
        self._logged = (0.0, 0)

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values."""
        values = {name: getattr(self, name) for name in _VALUES}
        weights = {name: getattr(self, name).state_dict() for name in _WEIGHTS}
        return {**values, **weights, "history": [asdict(row) for row in self.history]}

    def load(self, state: dict[str, Any]) -> None:
        """Continues where `state` was taken."""
        for name in _VALUES:
            setattr(self, name, state[name])
        for name in _WEIGHTS:
            getattr(self, name).load_state_dict(state[name])
        self.history = [Epoch(**row) for row in state["history"]]

    def run(self, report: Callable[[int], None] | None = None) -> None:
        """Takes the steps that are left, or stops after one when SIGINT or SIGTERM asks for it.

        Args:
            report: Called after each step with the number of clips seen.

        Raises:
            DataError: A clip cannot be read, or a loss is not finite.
            EarmarkError: The weights are no longer finite.
            KeyboardInterrupt: A second signal came.
        """
        plan, batch_size = self.plan, self.plan.batch_size
        steps = range(self.n_steps_done, plan.n_steps)
        n_clips, n_shown = plan.n_steps * batch_size, steps.start * batch_size
        self._task = self.bar.add_task("training", total=n_clips, completed=n_shown, note="")
        self._logged = (self.loss_sum, self.n_losses)
        self._set_modes()
        writer = self.folder.event_writer() if self.rank.is_first else nullcontext()
        deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
        noted = handled(self.interruption, signal.SIGINT, signal.SIGTERM)
        with writer as self._writer, noted, deterministic, self._averaged_gradients():
            self._mark = time.perf_counter()
            for batch in load_batches(self.batches, steps, self.n_workers, self.device.type == "cuda"):
                waited = self._lap()
                self.data_seconds += waited
                self.epoch_seconds += waited
                stop = self._step(batch.to(self.device), self.interruption.requested)
                if plan.ends_epoch(self.n_steps_done):
                    self._check_losses()  # on a GPU this waits for the steps, which belong to the epoch's time
                self.epoch_seconds += self._lap()
                if self.n_steps_done % _STEPS_PER_LOG == 0:
                    self._log_loss()
                self.bar.update(self._task, completed=self.n_steps_done * batch_size)
                if report is not None:
                    report(self.n_steps_done * batch_size)
                self._judge_pace(self.n_steps_done - steps.start)
                if plan.ends_epoch(self.n_steps_done):
                    self._end_epoch()
                # several processes must stop after the same step: a request during one is known to all in the next
                if self.rank.is_alone:
                    stop = self.interruption.requested
                if stop and self.n_steps_done < plan.n_steps:
                    if not plan.ends_epoch(self.n_steps_done):
                        self._save_within_epoch()
                    self.stopped = True
                    break

    @contextmanager
    def _averaged_gradients(self) -> Iterator[None]:
        """Averages the gradients of all processes in the block; `joined` explains why it ends with the run."""
        alone = self._model
        if not self.rank.is_alone:
            on_gpu = [self.device] if self.device.type == "cuda" else None
            self._model = DistributedDataParallel(alone, device_ids=on_gpu, gradient_as_bucket_view=True)
        try:
            yield
        finally:
            self._model = alone

    def _step(self, batch: Batch, stop: bool) -> bool:
        """Takes one step; returns whether any process had `stop` set."""
        config, step = self.config, batch.step
        self._note_failures(batch, f"step {step}")
        with torch.no_grad():
            # each process augments the clips of all, so that mixup has the same pairs on any number of devices, and
            # then takes its share: augmentation is a hundredth of the work
            target = batch.target if self.teacher is None else self.teacher.target(batch)
            clips, lengths = self._trained.features(batch)
            padding = self._trained.padding
            clips, target, lengths, stop = self.rank.gather_clips(clips, target, lengths, stop, padding)
            if not len(clips):
                raise unreadable_clips(batch.failed, f"step {step}")
            clips, target, lengths = filled(clips, target, lengths, self.plan.batch_size)
            generator = torch.Generator().manual_seed(derived_seed(config.seed, AUGMENTATION, step))
            clips, target, lengths = self._trained.augmented(config, clips, target, lengths, generator)
        share = self.rank.share(len(clips))
        logits = self._logits(step, clips[share], lengths[share])
        weight = weight_of_known(target) if self.batches.target.has_unknown else None
        loss = loss_of(logits, target[share], config.softmax_weight, weight)
        self._unchecked.append((batch.ids, loss.detach()))
        if len(self._unchecked) >= (1 if loss.device.type == "cpu" else _UNCHECKED_ON_GPU):
            self._check_losses()
        self.optimizer.zero_grad()
        loss.backward()
        if config.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate(self.n_steps_done, config)
        self.optimizer.step()
        if self.averaged is not self.network:
            # an average over few steps must not remember the random start: its decay grows with the steps
            decay = min(config.ema_decay, (1 + self.n_steps_done) / (10 + self.n_steps_done))
            update_average(self.averaged, self.network, decay)
        self.n_steps_done += 1
        return stop

    def _logits(self, step: int, clips: Tensor, lengths: Tensor) -> Tensor:
        # dropout draws from PyTorch's global generator: it is seeded by the step, and then restored
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            own = () if self.rank.is_first else (self.rank.number,)
            torch.manual_seed(derived_seed(self.config.seed, DROPOUT, step, *own))
            is_mixed = self.folder.facts["resolved"]["precision"] == "bf16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed, cache_enabled=False):
                logits: Tensor = self._model(clips, lengths)
        return logits.float()

    def _note_failures(self, batch: Batch, where: str) -> None:
        self.bad_clips.update(batch.failed)
        if batch.failed and not self.config.skip_bad:
            raise unreadable_clips(batch.failed, where)

    def _check_losses(self) -> None:
        """Adds up the losses that have not been checked yet.

        Raises:
            DataError: One of them is not finite; the error names the batch's clips.
        """
        losses = torch.stack([loss for _, loss in self._unchecked]).tolist() if self._unchecked else []
        for (ids, _), loss in zip(self._unchecked, losses, strict=True):
            if not math.isfinite(loss):
                raise DataError(
                    f"the loss became {loss} where a number was expected, on a batch of the clips {', '.join(ids)}; "
                    "the checkpoints of the last epoch are untouched: look at these clips, lower the learning rate, "
                    "clip the gradient or compute in float32",
                    remedy={"gradient_clip": 1, "precision": "float32"},
                )
            self.loss_sum += loss
            self.n_losses += 1
        self._unchecked.clear()

    def _check_weights(self) -> None:
        for name, tensor in self.averaged.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise EarmarkError(
                    f"the weights {name} are no longer finite numbers after step {self.n_steps_done}; the checkpoints "
                    "of the last epoch are untouched: lower the learning rate or clip the gradient",
                    remedy={"gradient_clip": 1},
                )

    def _set_modes(self) -> None:
        """Puts the network into training mode, as far as the config asks for it; the average never is."""
        self.averaged.eval()
        self.network.train()  # after the line above: without an average the two are one
        if self.config.freeze_batch_norm:
            for module in self.network.modules():
                if isinstance(module, MaskedBatchNorm):
                    module.eval()

    def _end_epoch(self) -> None:
        """Validates, adds a row to the history and writes the checkpoints."""
        self._agree()
        mAP, mAUC, d = self._validate(self.valid) if self.valid is not None else (None, None, None)
        self._lap()
        n_clips = self.n_steps_done * self.plan.batch_size
        row = Epoch(
            epoch=len(self.history) + 1,
            step=self.n_steps_done,
            clips_seen=n_clips,
            seconds=self.seconds,
            train_loss=self.loss_sum / self.n_losses,
            valid_mAP=mAP,
            valid_mAUC=mAUC,
            valid_d_prime=d,
            clips_per_second=(n_clips - (self.history[-1].clips_seen if self.history else 0)) / self.epoch_seconds,
            data_share=self.data_seconds / self.epoch_seconds,
        )
        self.history.append(row)
        self.loss_sum, self.n_losses, self._logged = 0.0, 0, (0.0, 0)
        self.epoch_seconds = self.data_seconds = 0.0
        if self.rank.is_first:
            # the state comes last: a run that is killed in between repeats the epoch and writes the same again
            self._save_weights(self.folder.last, mAP)
            if best_epoch(self.history) is row:
                self._save_weights(self.folder.best, mAP)
            self.folder.write_metrics(self.history)
            self.folder.write_state(self.state())
        self._show_loss(row.train_loss)
        self._log({f"epoch/{name}": value for name, value in asdict(row).items() if isinstance(value, float)})
        self._lap()

    def _save_within_epoch(self) -> None:
        self._check_losses()
        self._agree()
        if self.rank.is_first:
            self._save_weights(self.folder.last, None)
            self.folder.write_state(self.state())

    def _save_weights(self, path: Path, valid_mAP: float | None) -> None:
        facts = self.folder.facts
        train, valid = facts["data"]["train"], facts["data"]["valid"]
        about = {
            "data": train["name"],
            "data_fingerprint": train["fingerprint"],
            "valid": valid and valid["name"],
            "seed": self.config.seed,
            "clip_duration": self.config.clip_duration,
            "earmark": facts["versions"].get("earmark"),
            "clips_seen": self.n_steps_done * self.plan.batch_size,
            "valid_mAP": valid_mAP,
        }
        averaged: Stages = self.averaged
        if self.encoder is not None and isinstance(averaged, Head):
            averaged = self.encoder.with_head(averaged)
        averaged.save(path, self.averaged.extra | about)

    def _agree(self) -> None:
        """Makes the loss, the unreadable clips and the statistics of batch norm the same in all processes.

        Raises:
            EarmarkError: The weights are no longer finite.
        """
        losses = self.rank.gather(self.loss_sum)
        self.loss_sum = sum(losses) / len(losses)
        self._share_bad_clips()
        for network in (self.network, self.averaged):
            self.rank.copy_from_first(list(network.buffers()))
        self._check_weights()

    def _share_bad_clips(self) -> None:
        for clips in self.rank.gather(self.bad_clips):
            self.bad_clips.update(clips)

    def _validate(self, valid: ValidBatches) -> tuple[float, float, float]:
        """mAP, mAUC and d' of the averaged weights, equal to those of `earmark evaluate`."""
        network, rank = self.averaged, self.rank
        # each process scores every n-th batch
        own = range(rank.number, len(valid), rank.n_ranks)
        task = self.bar.add_task("validation", total=len(own), note="")
        scored: list[tuple[int, Any, Any]] = []
        network.eval()
        with torch.inference_mode():
            for batch in load_batches(valid, own, self.n_workers, self.device.type == "cuda"):
                self._note_failures(batch, "validation")
                if batch.ids:
                    logits = self._validated(*self._validated.features(batch.to(self.device)))
                    scored.append((batch.step, batch.target.numpy(), logits.float().cpu().numpy()))
                self.bar.advance(task)
        self.bar.remove_task(task)
        self._set_modes()
        self._share_bad_clips()
        scored = sorted((batch for part in rank.gather(scored) for batch in part), key=lambda batch: batch[0])
        return rank.from_first(lambda: mean_figures([truth for _, truth, _ in scored], [s for *_, s in scored]))

    def _lap(self) -> float:
        """Seconds since the last call, also added to those of the run."""
        now = time.perf_counter()
        passed, self._mark = now - self._mark, now
        self.seconds += passed
        return passed

    def _judge_pace(self, n_steps: int) -> None:
        """Warns of a run that will take hours, after so many steps of this call."""
        first, last = _STEPS_TO_JUDGE
        if n_steps == first:
            self._pace_mark = self.seconds
        elif n_steps == last:
            pace = (self.seconds - self._pace_mark) / (last - first)
            warning = long_run(self.device, pace * (self.plan.n_steps - self.n_steps_done), self.config)
            if warning is not None:
                warnings.warn(warning, stacklevel=2)

    def _log_loss(self) -> None:
        if self.n_losses > self._logged[1]:
            recent = (self.loss_sum - self._logged[0]) / (self.n_losses - self._logged[1])
            self._logged = (self.loss_sum, self.n_losses)
            learning_rate = self.plan.learning_rate(self.n_steps_done - 1, self.config)
            self._log({"train/loss": recent, "train/learning_rate": learning_rate})
            self._show_loss(recent)

    def _show_loss(self, loss: float) -> None:
        mAP = self.history[-1].valid_mAP if self.history else None
        self.bar.update(self._task, note=f"loss {loss:.4f}" + ("" if mAP is None else f"  mAP {mAP:.3f}"))

    def _log(self, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, self.n_steps_done)
            self._writer.flush()  # a killed run keeps its curves
