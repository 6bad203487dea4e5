"""The number of steps of a training run, and all that follows from a step's number; needs no PyTorch."""

import math
from dataclasses import dataclass

from earmark.training.settings import TrainConfig


@dataclass(frozen=True)
class Plan:
    """The number of steps of a run, and all that follows from a step's number.

    >>> plan = Plan.of(TrainConfig(n_clips_seen=10_000, batch_size=32), n_clips=640)
    >>> plan.n_steps, plan.steps_per_epoch, plan.n_epochs
    (313, 20, 16)
    """

    n_steps: int
    """Steps of the whole run."""
    steps_per_epoch: int
    """Steps from one validation to the next; the last epoch may be shorter."""
    batch_size: int
    """Clips per step; all batches are full, for the sake of batch norm."""
    n_warmup_steps: int
    """Steps in which the learning rate rises."""

    @classmethod
    def of(cls, config: TrainConfig, n_clips: int) -> "Plan":
        """The plan of `config` for a training set of `n_clips` clips."""
        n_steps = -(-config.n_clips_seen // config.batch_size)
        usual = max(config.n_clips_seen / 50, min(n_clips, config.n_clips_seen / 10))
        per_epoch = max(1, round((config.clips_per_epoch or usual) / config.batch_size))
        return cls(n_steps, min(per_epoch, n_steps), config.batch_size, round(config.warmup * n_steps))

    @property
    def n_epochs(self) -> int:
        return -(-self.n_steps // self.steps_per_epoch)

    def ends_epoch(self, n_steps_done: int) -> bool:
        """Whether an epoch ends after this number of steps."""
        return n_steps_done % self.steps_per_epoch == 0 or n_steps_done == self.n_steps

    def learning_rate(self, step: int, config: TrainConfig) -> float:
        """Learning rate of the step (counted from 0)."""
        if step < self.n_warmup_steps:
            return config.learning_rate * (step + 1) / self.n_warmup_steps
        if config.schedule == "constant":
            return config.learning_rate
        progress = (step - self.n_warmup_steps) / max(1, self.n_steps - self.n_warmup_steps)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
