"""Parts done by workers side by side, on one machine or a cluster. The only door to Ray."""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

from earmark import hub
from earmark.bulk.job import Done, Job, Settings
from earmark.bulk.parts import Part
from earmark.bulk.work import do_part, why
from earmark.errors import ConfigError, DataError, Limit, check_settings
from earmark.storage.remote import RemotePath, is_url

if TYPE_CHECKING:
    import pyarrow as pa

DEATHS: Final = 3
"""Times that a part may take its worker down before it is given up."""
_SECONDS_TO_START: Final = 600
"""Until all workers must have started; machines of a cluster may have to be booted."""
_SECONDS_TO_ANSWER: Final = 10
_STORE_BYTES: Final = 256 * 1024**2
"""Of Ray's object store where this process starts Ray: the model and the descriptions of the parts lie there."""


@dataclass(frozen=True)
class Fleet:
    """Who does the work."""

    n_actors: Annotated[int | None, Limit(at_least=1)] = None
    """Workers, each with the model; as many as there are processors for when None."""
    cpus_per_actor: Annotated[float, Limit(above=0)] = 1.0
    """Processors of a worker."""
    address: str | None = None
    """Of a Ray cluster; None starts Ray on this machine, or takes the one that this process has started."""

    def __post_init__(self) -> None:
        check_settings(self)


class Worker:
    """Holds the model and does parts, one at a time."""

    def __init__(self, name: str, data: Any, n_threads: int, settings: Settings, out: str, fingerprint: str) -> None:
        import ray

        self.settings, self.out, self.fingerprint = settings, RemotePath(out), fingerprint
        with TemporaryDirectory(prefix="earmark-") as folder:
            # the machine of a worker need not have the file
            path = Path(folder, name)
            path.write_bytes(ray.get(data))
            # PyTorch has as many threads as Ray has told it in OMP_NUM_THREADS
            self.tagger = hub.load(path, n_threads)

    def __call__(self, rows: "pa.Table") -> "pa.Table":
        """Does the part in each row."""
        import pyarrow as pa

        return pa.Table.from_pylist([self._do(Part.from_json(row["part"])) for row in rows.to_pylist()], _answers())

    def _do(self, part: Part) -> dict[str, Any]:
        try:
            done = do_part(part, self.tagger, self.settings, self.out, self.fingerprint)
        except Exception as error:  # told to whoever started the job; the other parts are done
            return {"part": part.name, "error": why(error)}
        return {**asdict(done), "error": None}


def _answers() -> "pa.Schema":
    """What a worker says of a part; of one shape whether it was done or not."""
    import pyarrow as pa

    return pa.schema(
        [
            ("part", pa.string()),
            ("n_files", pa.int64()),
            ("n_failed", pa.int64()),
            ("seconds", pa.float64()),
            ("first_error", pa.string()),
            ("error", pa.string()),
        ]
    )


def check_installed() -> None:
    """Tells at once what would be told when all is prepared.

    Raises:
        ModuleNotFoundError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")


def do_parts(
    job: Job, parts: Sequence[Part], model: Path, out: RemotePath, fleet: Fleet, tell: Callable[[str, Done | str], None]
) -> None:
    """Does the parts; a worker that dies is started again, and its part is done again, up to `DEATHS` times.

    While it runs, what is written to `sys.stdout` is lost: Ray tells of dead workers there, where a result is expected.

    Args:
        job: What is done.
        parts: Those of the job to do.
        model: File of the model.
        out: Folder of the results.
        fleet: Who does it.
        tell: Told of each part, by its name, what came out of it, or why it failed, in one line.

    Raises:
        ConfigError: The workers need more processors than there are, or there is no cluster at the address.
        DataError: The model cannot be loaded by a worker.
    """
    told = set()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), _ray(fleet) as ray, _context(ray):
        n_actors = min(len(parts), _n_actors(fleet, ray.cluster_resources().get("CPU", 0.0)))
        # one block a part: when its worker dies it is done again, and no other with it
        waiting = ray.data.from_items([{"part": part.to_json()} for part in parts], override_num_blocks=len(parts))
        n_threads = max(1, int(fleet.cpus_per_actor))
        data = ray.put(model.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there is no other way to say how often to try yet
            answers = waiting.map_batches(
                Worker,
                fn_constructor_args=(model.name, data, n_threads, job.settings, out.url, job.fingerprint),
                batch_size=1,
                batch_format="pyarrow",
                # a part that waits at a worker would share the blame for its death
                compute=ray.data.ActorPoolStrategy(size=n_actors, max_tasks_in_flight_per_actor=1),
                num_cpus=fleet.cpus_per_actor,
                max_restarts=-1,
                max_task_retries=DEATHS - 1,
            )
        try:
            for row in answers.iter_rows():
                error = row.pop("error")
                told.add(row["part"])
                tell(row["part"], Done(**row) if error is None else error)
        except ray.exceptions.GetTimeoutError as error:
            raise ConfigError(
                f"{n_actors} of {fleet.cpus_per_actor:g} processors each were expected to start within "
                f"{_SECONDS_TO_START} s, the cluster has no room for them: start fewer, or give each fewer processors",
                "n_actors",
            ) from error
        except ray.exceptions.RayError as error:
            # the last line of a traceback on another machine
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise DataError(f"the workers cannot do their work: {reason}") from error
    for part in parts:
        if part.name not in told:
            tell(part.name, f"{DEATHS} workers died over it, one after the other; perhaps they had too little memory")


def _n_actors(fleet: Fleet, n_cpus: float) -> int:
    """Workers that there are processors for."""
    room = int(n_cpus / fleet.cpus_per_actor + 1e-9)
    if room < (fleet.n_actors or 1) and fleet.address is None:  # a cluster may grow
        raise ConfigError(
            f"{fleet.n_actors or 1} of {fleet.cpus_per_actor:g} processors each were asked for, and there are "
            f"{n_cpus:g} processors: start fewer, or give each fewer processors",
            "n_actors",
        )
    return fleet.n_actors or max(1, room)


@contextmanager
def _ray(fleet: Fleet) -> Iterator[Any]:
    """Ray, started or connected to while the block runs, unless this process has done so before."""
    # read when Ray is imported and started: it sends nobody figures of its use, and does not write all over the screen
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():
        yield ray
        return
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    options = local if fleet.address is None else {"address": fleet.address}
    _check_answers(fleet.address or "")
    try:
        with _without_stderr():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if fleet.address is None:
            raise ConfigError(f"Ray cannot be started: {why(error)}") from error
        hint = "if it asks for a token (RAY_AUTH_MODE=token on its machines), set the same here"
        raise ConfigError(f"{fleet.address}: no Ray cluster can be joined there: {why(error)}; {hint}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Tells in seconds what Ray takes minutes to find out."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and not is_url(address):
        try:
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{address}: no Ray cluster answers there: {why(error)}") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Without what libraries that are not Python print."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _context(ray: Any) -> Iterator[None]:
    """Ray Data as this module needs it: a part that is given up does not end the job, and nothing is printed."""
    context = ray.data.DataContext.get_current().copy()
    context.max_errored_blocks = -1
    context.wait_for_min_actors_s = _SECONDS_TO_START
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ray.data.DataContext.current(context):
            yield
    finally:
        logger.setLevel(level)
