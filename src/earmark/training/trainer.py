"""Lightning's trainer, as a run wants it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from earmark.training.ranks import Rank


class EventFiles(TensorBoardLogger):
    """TensorBoard's files and nothing beside them."""

    def save(self) -> None:
        # all that Lightning's own adds is a hparams.yaml, empty here: the settings are in run.json
        self.experiment.flush()


def make_trainer(device: torch.device, rank: Rank, precision: str, folder: Path, journal: Callback) -> Trainer:
    """A trainer that does the steps, shares gradients, and leaves all else to the journal."""
    accelerator = "gpu" if device.type == "cuda" else device.type
    return Trainer(
        accelerator=accelerator,
        devices=rank.n_local if not rank.is_alone else [device.index or 0] if device.type == "cuda" else 1,
        num_nodes=rank.n_ranks // rank.n_local,
        strategy="auto" if rank.is_alone else DDPStrategy(gradient_as_bucket_view=True),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # the whole run is one epoch to Lightning: where a run stopped is known to the step, by the journal alone
        max_epochs=1,
        callbacks=[journal],
        logger=EventFiles(folder, name="", version="tensorboard"),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment() if rank.is_alone else TorchElasticEnvironment()],
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Lightning from talking while the block lasts."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # its advice is about data loaders and loops that this package has its own reasons for
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
