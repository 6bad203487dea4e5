"""One process for each device of this machine."""

import os
import socket
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

import torch

from earmark.errors import ConfigError, EarmarkError
from earmark.parallel.interrupts import sigterm_as_interrupt
from earmark.parallel.pool import Death, Pool, Reporter
from earmark.training.interruption import TrainingInterrupted
from earmark.training.ranks import PeerLost
from earmark.training.settings import TrainConfig

_Result = TypeVar("_Result")

_PATIENCE: Final = 10.0
"""Seconds that the other processes have to end by themselves after one has failed."""


def needs_launch(config: TrainConfig) -> bool:
    """Whether the config asks for several processes and this is not one of them."""
    return config.devices * config.num_nodes > 1 and "RANK" not in os.environ


def launch(config: TrainConfig, task: Callable[[], _Result]) -> _Result:
    """Runs the task in `config.devices` processes and returns the result of the first one.

    SIGINT and SIGTERM are forwarded to the processes, which agree on the step after which they stop. When one of them
    fails or is killed, the others are ended.

    Args:
        config: Gives the numbers of devices and machines.
        task: Must pickle.

    Raises:
        ConfigError: Several machines, without the variables by which they find each other.
        EarmarkError: The error of the process that failed first; or a process was killed.
        TrainingInterrupted: The processes were interrupted.
    """
    environment = _environment(config)
    first = int(environment["GROUP_RANK"]) * config.devices
    n_threads = max(1, torch.get_num_threads() // config.devices)
    pool = Pool(config.devices, n_threads=n_threads, grace=None, patience=_PATIENCE)
    run_rank = partial(_run_rank, first=first, environment=environment, task=task)
    outcomes: dict[int, Any] = {}
    try:
        with sigterm_as_interrupt():
            outcomes.update(pool.run(run_rank, range(first, first + config.devices)))
    except KeyboardInterrupt as interrupt:
        # a process without a task is killed
        outcomes = {first: interrupt} | {
            rank: found for rank, found in outcomes.items() if not isinstance(found, Death)
        }
    failures = [rank for rank, outcome in outcomes.items() if isinstance(outcome, BaseException | Death)]
    if not failures:
        return outcomes[first]
    rank = min(failures, key=lambda rank: _weight(outcomes[rank]))
    cause = outcomes[rank]
    if isinstance(cause, Death):
        raise EarmarkError(
            f"process {rank} of the run {cause.reason} (if nobody did it, memory may have run out); "
            "--resume continues from the run's last epoch"
        )
    if isinstance(cause, KeyboardInterrupt) and not str(cause):
        raise TrainingInterrupted("stopped; --resume continues from the last checkpoint if there is one") from None
    raise cause


def _weight(outcome: BaseException | Death) -> int:
    """Smaller for outcomes that say more about the cause of a failed run; the first of equals counts."""
    if isinstance(outcome, KeyboardInterrupt):
        return 1 if str(outcome) else 2
    if isinstance(outcome, Death):
        return 3
    # a lost process brings down the others in many ways
    return 0 if isinstance(outcome, EarmarkError) and not isinstance(outcome, PeerLost) else 4


def _run_rank(
    rank: int, report: Reporter, first: int, environment: dict[str, str], task: Callable[[], _Result]
) -> _Result:
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank - first))
    if rank > 0:
        warnings.simplefilter("ignore")
    return task()


def _environment(config: TrainConfig) -> dict[str, str]:
    """The environment variables that all processes share, named as by torchrun."""
    if config.num_nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        address, node = "127.0.0.1", "0"
    else:
        names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
        if missing := [name for name in names if name not in os.environ]:
            raise ConfigError(
                f"{', '.join(missing)} must be set in the environment of each of the {config.num_nodes} "
                "machines: an address and a free port of the first one, the machine's number from 0; or use torchrun",
                "num_nodes",
            )
        address, port, node = (os.environ[name] for name in names)
        if not node.isdecimal() or int(node) >= config.num_nodes:
            raise ConfigError(f"NODE_RANK: a number from 0 to {config.num_nodes - 1} was expected, not {node!r}")
    return {
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        "GROUP_RANK": node,
        "WORLD_SIZE": str(config.devices * config.num_nodes),
        "LOCAL_WORLD_SIZE": str(config.devices),
    }
