"""The processes of one run: which this one is, and what they tell each other."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor

from earmark.errors import ConfigError, EarmarkError
from earmark.model.frontend import FLOOR_DB
from earmark.training.settings import TrainConfig

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, and `earmark.training.launch`, tell each process."""


class PeerLost(EarmarkError):
    """Another process of the run failed; what is to be told of is its error."""


@dataclass(frozen=True)
class Rank:
    """This process among those of a run; a run of one process has one, which has no one to talk to."""

    number: int = 0
    n_ranks: int = 1
    local: int = 0
    """Number on this machine, and of its GPU."""
    n_local: int = 1
    """Processes on this machine."""

    @classmethod
    def from_environment(cls) -> "Rank":
        """What the one who started this process has said in its environment; a run of one process if nothing.

        Raises:
            ConfigError: The variables contradict each other, or some are missing.
        """
        given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
        if "RANK" not in given or given.get("WORLD_SIZE", "1") == "1":
            return cls()
        if missing := [name for name in _VARIABLES if name not in given]:
            raise ConfigError(f"RANK is set, so {' and '.join(missing)} must be too; torchrun sets them all")
        try:
            number, n_ranks, local = (int(given[name]) for name in _VARIABLES[:3])
            n_local = int(os.environ.get("LOCAL_WORLD_SIZE", n_ranks))
        except ValueError as error:
            raise ConfigError(f"whole numbers were expected in RANK, WORLD_SIZE and LOCAL_RANK: {error}") from error
        if not (0 <= number < n_ranks and 0 <= local < n_local and n_ranks % n_local == 0):
            raise ConfigError(f"RANK={number} of WORLD_SIZE={n_ranks}, LOCAL_RANK={local} of {n_local} cannot be")
        return cls(number, n_ranks, local, n_local)

    def check(self, config: TrainConfig) -> None:
        """Refuses settings that the processes, as they were started, cannot share.

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
        replace(config, devices=self.n_ranks, num_nodes=1)  # raises what the number of devices makes impossible

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that draws, writes and speaks."""
        return self.number == 0

    @property
    def is_alone(self) -> bool:
        return self.n_ranks == 1

    def share(self, n_rows: int) -> slice:
        """The rows of a batch that are this process's."""
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
        """What the first process makes, in all of them.

        Raises:
            PeerLost: In the others, where it could not be made; in the first, whatever `make` raises.
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
        """Refuses to go on where the processes have been told different things.

        Args:
            **facts: What must be the same everywhere, by the name that errors call it.

        Raises:
            ConfigError: In all of them: something differs, the text says what.
        """
        told = self.gather(facts)
        for number, theirs in enumerate(told):
            if differing := [name for name in facts if theirs[name] != told[0][name]]:
                raise ConfigError(
                    f"process {number} of the run has other {' and '.join(differing)} than process 0; all of them must "
                    "be started with the same settings and find the same clips, in the same order"
                )

    @contextmanager
    def one_after_the_first(self) -> Iterator[None]:
        """The others enter the block when the first process has left it: they find what it has kept."""
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
        log_mel: Float[Tensor, "batch frame mel"],
        n_frames: Int[Tensor, " batch"],
        target: Float[Tensor, "batch label"],
        flag: bool,
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        """The clips of all processes, one after the other, and whether any of them raised its flag.

        Processes may have different numbers of clips, of different lengths; shorter ones are padded with silence.
        """
        own = torch.tensor([len(log_mel), log_mel.shape[1], flag], dtype=torch.int64)
        told = torch.stack(_gathered(own, self.n_ranks))
        n_rows, length = int(told[:, 0].max()), int(told[:, 1].max())
        padded = log_mel.new_full((n_rows, length, log_mel.shape[2]), FLOOR_DB)
        padded[: len(log_mel), : log_mel.shape[1]] = log_mel
        rows = [slice(int(count)) for count in told[:, 0]]

        def joined(mine: Tensor) -> Tensor:
            filled = mine.new_zeros((n_rows, *mine.shape[1:]))
            filled[: len(mine)] = mine
            return torch.cat([piece[part] for piece, part in zip(_gathered(filled, self.n_ranks), rows, strict=True)])

        return joined(padded[: len(log_mel)]), joined(n_frames), joined(target), bool(told[:, 2].any())


ALONE: Final = Rank()
"""The process of a run that has no other."""


def _gathered(own: Tensor, n_ranks: int) -> list[Tensor]:
    pieces = [torch.empty_like(own) for _ in range(n_ranks)]
    dist.all_gather(pieces, own.contiguous())
    return pieces


@contextmanager
def joined(rank: Rank, device: torch.device) -> Iterator[None]:
    """Connects the processes of the run while the block lasts; nothing to do for one that is alone.

    Raises:
        PeerLost: The others cannot be reached, or one of them is lost in the block.
    """
    if rank.is_alone:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # numbers about the batches travel on the CPU beside the gradients, and wait for no GPU
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, rank=rank.number, world_size=rank.n_ranks)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise PeerLost(f"the other processes of the run were not reached by way of {where}: {error}") from error
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "/gloo/" in str(error):
            text = "another process of the run was lost; the run is saved up to its last epoch"
            raise PeerLost(f"{text}: --resume goes on from there") from error
        raise
    finally:
        dist.destroy_process_group()
