"""The machine that a run trains on: its device, precision and memory, and a warning for slow ones."""

import ctypes
import platform
import sys
from typing import Final, Literal

import torch

from earmark.errors import EarmarkWarning
from earmark.inference.torch_engine import has_bf16, torch_device
from earmark.training.ranks import ALONE, Rank
from earmark.training.settings import TrainConfig

_LONG: Final = 30 * 60
"""Seconds from which a run on the CPU deserves a warning."""
_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3


def chosen_device(config: TrainConfig, rank: Rank = ALONE) -> torch.device:
    """The device that the config names, or the best there is; each of several processes has its own GPU.

    Raises:
        ConfigError: There is no such device.
    """
    device = torch_device(config.device)
    if rank.is_alone or device.type == "cpu":
        return device
    # a machine with an Apple GPU has one
    return torch_device("cpu" if device.type == "mps" else f"cuda:{rank.local}")


def chosen_precision(config: TrainConfig, device: torch.device) -> Literal["float32", "bf16"]:
    """The precision that the config names; auto is bf16 where the hardware computes in it faster than in float32."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    return "bf16" if device.type == "cpu" and has_bf16() else "float32"


def describe(device: torch.device) -> str:
    """The kind of device, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


def long_run(device: torch.device, seconds: float, config: TrainConfig) -> EarmarkWarning | None:
    """Warning about a run that has this many seconds left; None if it is short or on a GPU.

    >>> print(long_run(torch.device("cpu"), 7200.0, TrainConfig()))
    about 2 h 00 min left on the CPU; a GPU, a smaller budget or a narrower network is faster (width=16)
    """
    if device.type != "cpu" or seconds <= _LONG:
        return None
    hours, minutes = divmod(round(seconds / 60), 60)
    left = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
    if config.width <= 16:
        return EarmarkWarning(f"about {left} left on the CPU; a GPU or a smaller budget is faster")
    text = f"about {left} left on the CPU; a GPU, a smaller budget or a narrower network is faster"
    return EarmarkWarning(text, remedy={"width": 16})


def keep_big_buffers() -> None:
    """Makes the C library keep the memory of freed tensors, on Linux with glibc.

    A step on the CPU frees and allocates the same buffers of tens of megabytes again and again. By default glibc
    returns each to the system, which clears every page again: a tenth of the step. The setting lasts as long as the
    process, whose memory then stays at its peak.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
