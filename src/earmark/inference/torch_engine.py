"""The engine of a PyTorch network."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from earmark.errors import ConfigError, EarmarkWarning
from earmark.inference.engine import BATCH_SIZE, OVERLAP, check_device_name
from earmark.inference.merged_calls import MergedCalls
from earmark.model.network import Network


class TorchEngine:
    """The `Engine` of a PyTorch network, on the network's device.

    On a GPU, calls of `encode` by several threads are merged, and float32 means float32: convolutions do not round to
    TF32.

    Args:
        network: The network; it is put into evaluation mode. The engine copies its backbone, so make a new engine after
            a change of weights or device.
        n_threads: Processors for each call, which PyTorch sets for the whole process; unchanged when missing. A process
            that was forked after the first engine was made uses one.
        precision: Precision of the convolutions. bf16 is faster on processors that have instructions for it, and
            changes scores in the third digit. On others it is much slower, which an `EarmarkWarning` says.
    """

    def __init__(
        self, network: Network, n_threads: int | None = None, precision: Literal["float32", "bf16"] = "float32"
    ) -> None:
        is_forked = _pid_of_threads() != os.getpid()
        if n_threads is not None and not is_forked:
            torch.set_num_threads(n_threads)
        if precision == "bf16" and network.device.type == "cpu" and not has_bf16():
            warnings.warn(
                "PyTorch finds no instructions for bf16 in this processor: it may be several times slower than float32",
                EarmarkWarning,
                stacklevel=2,
            )
        self.network = network.eval()
        self._backbone = network.backbone.folded(torch.bfloat16 if precision == "bf16" else torch.float32)
        self.labels = network.labels
        self.thresholds: Sequence[float] | None = network.thresholds
        self.clip_duration = network.clip_duration
        self.sample_rate = network.config.frontend.sample_rate
        self.samples_per_segment = network.backbone.frames_per_segment * network.config.frontend.hop_length
        self.halo = network.halo
        self.overlap = OVERLAP
        self.batch_size = 1 if network.device.type == "cpu" else BATCH_SIZE
        run_encode = partial(self._run, self._encode)
        self._run_encode = run_encode if self.batch_size == 1 else MergedCalls(run_encode, self.batch_size)

    def encode(self, waveforms: Float[np.ndarray, "clip sample"]) -> Float[np.ndarray, "clip segment channel"]:
        return self._run_encode(waveforms)

    def classify(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]:
        return self._run(self.network.classify, segments, mask)

    def pool(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]:
        return self._run(self.network.pool, segments, mask)

    def attention(
        self, segments: Float[np.ndarray, "segment channel"], label: int | None = None
    ) -> Float[np.ndarray, "head segment"] | None:
        with torch.inference_mode():
            attention = self.network.attention(self._tensor(segments)[None])
        if attention is None:
            return None
        is_per_label = self.network.pooling.level == "instance"
        return _as_numpy(attention)[0, [label] if is_per_label and label is not None else slice(None)]

    def _encode(self, waveform: Tensor) -> Tensor:
        log_mel = self.network.frontend(waveform)
        beside = (waveform,) if self.network.backbone.takes_waveform else ()
        with without_tf32(waveform.device):
            segments: Tensor = self._backbone(log_mel, *beside)
        return segments

    def _run(self, stage: Callable[..., Tensor], *inputs: np.ndarray | None) -> np.ndarray:
        with torch.inference_mode():
            return _as_numpy(stage(*(None if array is None else self._tensor(array) for array in inputs)))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.network.device)


def torch_device(name: str) -> torch.device:
    """The device of a name: auto, cpu, cuda, cuda:N or mps; auto is a GPU where PyTorch finds one.

    Raises:
        ConfigError: The name is another one, or PyTorch finds no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    check_device_name(name)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{name} was requested, but PyTorch finds {torch.cuda.device_count()} CUDA devices; take auto or cpu",
            "device",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("mps was requested, but PyTorch finds no Apple GPU; take auto or cpu", "device")
    return device


@contextmanager
def without_tf32(device: torch.device) -> Iterator[None]:
    """Keeps convolutions on a GPU in full float32, whose scores equal those of the CPU to 0.001."""
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    # of these flags only TF32 changes
    with cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False):
        yield


@cache
def _pid_of_threads() -> int:
    """The process whose threads PyTorch uses: that of the first engine."""
    if hasattr(os, "register_at_fork"):
        # a forked process has no copy of these threads, and OpenMP would wait for them for ever
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
    return os.getpid()


def has_bf16() -> bool:
    """Whether this processor has instructions for bf16; without them PyTorch emulates it at a fraction of the speed."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _as_numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.float().cpu().numpy()
    return array
