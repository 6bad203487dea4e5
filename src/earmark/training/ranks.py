"""The processes of one run: which one this is, and how they exchange values."""

import gc
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from earmark.errors import ConfigError, EarmarkError
from earmark.training.settings import TrainConfig

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun and `earmark.training.launch` set for each process."""


class PeerLost(EarmarkError):
    """Another process of the run failed; its error is the one to report."""


@dataclass(frozen=True)
class Rank:
    """This process among those of a run; by default the only one."""

    number: int = 0
    n_ranks: int = 1
    local: int = 0
    """Number on this machine, and of its GPU."""
    n_local: int = 1
    """Processes on this machine."""

    @classmethod
    def from_environment(cls) -> "Rank":
        """The rank that torchrun's variables give; a run of one process without them.

        Raises:
            ConfigError: The variables contradict each other, or some are missing.
        """
        if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
            return cls()
        if missing := [name for name in _VARIABLES if name not in os.environ]:
            raise ConfigError(f"RANK is set, so {' and '.join(missing)} must be too; torchrun sets them all")
        try:
            number, n_ranks, local = (int(os.environ[name]) for name in _VARIABLES[:3])
            n_local = int(os.environ.get("LOCAL_WORLD_SIZE", n_ranks))
        except ValueError as error:
            raise ConfigError(f"whole numbers were expected in RANK, WORLD_SIZE and LOCAL_RANK: {error}") from error
        if not (0 <= number < n_ranks and 0 <= local < n_local and n_ranks % n_local == 0):
            raise ConfigError(f"RANK={number} of WORLD_SIZE={n_ranks}, LOCAL_RANK={local} of {n_local} cannot be")
        return cls(number, n_ranks, local, n_local)

    def check(self, config: TrainConfig) -> None:
        """Checks that the processes, as they were started, can share the work.

        Raises:
            ConfigError: Their number contradicts the settings, or the clips of a step cannot be shared evenly.
        """
        asked = config.devices * config.num_nodes
        if asked not in (1, self.n_ranks):
            raise ConfigError(
                f"{asked} were asked for where torchrun has started {self.n_ranks} processes; leave the "
                "numbers of devices and machines to torchrun",
                "devices",
            )
        replace(config, devices=self.n_ranks, num_nodes=1)  # the config checks itself

    @property
    def is_first(self) -> bool:
        """Whether this process draws, writes and prints."""
        return self.number == 0

    @property
    def is_alone(self) -> bool:
        return self.n_ranks == 1

    def share(self, n_rows: int) -> slice:
        """This process's rows of a batch."""
        size = n_rows // self.n_ranks
        return slice(self.number * size, (self.number + 1) * size)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in each of them."""
        if self.is_alone:
            return [value]
        values: list[Any] = [None] * self.n_ranks
        dist.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """The value that the first process makes, in all of them.

        Raises:
            PeerLost: In the others, if `make` raised; the first raises its error.
        """
        if self.is_alone:
            return make()
        made: list[Any] = [False, None]
        try:
            if self.is_first:
                made = [True, make()]
        finally:
            dist.broadcast_object_list(made)
        if not made[0]:
            raise PeerLost("the first process of the run failed")
        return made[1]

    def check_same(self, **facts: Any) -> None:
        """Checks that all processes have the same facts.

        Args:
            **facts: Values by the names that errors use for them.

        Raises:
            ConfigError: In all processes: a fact differs.
        """
        everywhere = self.gather(facts)
        for number, theirs in enumerate(everywhere):
            if differing := [name for name in facts if theirs[name] != everywhere[0][name]]:
                raise ConfigError(
                    f"process {number} of the run has other {' and '.join(differing)} than process 0; all of them must "
                    "be started with the same settings and find the same clips, in the same order"
                )

    @contextmanager
    def one_after_the_first(self) -> Iterator[None]:
        """The others enter the block after the first process has left it, and find the files that it wrote."""
        if not self.is_first:
            dist.barrier()
        yield
        if self.is_first and not self.is_alone:
            dist.barrier()

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrites the tensors with those of the first process."""
        if not self.is_alone:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gather_clips(
        self,
        features: Float[Tensor, "batch time channel"],
        target: Float[Tensor, "batch label"],
        lengths: Int[Tensor, " batch"],
        flag: bool,
        padding: float,
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        """The clips of all processes, one after the other, and whether any process set its flag.

        Processes may have different numbers of clips, of different lengths; shorter ones end in `padding`.
        """
        if self.is_alone:
            return features, target, lengths, flag
        sizes = torch.stack(self._all(torch.tensor([len(features), features.shape[1], flag], dtype=torch.int64)))
        n_rows, length = int(sizes[:, 0].max()), int(sizes[:, 1].max())
        padded = features.new_full((len(features), length, features.shape[2]), padding)
        padded[:, : features.shape[1]] = features
        rows = [slice(int(count)) for count in sizes[:, 0]]

        def joined(own: Tensor) -> Tensor:
            filled = own.new_zeros((n_rows, *own.shape[1:]))
            filled[: len(own)] = own
            return torch.cat([piece[part] for piece, part in zip(self._all(filled), rows, strict=True)])

        return joined(padded), joined(target), joined(lengths), bool(sizes[:, 2].any())

    def _all(self, own: Tensor) -> list[Tensor]:
        pieces = [torch.empty_like(own) for _ in range(self.n_ranks)]
        dist.all_gather(pieces, own.contiguous())
        return pieces


ALONE: Final = Rank()
"""The process of a run that has only one."""


@contextmanager
def joined(rank: Rank, device: torch.device) -> Iterator[None]:
    """Connects the processes of a run for the block; does nothing for a single process.

    Raises:
        PeerLost: The others cannot be reached, or one of them is lost in the block.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if rank.is_alone:
        yield
        return
    # numbers about the batches travel on the CPU beside the gradients, without waiting for the GPU
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=rank.number, world_size=rank.n_ranks)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerLost(f"the other processes of the run were not reached at {where}: {error}") from error
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            traceback.clear_frames(cause.__traceback__)  # a frame may hold the network
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error)):
            text = "another process of the run was lost; the run is saved up to its last epoch"
            raise PeerLost(f"{text}: --resume continues from there") from error
        raise
    finally:
        # A DistributedDataParallel that lives on becomes the last owner of the group. Its end then waits for threads of
        # the group, which may wait for Python's lock that it holds (https://github.com/pytorch/pytorch/issues/56297).
        gc.collect()
        dist.destroy_process_group()
