"""What happens between the steps: clocks, the progress bar, and at the end of an epoch validation and checkpoints."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
import numpy as np
import torch
from rich.progress import Progress

from earmark.errors import EarmarkError, EarmarkWarning
from earmark.evaluation.metrics import average_precision, d_prime, label_mean, roc_auc
from earmark.training.batches import Batch, Loader, unreadable_clips
from earmark.training.folder import Epoch, RunFolder, best_epoch
from earmark.training.interruption import Interruption
from earmark.training.lightning_module import WeakLabelModule
from earmark.training.machine import long_run

_STEPS_PER_LOG: Final = 25
_STEPS_TO_JUDGE: Final = (5, 20)
"""From the first of these steps of a sitting to the second one its pace is measured: the very first are slower."""


class Journal(pl.Callback):
    """Keeps the history of a run and writes it down.

    Args:
        module: What is trained.
        folder: Where to write.
        valid: Batches of the validation clips, if there are any.
        about: Facts to keep with every checkpoint.
        bar: Progress bar to draw on.
        interruption: Whether someone wants to stop.
    """

    def __init__(
        self,
        module: WeakLabelModule,
        folder: RunFolder,
        valid: Loader | None,
        about: dict[str, Any],
        bar: Progress,
        interruption: Interruption,
    ) -> None:
        self.module = module
        self.folder = folder
        self.valid = valid
        self.about = about
        self.bar = bar
        self.interruption = interruption
        self.history: list[Epoch] = []
        self.stopped = False
        self._seconds = 0.0
        self._epoch_seconds = 0.0
        self._data_seconds = 0.0
        self._mark = 0.0
        self._logged = (0.0, 0)
        self._note = ""
        self._first_step = 0
        self._pace_mark = 0.0

    def state(self) -> dict[str, Any]:
        """All that resuming needs, the module's part included."""
        return {
            "module": self.module.training_state(),
            "history": [asdict(row) for row in self.history],
            "seconds": self._seconds,
            "epoch_seconds": self._epoch_seconds,
            "data_seconds": self._data_seconds,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes up where `state` was taken."""
        self.module.load_training_state(state["module"])
        self.history = [Epoch(**row) for row in state["history"]]
        self._seconds = state["seconds"]
        self._epoch_seconds = state["epoch_seconds"]
        self._data_seconds = state["data_seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.interruption.take_over()
        plan, done = self.module.plan, self.module.n_steps_done
        self._logged = (self.module.loss_sum, self.module.n_losses)
        self._task = self.bar.add_task(
            "training", total=plan.n_steps * plan.batch_size, completed=done * plan.batch_size, note=self._note
        )
        self._first_step = done
        self._mark = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.module.stop_wanted = self.interruption.requested
        waited = time.perf_counter() - self._mark
        self._data_seconds += waited
        self._lap()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        plan, done = self.module.plan, self.module.n_steps_done
        if plan.ends_epoch(done):
            self.module.check_losses()  # on a GPU this waits for the steps, which belong to the epoch's time
        self._lap()
        if done % _STEPS_PER_LOG == 0:
            self._log_loss(trainer)
        self.bar.update(self._task, completed=done * plan.batch_size, note=self._note)
        self._judge_pace(done)
        if plan.ends_epoch(done):
            self._end_epoch(trainer)
        # several processes must stop after the same step: what one is asked during a step, all know in the next
        rank = self.module.rank
        stop = self.interruption.requested if rank.is_alone else self.module.stop_agreed
        if stop and done < plan.n_steps:
            if not plan.ends_epoch(done):
                self._save_within_epoch()
            self.stopped = trainer.should_stop = True

    def _judge_pace(self, done: int) -> None:
        first, last = (self._first_step + steps for steps in _STEPS_TO_JUDGE)
        if done == first:
            self._pace_mark = self._seconds
        elif done == last:
            pace = (self._seconds - self._pace_mark) / (last - first)
            text = long_run(self.module.device, pace * (self.module.plan.n_steps - done), self.module.config)
            if text is not None:
                warnings.warn(text, EarmarkWarning, stacklevel=2)

    def _lap(self) -> None:
        now = time.perf_counter()
        self._epoch_seconds += now - self._mark
        self._seconds += now - self._mark
        self._mark = now

    def _log_loss(self, trainer: pl.Trainer) -> None:
        loss_sum, n_losses = (self.module.loss_sum, self.module.n_losses)
        if n_losses > self._logged[1]:
            recent = (loss_sum - self._logged[0]) / (n_losses - self._logged[1])
            self._logged = (loss_sum, n_losses)
            learning_rate = self.module.plan.learning_rate(self.module.n_steps_done - 1, self.module.config)
            self._log(trainer, {"train/loss": recent, "train/learning_rate": learning_rate})
            self._note = f"loss {recent:.4f}{self._score_note()}"

    def _score_note(self) -> str:
        score = self.history[-1].valid_mAP if self.history else None
        return "" if score is None else f"  mAP {score:.3f}"

    def _log(self, trainer: pl.Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=self.module.n_steps_done)

    def _end_epoch(self, trainer: pl.Trainer) -> None:
        module = self.module
        module.agree()
        self._check_weights()
        scores = self._validate() if self.valid is not None else None
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._mark = now
        previous = self.history[-1].step if self.history else 0
        n_clips = (module.n_steps_done - previous) * module.plan.batch_size
        row = Epoch(
            epoch=len(self.history) + 1,
            step=module.n_steps_done,
            clips_seen=module.n_steps_done * module.plan.batch_size,
            seconds=self._seconds,
            train_loss=module.loss_sum / module.n_losses,
            valid_mAP=scores[0] if scores else None,
            valid_mAUC=scores[1] if scores else None,
            valid_d_prime=scores[2] if scores else None,
            clips_per_second=n_clips / self._epoch_seconds,
            data_share=self._data_seconds / self._epoch_seconds,
        )
        self.history.append(row)
        is_best = best_epoch(self.history) is row
        module.loss_sum, module.n_losses = 0.0, 0
        self._logged = (0.0, 0)
        self._epoch_seconds = self._data_seconds = 0.0
        self._write(row, is_best)
        self._note = f"loss {row.train_loss:.4f}{self._score_note()}"
        self.bar.update(self._task, note=self._note)
        figures = {f"epoch/{name}": value for name, value in asdict(row).items() if isinstance(value, float)}
        self._log(trainer, figures)
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._mark = now

    def _write(self, row: Epoch, is_best: bool) -> None:
        if not self.module.rank.is_first:
            return
        # the state comes last: a run killed in between repeats the epoch and writes the same again
        self._save_weights(self.folder.last, row.valid_mAP)
        if is_best:
            self._save_weights(self.folder.best, row.valid_mAP)
        self.folder.write_metrics(self.history)
        self.folder.write_state(self.state())

    def _save_within_epoch(self) -> None:
        self.module.check_losses()
        self.module.agree()
        self._check_weights()
        if self.module.rank.is_first:
            self._save_weights(self.folder.last, None)
            self.folder.write_state(self.state())

    def _save_weights(self, path: Path, valid_mAP: float | None) -> None:
        n_clips = self.module.n_steps_done * self.module.plan.batch_size
        self.module.averaged.save(path, {**self.about, "clips_seen": n_clips, "valid_mAP": valid_mAP})

    def _check_weights(self) -> None:
        for name, tensor in self.module.averaged.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise EarmarkError(
                    f"the weights {name} are no longer finite numbers after step {self.module.n_steps_done}; the "
                    "checkpoints of the last epoch are untouched: lower the learning rate or set gradient_clip=1"
                )

    def _validate(self) -> tuple[float, float, float]:
        """mAP, mAUC and d' of the averaged weights, the fits of `earmark evaluate`'s figures of the same names."""
        network, rank = self.module.averaged, self.module.rank
        task = self.bar.add_task("validation", total=len(self.valid or ()), note="")
        measured: list[tuple[int, np.ndarray, np.ndarray]] = []
        network.eval()
        try:
            with torch.inference_mode():
                for batch in self.valid or ():
                    self._take_failures(batch)
                    if batch.ids:
                        moved = batch.to(self.module.device)
                        log_mel, n_frames = self.module.log_mel(moved)
                        scores = network.logits_from_log_mel(log_mel, n_frames).float().cpu().numpy()
                        measured.append((batch.step, batch.target.numpy(), scores))
                    self.bar.advance(task)
        finally:
            self.bar.remove_task(task)
            self.module.train_mode()
        # each process has every n-th batch; put together they are in their order
        told = rank.gather((measured, self.module.bad_clips))
        for _, clips in told:
            self.module.bad_clips.update(clips)
        batches = sorted((batch for share, _ in told for batch in share), key=lambda batch: batch[0])
        return rank.from_first(lambda: mean_figures([truth for _, truth, _ in batches], [s for _, _, s in batches]))

    def _take_failures(self, batch: Batch) -> None:
        self.module.bad_clips.update(batch.failed)
        if batch.failed and not self.module.config.skip_bad:
            raise unreadable_clips(batch.failed, "validation")


def mean_figures(target: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """mAP, mAUC and the d' of the mean AUC over the labels that have a positive, of batches of clips."""
    if not target:
        raise EarmarkError("no clip of the validation set can be read; validation needs at least one")
    truth, ranking = np.concatenate(target), np.concatenate(scores)
    area = label_mean(roc_auc(truth, ranking))
    return label_mean(average_precision(truth, ranking)), area, float(d_prime(area))
