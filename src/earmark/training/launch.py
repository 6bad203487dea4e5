"""One process for each device of this machine, watched until all are done."""

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

import torch

from earmark.errors import ConfigError, EarmarkError, EarmarkWarning
from earmark.parallel.interrupts import held_back
from earmark.training.interruption import TrainingInterrupted
from earmark.training.ranks import PeerLost
from earmark.training.settings import TrainConfig

_GRACE: Final = 10.0
"""Seconds that the other processes have to end by themselves when one has failed."""
_GRACE_OF_ORPHANS: Final = 120.0
"""Seconds that a process without its parent has to save the run."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def needs_launch(config: TrainConfig) -> bool:
    """Whether the config asks for several processes, and this is none of them yet."""
    return config.devices * config.num_nodes > 1 and "RANK" not in os.environ


def launch(config: TrainConfig, task: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs `task(**arguments)` in `config.devices` processes and returns what that of the first one returned.

    Ctrl-C and SIGTERM are handed on to the processes, which agree on the step after which they stop. When one of them
    fails or is killed, the others are ended.

    Args:
        config: With the numbers of devices and machines.
        task: A function of a module, which the processes import.
        arguments: All of it must pickle.

    Raises:
        ConfigError: Several machines, and it is not said how they find each other.
        EarmarkError: What the task raised in the process that failed first; or a process was killed.
        TrainingInterrupted: The processes were interrupted.
    """
    environment = _environment(config)
    context = multiprocessing.get_context("spawn")
    n_threads = max(1, torch.get_num_threads() // config.devices)
    # once for all of them: two million clips take a quarter of a minute
    work = bytes(ForkingPickler.dumps((task, arguments)))
    with _Interruptions() as interruptions:
        children = interruptions.children
        try:
            for local in range(config.devices):
                rank = int(environment["GROUP_RANK"]) * config.devices + local
                variables = {**environment, "LOCAL_RANK": str(local), "RANK": str(rank)}
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(variables, n_threads, work, sender))
                with held_back(_SIGNALS):  # until the child has seen to its own signals
                    process.start()
                sender.close()
                children.append(_Child(rank, process, receiver))
                if interruptions.n:
                    raise TrainingInterrupted("stopped before the run had begun")
            _watch(children)
        finally:
            for child in children:
                if child.process.is_alive():
                    child.was_ended = True
                    child.process.kill()
                child.process.join()
    return _outcome(children)


@dataclass
class _Child:
    """A process, and what it has told."""

    rank: int
    process: Any
    """Of multiprocessing."""
    receiver: Connection
    kind: str = ""
    """`result`, or the name of the error that ended it."""
    told: Any = None
    ended: float = 0.0
    """When it told so, by the clock of the machine."""
    was_ended: bool = False
    """Whether it was ended from here, because of another that failed."""

    @property
    def has_stopped(self) -> bool:
        """Whether it was interrupted in a run that had begun, which says how it goes on."""
        return self.kind == TrainingInterrupted.__name__ and bool(self.told)

    def listen(self) -> None:
        """Takes what has come from it."""
        with suppress(EOFError, OSError):
            while self.receiver.poll():
                kind, told, ended = self.receiver.recv()
                if kind == "warning":
                    warnings.warn(told if isinstance(told, EarmarkWarning) else EarmarkWarning(str(told)), stacklevel=2)
                else:
                    self.kind, self.told, self.ended = kind, told, ended


def _environment(config: TrainConfig) -> dict[str, str]:
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


def _child(variables: dict[str, str], n_threads: int, work: bytes, sender: Connection) -> None:
    """The body of a process: the task, and word of how it ended."""
    # Ctrl-C reaches the whole terminal: the parent hands it on, once
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(variables)
    torch.set_num_threads(n_threads)

    def tell(kind: str, told: Any) -> None:
        with suppress(OSError):
            sender.send((kind, told, time.time()))

    if variables["RANK"] == "0":
        warnings.showwarning = lambda message, *_, **__: tell("warning", message)
    else:
        warnings.simplefilter("ignore")
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # held back by the parent until here
        task, arguments = ForkingPickler.loads(work)  # of the parent's own making
        tell("result", task(**arguments))
    except KeyboardInterrupt as error:
        tell(TrainingInterrupted.__name__, str(error))
        raise SystemExit(1) from error
    except EarmarkError as error:
        tell(type(error).__name__, error)
        raise SystemExit(1) from error
    except BaseException as error:
        tell("", traceback.format_exc())
        raise SystemExit(1) from error


def _end_with_parent() -> None:
    """Saves and stops the run of a process whose parent is gone; one that waits for the others hears no signal."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_GRACE_OF_ORPHANS)
        os._exit(1)


def _watch(children: Sequence[_Child]) -> None:
    """Returns when all processes have ended, or some time after the first that failed."""
    deadline = float("inf")
    while running := [child for child in children if child.process.is_alive()]:
        wait([child.process.sentinel for child in running], timeout=0.2)
        for child in children:
            child.listen()
        # a run that was interrupted is done when the first process has saved it, however long that takes
        if any(child.process.exitcode and not child.has_stopped for child in children):
            deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            return


def _outcome(children: Sequence[_Child]) -> Any:
    """What the first process returned, or the error of the one whose failure brought down the others."""
    for child in children:
        child.listen()
    failed = sorted((child for child in children if child.kind != "result"), key=lambda child: child.ended)
    if not failed:
        return children[0].told
    # what was told says more than a signal, and both say more than that another process was lost
    first = next((child for child in failed if child.kind not in ("", PeerLost.__name__)), None)
    killed = next((child for child in failed if (child.process.exitcode or 0) < 0 and not child.was_ended), None)
    if first is None and killed is not None:
        name = signal.Signals(-(killed.process.exitcode or 0)).name
        raise EarmarkError(
            f"process {killed.rank} of the run was killed ({name}; if nobody did it, memory may have run out); "
            "--resume goes on from the run's last epoch"
        )
    first = first or next((child for child in failed if child.kind), failed[0])
    if first.kind == TrainingInterrupted.__name__:
        stopped = next((child.told for child in failed if child.has_stopped), "stopped before the run had begun")
        raise TrainingInterrupted(stopped)
    if not first.kind:
        raise RuntimeError(f"process {first.rank} of the run failed:\n{first.told}")
    raise first.told


class _Interruptions:
    """While entered, SIGINT and SIGTERM are counted, and go to the processes as SIGINT."""

    def __init__(self) -> None:
        self.n = 0
        self.children: list[_Child] = []
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Interruptions":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._forward) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _forward(self, number: int, frame: Any) -> None:
        self.n += 1
        for child in self.children:
            if child.process.is_alive() and child.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.process.pid, signal.SIGINT)
