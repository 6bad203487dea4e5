"""Training speed: clips a second with the data included, what share is data, and how near its peak the arithmetic is.

python benchmarks/bench_training.py [--width 16] [--seconds 10] [--batch-size 32] [--clips 64] [--steps 40]

Writes FLAC files of noise to a temporary folder and trains on them as `earmark train` does. Other programs running at
the same time spoil the figures. Waiting for data is what the step waits: reading beside it costs processors only.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from earmark.audio.recording import Audio, save_audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.labels import LabelSet
from earmark.model.frontend import LogMel
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.training import TrainConfig, train
from earmark.training.cache import log_mels
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers
from earmark.training.recipes import recipe

N_LABELS = 10


def multiplications(network: Network) -> float:
    """Multiplications of the convolutions and linear layers for a clip of 10 s."""
    counts: list[int] = []
    layers = [layer for layer in network.eval().modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [
        layer.register_forward_hook(lambda layer, _, output: counts.append(output.numel() * layer.weight[0].numel()))
        for layer in layers
    ]
    with torch.inference_mode():
        network(torch.zeros(1, 10 * network.config.frontend.sample_rate, device=network.device))
    for hook in hooks:
        hook.remove()
    return float(sum(counts))


def noise(folder: Path, n_clips: int, seconds: float, sample_rate: int) -> Dataset:
    """FLAC files of noise, each with two of ten labels."""
    labels = LabelSet(tuple(f"label {number}" for number in range(N_LABELS)))
    clips = []
    for number in range(n_clips):
        rng = np.random.default_rng(number)
        waveform = (0.1 * rng.standard_normal(round(seconds * sample_rate))).astype(np.float32)
        path = folder / f"{number}.flac"
        save_audio(path, Audio(waveform, sample_rate))
        chosen = rng.choice(N_LABELS, 2, replace=False)
        clips.append(Clip(path.stem, tuple(labels.names[label] for label in chosen), FileAudio(path)))
    return Dataset("noise", labels, tuple(clips))


def fastest(function: Callable[[], object], times: int = 5) -> float:
    """Seconds of the fastest of several calls, the first left out."""
    function()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def gemm_peak(device: torch.device, size: int = 2048) -> float:
    """Floating-point operations a second of a float32 matrix product."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    return 2 * size**3 / fastest(lambda: a @ b)


@dataclass
class Convolution:
    """One convolution of the backbone as a step sees it."""

    module: nn.Conv2d
    shape: tuple[int, ...]
    needs_input_gradient: bool

    @property
    def operations(self) -> float:
        """Operations of a step: forward, gradient of the weights and, except for the first, of the input."""
        n_clips, n_in, height, width = self.shape
        once = 2.0 * 9 * n_clips * n_in * self.module.out_channels * height * width
        return once * (3 if self.needs_input_gradient else 2)

    def seconds(self, device: torch.device) -> float:
        """Seconds of a step of this convolution alone."""
        x = torch.randn(self.shape, device=device).to(memory_format=torch.channels_last)
        x.requires_grad_(self.needs_input_gradient)
        y = self.module(x)
        gradient = torch.randn_like(y)
        wanted = [self.module.weight, *([x] if self.needs_input_gradient else [])]
        return fastest(lambda: torch.autograd.grad(self.module(x), wanted, gradient), times=3)


def convolutions(network: Network, log_mel: torch.Tensor) -> list[Convolution]:
    """The network's convolutions and the shapes that they see."""
    found: list[Convolution] = []
    modules = [module for module in network.backbone.modules() if isinstance(module, nn.Conv2d)]
    hooks = [
        module.register_forward_pre_hook(
            lambda module, inputs: found.append(Convolution(module, tuple(inputs[0].shape), bool(found)))
        )
        for module in modules
    ]
    with torch.no_grad():
        network.logits_from_log_mel(log_mel)
    for hook in hooks:
        hook.remove()
    return found


def bare_step(network: Network, log_mel: torch.Tensor, precision: str, n_threads: int) -> float:
    """Seconds of a step without loop, data, augmentation and averaging."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    target = torch.zeros(len(log_mel), len(network.labels), device=log_mel.device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(log_mel.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = network.logits_from_log_mel(log_mel)
        F.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimizer.step()

    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(n_threads)
        return fastest(step, times=10)
    finally:
        torch.set_num_threads(usual)


def main() -> None:
    """Prints the figures, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 16), ("batch-size", 32), ("clips", 64), ("steps", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    config = TrainConfig(
        width=arguments.width,
        batch_size=arguments.batch_size,
        clip_duration=arguments.seconds,
        n_clips_seen=arguments.steps * arguments.batch_size,
        clips_per_epoch=arguments.steps // 4 * arguments.batch_size,
        precision="float32",
    )
    device = chosen_device(config)
    # bf16 where the machine has instructions for it
    precisions = sorted({"float32", chosen_precision(replace(config, precision="auto"), device)}, reverse=True)
    keep_big_buffers()
    torch.manual_seed(0)
    frontend = LogMel(config.network_config().frontend)
    print(f"{describe(device)}; width {config.width}, {arguments.seconds:g} s clips, batch {config.batch_size}")
    with tempfile.TemporaryDirectory() as name:
        data = noise(Path(name), arguments.clips, arguments.seconds, config.sample_rate)
        start = time.perf_counter()
        mels, _ = log_mels(data, frontend, n_processors(), lambda n: None)
        once = (time.perf_counter() - start) / len(data)
        print(f"{'decoding and log-mel':44}{1 / once:8.1f} clips/s, once for each clip ({1e3 * once:.1f} ms)")
        cached = replace(config, cache="log_mel")
        small = recipe("small")
        plain = {n: getattr(small, n) for n in ("block_dropout", "dropout", "spec_augment", "mixup_alpha")}
        trained = {}
        for precision in precisions:
            for what, setting in (
                ("training, log-mels in memory", cached),
                ("... as in the recipe small", replace(cached, **plain)),
                ("training, reading each time", replace(config, cache="none")),
            ):
                label = f"{what}, {precision}"
                result = train(replace(setting, precision=precision), data, Path(name) / label, progress=False)
                # the first epoch also warms up
                rows = result.history[1:] or result.history
                speed, share = (
                    float(np.median([getattr(r, f) for r in rows])) for f in ("clips_per_second", "data_share")
                )
                print(f"{label:44}{speed:8.1f} clips/s, waits for data {100 * share:.1f} % of the time")
                trained.setdefault(precision, speed)
    network = Network(config.network_config(), data.labels).to(device)
    log_mel = torch.from_numpy(np.resize(np.stack(mels), (config.batch_size, *mels[0].shape))).to(device)
    for n_threads in sorted({1, torch.get_num_threads()}) if device.type == "cpu" else [1]:
        for precision in precisions:
            rate = config.batch_size / bare_step(network, log_mel, precision, n_threads)
            label = f"bare step, {precision}, {n_threads} thread{'s'[: n_threads - 1]}"
            print(f"{label:44}{rate:8.1f} clips/s")
    layers = convolutions(network, log_mel)
    operations = sum(layer.operations for layer in layers)
    alone = sum(layer.seconds(device) for layer in layers)
    peak = gemm_peak(device)
    print(f"{'matrix product, float32':44}{peak / 1e9:8.1f} GFLOP/s, 2048 x 2048")
    for what, rate in (
        ("convolutions alone, float32", operations / alone),
        ("convolutions, whole training, float32", operations / config.batch_size * trained["float32"]),
    ):
        print(f"{what:44}{rate / 1e9:8.1f} GFLOP/s, {100 * rate / peak:.0f} % of that")


if __name__ == "__main__":
    main()
