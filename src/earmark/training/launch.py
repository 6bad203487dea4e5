"""One process for each device of this machine, watched until all have ended."""

import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

import torch

from earmark.errors import ConfigError, EarmarkError
from earmark.parallel.interrupts import held_back
from earmark.training.interruption import TrainingInterrupted
from earmark.training.ranks import PeerLost
from earmark.training.settings import TrainConfig

_GRACE: Final = 10.0
"""Seconds that the other processes have to end by themselves after one has failed."""
_GRACE_OF_ORPHANS: Final = 120.0
"""Seconds that a process has to save the run after its parent has ended."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def needs_launch(config: TrainConfig) -> bool:
    """Whether the config asks for several processes and this is not one of them."""
    return config.devices * config.num_nodes > 1 and "RANK" not in os.environ


def launch(config: TrainConfig, task: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Runs `task(**arguments)` in `config.devices` processes and returns the result of the first one.

    SIGINT and SIGTERM are forwarded to the processes, which agree on the step after which they stop. When one of them
    fails or is killed, the others are ended.

    Args:
        config: Gives the numbers of devices and machines.
        task: A function that the processes can import.
        arguments: Picklable arguments.

    Raises:
        ConfigError: Several machines, without the variables by which they find each other.
        EarmarkError: The error of the process that failed first; or a process was killed.
        TrainingInterrupted: The processes were interrupted.
    """
    environment = _environment(config)
    context = multiprocessing.get_context("spawn")
    n_threads = max(1, torch.get_num_threads() // config.devices)
    # pickled once for all of them: two million clips take a quarter of a minute
    work = bytes(ForkingPickler.dumps((task, arguments)))
    children: list[_Child] = []
    with _forwarded_signals(children):
        try:
            with held_back(_SIGNALS):  # until each process has its own handlers
                for local in range(config.devices):
                    rank = int(environment["GROUP_RANK"]) * config.devices + local
                    variables = {**environment, "LOCAL_RANK": str(local), "RANK": str(rank)}
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_run_rank, args=(variables, n_threads, work, sender))
                    process.start()
                    sender.close()
                    children.append(_Child(rank, process, receiver))
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
    """A process and its report."""

    rank: int
    process: Any
    receiver: Connection
    result: Any = None
    error: BaseException | None = None
    ended: float | None = None
    """Time of its result or error, by the clock of the machine."""
    was_ended: bool = False
    """Whether this module killed it because another one failed."""

    @property
    def is_saved(self) -> bool:
        """Whether it was interrupted in a run that had begun; its error then says how to continue."""
        return isinstance(self.error, TrainingInterrupted) and bool(str(self.error))

    def read_reports(self) -> None:
        """Shows its warnings and takes its result or error."""
        with suppress(EOFError, OSError):
            while self.receiver.poll():
                report, ended = self.receiver.recv()
                if isinstance(report, Warning):
                    warnings.warn(report, stacklevel=2)
                elif isinstance(report, BaseException):
                    self.error, self.ended = report, ended
                else:
                    self.result, self.ended = report, ended


def _environment(config: TrainConfig) -> dict[str, str]:
    """The variables that torchrun sets too, but for the numbers of the process itself."""
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


def _run_rank(variables: dict[str, str], n_threads: int, work: bytes, sender: Connection) -> None:
    """Runs the task in a process of its own, and reports how it ended."""
    # Ctrl-C reaches every process of the terminal's session; the parent forwards it, once
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(variables)
    torch.set_num_threads(n_threads)

    def report(value: Any) -> None:
        with suppress(OSError):
            sender.send((value, time.time()))

    if variables["RANK"] == "0":
        warnings.showwarning = lambda message, *_, **__: report(message)
    else:
        warnings.simplefilter("ignore")
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # the parent held them back until here
        task, arguments = ForkingPickler.loads(work)  # pickled by the parent
        report(task(**arguments))
        return
    except KeyboardInterrupt as error:
        report(TrainingInterrupted(str(error)))
    except EarmarkError as error:
        report(error)
    except BaseException:
        report(RuntimeError(f"process {variables['RANK']} of the run failed:\n{traceback.format_exc()}"))
    raise SystemExit(1)


def _end_with_parent() -> None:
    """Saves and stops the run when the parent has ended; kills a process that waits for the others in vain."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(_GRACE_OF_ORPHANS)
        os._exit(1)


def _watch(children: Sequence[_Child]) -> None:
    """Returns when all processes have ended, or `_GRACE` seconds after the first that failed."""
    deadline = float("inf")
    while running := [child for child in children if child.process.is_alive()]:
        wait([child.process.sentinel for child in running], timeout=0.2)
        for child in children:
            child.read_reports()
        # an interrupted run is done when the first process has saved it, however long that takes
        if any(child.process.exitcode and not child.is_saved for child in children):
            deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            return


def _outcome(children: Sequence[_Child]) -> Any:
    """Returns the result of the first process, or raises the error that brought down the others."""
    for child in children:
        child.read_reports()
    failed = [child for child in children if child.error is not None or child.ended is None]
    if not failed:
        return children[0].result
    failed.sort(key=lambda child: float("inf") if child.ended is None else child.ended)
    errors = [child.error for child in failed if child.error is not None]
    # an error that earmark reports says more than a signal, and both say more than that another process was lost
    cause = next((error for error in errors if not isinstance(error, PeerLost | RuntimeError)), None)
    if isinstance(cause, TrainingInterrupted):
        saved = (child.error for child in failed if child.is_saved and child.error is not None)
        raise next(saved, TrainingInterrupted("stopped before the run had begun"))
    killed = next((child for child in failed if (child.process.exitcode or 0) < 0 and not child.was_ended), None)
    if cause is None and killed is not None:
        name = signal.Signals(-killed.process.exitcode).name
        raise EarmarkError(
            f"process {killed.rank} of the run was killed ({name}; if nobody did it, memory may have run out); "
            "--resume continues from the run's last epoch"
        )
    raise cause or next(iter(errors), RuntimeError(f"process {failed[0].rank} of the run ended without a report"))


@contextmanager
def _forwarded_signals(children: Sequence[_Child]) -> Iterator[None]:
    """While entered, SIGINT and SIGTERM go to the processes, as SIGINT."""

    def forward(number: int, frame: Any) -> None:
        for child in children:
            if child.process.is_alive() and child.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.process.pid, signal.SIGINT)

    is_main = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, forward) for number in _SIGNALS} if is_main else {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
