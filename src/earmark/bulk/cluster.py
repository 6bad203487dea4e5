"""Workers that do parts, on one machine or a cluster. The only door to Ray."""

import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

from earmark import hub
from earmark.audio.time_limit import set_time_limit, time_limit
from earmark.bulk.job import Done, Job, Settings
from earmark.bulk.parts import Part
from earmark.bulk.work import do_part
from earmark.errors import ConfigError, DataError, Limit, check_settings, counted, describe_error
from earmark.inference.engine import check_device_name
from earmark.parallel.silence import silenced_libraries
from earmark.storage.files import as_text
from earmark.storage.remote import RemotePath, is_url

if TYPE_CHECKING:
    import pyarrow as pa

DEATHS: Final = 3
"""Number of workers that a part may kill before it is given up."""
_SECONDS_TO_START: Final = 600
"""Time limit for all workers to start; machines of a cluster may have to boot."""
_SECONDS_TO_ANSWER: Final = 10
_STORE_BYTES: Final = 256 * 1024**2
"""Size of Ray's object store if this process starts Ray; it holds the model and the descriptions of the parts."""


@dataclass(frozen=True)
class Fleet:
    """Settings of the workers."""

    n_actors: Annotated[int | None, Limit(at_least=1)] = None
    """Number of worker processes, each with the model; by default as many as the processors allow."""
    cpus_per_actor: Annotated[float, Limit(above=0)] = 1.0
    """Processors of each worker process."""
    address: str | None = None
    """Address of a Ray cluster, such as HOST:6379 or auto; by default this machine is used."""
    device: str = "cpu"
    """Device of the workers: cpu, cuda (a GPU for each), mps, or auto: cuda where Ray finds a GPU."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_device_name(self.device)
        if ":" in self.device:
            raise ConfigError(f"cuda was expected, since Ray chooses the GPU of a worker, not {self.device}", "device")

    def device_of(self, n_gpus: float) -> str:
        """The device of a worker where Ray finds this number of GPUs.

        Raises:
            ConfigError: There are fewer GPUs than workers.
        """
        if self.device == "auto":
            return "cuda" if n_gpus >= 1 else "cpu"
        n_needed = self.n_actors or 1
        if self.device == "cuda" and n_gpus < n_needed and self.address is None:  # a cluster may grow
            raise ConfigError(
                f"cuda was requested for {counted(n_needed, 'worker')}, Ray finds {n_gpus:g} GPUs; take cpu or auto",
                "device",
            )
        return self.device


class Worker:
    """A worker, which holds the model and does one part at a time."""

    def __init__(
        self,
        name: str,
        data: Any,
        n_threads: int,
        settings: Settings,
        out: str,
        fingerprint: str,
        decode_timeout: float,
        device: str,
    ) -> None:
        import ray

        set_time_limit(decode_timeout)  # the environment of another machine does not have it
        self.settings, self.out, self.fingerprint = settings, RemotePath(out), fingerprint
        with TemporaryDirectory(prefix="earmark-") as folder:
            # the worker's machine may not have the file
            path = Path(folder, name)
            path.write_bytes(ray.get(data))
            # Ray sets OMP_NUM_THREADS, which PyTorch reads
            self.tagger = hub.load(path, n_threads, overlap=settings.overlap, device=device)
        # a GPU takes the chunks of several recordings at a time; they are decoded by the worker's processors
        self.n_at_once = n_threads if self.tagger.engine.batch_size > 1 else 1

    def __call__(self, rows: "pa.Table") -> "pa.Table":
        """Does the part in each row."""
        import pyarrow as pa

        return pa.table({"answer": [self._do(Part.from_json(text)) for text in rows["part"].to_pylist()]})

    def _do(self, part: Part) -> str:
        try:
            done = do_part(part, self.tagger, self.settings, self.out, self.fingerprint, self.n_at_once)
        except Exception as error:  # the parent reports it; the other parts are done
            return json.dumps({"part": part.name, "error": describe_error(error)})
        return json.dumps(asdict(done))


def do_parts(
    job: Job, parts: Sequence[Part], model: Path, out: RemotePath, fleet: Fleet, note: Callable[[str, Done | str], None]
) -> None:
    """Does parts of a job. A worker that dies is replaced and its part done again, up to `DEATHS` times.

    `note` is called with the name of each part and its outcome, or the reason why it failed in one line. Meanwhile,
    text written to `sys.stdout` is discarded: Ray reports dead workers there, among the results.

    Raises:
        ConfigError: The workers need more processors than there are, or there is no cluster at the address.
        DataError: A worker cannot load the model.
    """
    noted = set()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), _ray(fleet) as ray, _context(ray):
        resources = ray.cluster_resources()
        device = fleet.device_of(n_gpus := resources.get("GPU", 0.0))
        n_actors = min(len(parts), _n_actors(fleet, resources.get("CPU", 0.0), device, n_gpus))
        # one block for each part, so that a dead worker costs one part
        waiting = ray.data.from_items([{"part": part.to_json()} for part in parts], override_num_blocks=len(parts))
        n_threads = max(1, int(fleet.cpus_per_actor))
        data = ray.put(model.read_bytes())
        arguments = model.name, data, n_threads, job.settings, out.url, job.fingerprint, time_limit(), device
        with warnings.catch_warnings():
            # Ray has no other way yet to set the number of attempts
            warnings.simplefilter("ignore", DeprecationWarning)
            answers = waiting.map_batches(
                Worker,
                fn_constructor_args=arguments,
                batch_size=1,
                batch_format="pyarrow",
                # a part that waits at a dead worker would count as an attempt
                compute=ray.data.ActorPoolStrategy(size=n_actors, max_tasks_in_flight_per_actor=1),
                num_cpus=fleet.cpus_per_actor,
                num_gpus=1 if device == "cuda" else None,
                max_restarts=-1,
                max_task_retries=DEATHS - 1,
            )
        try:
            for row in answers.iter_rows():
                answer = json.loads(row["answer"])
                noted.add(answer["part"])
                note(answer["part"], answer["error"] if "error" in answer else Done(**answer))
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
        if part.name not in noted:
            note(part.name, f"{DEATHS} workers died at this part, one after the other; perhaps memory was short")


def _n_actors(fleet: Fleet, n_cpus: float, device: str = "cpu", n_gpus: float = 0.0) -> int:
    room = int(n_cpus / fleet.cpus_per_actor + 1e-9)
    if room < (fleet.n_actors or 1) and fleet.address is None:  # a cluster may grow
        raise ConfigError(
            f"{fleet.n_actors or 1} of {fleet.cpus_per_actor:g} processors each were asked for, and there are "
            f"{n_cpus:g} processors: start fewer, or give each fewer processors",
            "n_actors",
        )
    if device != "cpu":  # a machine with an Apple GPU has one
        room = min(room, int(n_gpus) if device == "cuda" else 1)
    return fleet.n_actors or max(1, room)


@contextmanager
def _ray(fleet: Fleet) -> Iterator[Any]:
    """Starts Ray or connects to a cluster for the block, unless this process has done so before."""
    # Ray reads these when it is imported and started: no usage statistics, no log messages on the screen
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    if ray.is_initialized():
        yield ray
        return
    if any(word != as_text(word) for word in sys.argv):
        # Ray stores the command line as the job's name and fails if it is not UTF-8; no setting changes the name
        ray._private.utils.get_entrypoint_name = lambda: "earmark"
    local: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    options = local if fleet.address is None else {"address": fleet.address}
    _check_answers(fleet.address or "")
    try:
        with silenced_libraries():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if fleet.address is None:
            raise ConfigError(f"Ray cannot be started: {describe_error(error)}") from error
        hint = "if it asks for a token (RAY_AUTH_MODE=token on its machines), set the same here"
        raise ConfigError(
            f"{fleet.address}: no Ray cluster can be joined there: {describe_error(error)}; {hint}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raises within seconds if nothing answers at the address, which takes Ray minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and not is_url(address):
        try:
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise ConfigError(f"{address}: no Ray cluster answers there: {describe_error(error)}") from error


@contextmanager
def _context(ray: Any) -> Iterator[None]:
    """Configures Ray Data for the block: a part that is given up does not end the job, and nothing is printed."""
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
