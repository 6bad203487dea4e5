"""Inference speed: whole pipeline beside a plain PyTorch Cnn10, timelines beside sliding windows, memory, cold start.

python benchmarks/bench_inference.py [--files 2] [--seconds 300] [--long] [--only pipeline,timeline,...]
python benchmarks/bench_inference.py --device cuda [--peak 60]
python benchmarks/bench_inference.py --only mn,mn-memory

All sides run in one call on the same synthetic files (FLAC, 44.1 kHz, stereo), on all processors. The plain Cnn10 runs
the usual way: 32 kHz, a frame every 10 ms, front end as convolutions, eager, float32, batch 1, the whole file in
memory. earmark runs the paper's network (width 64, 527 labels, 32 kHz, 25 ms) with random weights; times do not depend
on the weights. Other programs running at the same time distort the figures. --long adds ten hours.

--device prints the clips a second of networks on a device, and their share of its peak, for several batch sizes.
`mn` compares mn04 with the paper's network and with its published definition in plain PyTorch, eager, batch 1, in
windows of 10 s; `mn-memory` prints its peak memory for 10 and 60 minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from bench_training import multiplications
from plain_mn import PlainMn
from torch import nn

from earmark import hub
from earmark.audio.decoding import average_channels
from earmark.audio.recording import load_blocks
from earmark.export.onnx_file import export
from earmark.hub.efficientat import FRONTEND
from earmark.inference import engine
from earmark.inference.torch_engine import TorchEngine, torch_device
from earmark.labels import LabelSet
from earmark.model.backbones.mn import hidden_width
from earmark.model.frontend import FrontendConfig
from earmark.model.mel import mel_filters
from earmark.model.network import Network, NetworkConfig
from earmark.parallel.processors import n_processors

RATE = 44100


def like_a_recording(n_samples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields blocks of stereo noise of changing level, with decaying tones like events."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_samples, RATE):
        n = min(RATE, n_samples - start)
        noise = 0.02 * rng.standard_normal((n, 2)) * 10 ** rng.uniform(-1, 0)
        time_ = np.arange(n) / RATE
        tone = 0.2 * np.sin(2 * np.pi * rng.uniform(200, 6000) * time_) * np.exp(-4 * time_) * (rng.random() < 0.5)
        yield (noise + tone[:, None]).astype(np.float32)


def write(path: Path, seconds: float, seed: int) -> None:
    """Writes a FLAC file of this length."""
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for block in like_a_recording(round(seconds * RATE), seed):
            file.write(block)


class PlainCnn10(nn.Module):
    """The published Cnn10 as its authors run it, with its front end and random weights."""

    def __init__(self, n_labels: int) -> None:
        super().__init__()
        frontend = FrontendConfig(hop_length=320)
        n, k = np.arange(1024), np.arange(513)[:, None]
        basis = np.hanning(1025)[:-1] * np.exp(-2j * np.pi * k * n / 1024)
        self.register_buffer("real", torch.from_numpy(basis.real[:, None]).float())
        self.register_buffer("imaginary", torch.from_numpy(basis.imag[:, None]).float())
        self.register_buffer("filters", torch.from_numpy(mel_filters(frontend)).float())
        self.bn0 = nn.BatchNorm2d(64)
        sizes = [1, 64, 128, 256, 512]
        self.blocks = nn.ModuleList()
        for n_in, n_out in pairwise(sizes):
            convs = [
                nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
                nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            ]
            self.blocks.append(nn.ModuleList([convs[0], nn.BatchNorm2d(n_out), convs[1], nn.BatchNorm2d(n_out)]))
        self.fc1, self.fc2 = nn.Linear(512, 512), nn.Linear(512, n_labels)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        x = F.pad(waveform[:, None], (512, 512), mode="reflect")
        power = F.conv1d(x, self.real, stride=320) ** 2 + F.conv1d(x, self.imaginary, stride=320) ** 2
        x = 10 * torch.log10(torch.clamp(power.transpose(1, 2) @ self.filters, min=1e-10))[:, None]
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for conv1, bn1, conv2, bn2 in self.blocks:
            x = F.relu_(bn1(conv1(x)))
            x = F.avg_pool2d(F.relu_(bn2(conv2(x))), 2)
        x = x.mean(3)
        x = x.amax(2) + x.mean(2)
        return torch.sigmoid(self.fc2(F.relu_(self.fc1(x))))


def plain(files: list[Path]) -> Callable[[], None]:
    """Returns a function that tags files one after the other, as most scripts do."""
    model = PlainCnn10(527).eval()

    def run() -> None:
        torch.set_num_threads(n_processors())
        for file in files:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
            waveform = soxr.resample(samples.mean(axis=1), rate, 32000)
            with torch.no_grad():
                model(torch.from_numpy(waveform)[None])

    return run


def tagged(model: str, files: list[Path], precision: str = "float32", n_jobs: int | None = None) -> Callable[[], None]:
    """Returns a function that tags files as `earmark tag --jobs N` does."""
    n_jobs = n_jobs or n_processors()

    def run() -> None:
        tagger = hub.load(model, max(1, n_processors() // n_jobs), precision)  # type: ignore[arg-type]
        with ThreadPoolExecutor(n_jobs) as pool:
            list(pool.map(tagger.score, files))

    return run


def median_seconds(runs: dict[str, Callable[[], None]], times: int = 5) -> dict[str, float]:
    """Median seconds of each run; the runs take turns, so that other load affects all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(times + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(each)) for name, each in seconds.items()}


def models(folder: Path) -> dict[str, str]:
    """Writes the paper's network as a checkpoint, as ONNX and as ONNX in 8 bits; returns the paths by kind."""
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig()), LabelSet.audioset()).eval()
    network.extra["clip_duration"] = 10.0
    paths = {
        name: str(folder / file) for name, file in (("torch", "m.safetensors"), ("onnx", "m.onnx"), ("int8", "8.onnx"))
    }
    network.save(paths["torch"])
    export(network, Path(paths["onnx"]))
    clips = [next(iter(like_a_recording(RATE, seed))).mean(axis=1)[:32000] for seed in range(20)]
    export(network, Path(paths["int8"]), clips)
    return paths


def pipeline(folder: Path, paths: dict[str, str], n_files: int, seconds: float) -> None:
    """Prints the speed of decoding, resampling, features and network together."""
    files = [folder / f"{number}.flac" for number in range(n_files)]
    for number, file in enumerate(files):
        write(file, seconds, number)
    runs = {
        "plain PyTorch Cnn10": plain(files),
        "earmark, PyTorch, float32": tagged(paths["torch"], files),
        "... one file at a time": tagged(paths["torch"], files, n_jobs=1),
        "earmark, PyTorch, bf16": tagged(paths["torch"], files, "bf16"),
        "earmark, ONNX Runtime, float32": tagged(paths["onnx"], files),
        "earmark, ONNX Runtime, int8": tagged(paths["int8"], files),
    }
    took = median_seconds(runs)
    first = took["plain PyTorch Cnn10"]
    print(f"\nwhole pipeline, {n_files} files of {seconds:g} s, {n_processors()} processors: seconds of audio a second")
    for name, each in took.items():
        print(f"  {name:34}{n_files * seconds / each:8.0f}   {first / each:5.1f} times the plain one")


def timelines(folder: Path, paths: dict[str, str], seconds: float) -> None:
    """Prints the time of a timeline with a hop of 1 s beside a sliding 10 s window, with the same network."""
    file = folder / "timeline.flac"
    write(file, seconds, 1)
    tagger = hub.load(paths["torch"], n_processors())

    def sliding() -> None:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        waveform = soxr.resample(samples.mean(axis=1), rate, 32000)
        for start in range(0, len(waveform) - 320000 + 1, 32000):
            tagger.engine.classify(tagger.engine.encode(waveform[None, start : start + 320000]))

    runs = {
        "sliding window of 10 s, hop 1 s": sliding,
        "timeline --window 10 --hop 1": lambda: tagger.timeline(file, window=10.0, hop=1.0) and None,
        "tag": lambda: tagger.score(file) and None,
    }
    took = median_seconds(runs, 3)
    print(f"\na file of {seconds:g} s, same network, PyTorch, float32")
    for name, each in took.items():
        ratio = took["sliding window of 10 s, hop 1 s"] / each
        print(f"  {name:34}{each:8.2f} s   {ratio:5.1f} times as fast as sliding")


def convolutions() -> None:
    """Prints the speed of the convolutions as a share of the processor's peak."""
    network = Network(NetworkConfig(FrontendConfig()), LabelSet(("a",))).eval()
    log_mel = torch.randn(1, 800, 64)
    n_operations = 2 * 9 * 800 * 64 * (64 * (1 + 64) + 64 * 3 * 128 / 4 + 128 * 3 * 256 / 16 + 256 * 3 * 512 / 64)
    print(
        "\nconvolutions of 20 s of audio, one thread, beside the best that a matrix product or a large convolution "
        "reaches here"
    )
    torch.set_num_threads(1)
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        folded = network.backbone.folded(dtype)
        with torch.inference_mode():
            ours = n_operations / _fastest(partial(folded, log_mel))
            peak = _peak(dtype)
        print(f"  {name:10}{ours / 1e9:8.0f} of {peak / 1e9:.0f} GFLOP/s, {100 * ours / peak:.0f} %")
    torch.set_num_threads(n_processors())


def choices(folder: Path, paths: dict[str, str]) -> None:
    """Prints the choices of the engine beside their alternatives, with one thread."""
    torch.set_num_threads(1)
    file = folder / "choices.flac"
    write(file, 120.0, 4)
    print("\nwhat was chosen, beside what was not, one thread")
    network = hub.load_network(paths["torch"])
    log_mel = torch.randn(1, 800, 64)
    with torch.inference_mode():
        for name, backbone in (
            ("backbone, 20 s of audio", network.backbone),
            ("... batch norms folded", network.backbone.folded()),
            ("... and bf16", network.backbone.folded(torch.bfloat16)),
        ):
            print(f"  {name:34}{1e3 * _fastest(partial(backbone, log_mel)):8.1f} ms")
    usual = engine.CHUNK_SECONDS
    for kind in ("torch", "int8"):
        tagger = hub.load(paths[kind], 1)
        for seconds in (10.0, 20.0, 40.0, 60.0):
            engine.CHUNK_SECONDS = seconds  # type: ignore[misc]
            took = _fastest(partial(tagger.score, file), 5)
            print(f"  {f'{kind}, 120 s in chunks of {seconds:g} s':34}{1e3 * took:8.0f} ms")
    engine.CHUNK_SECONDS = usual  # type: ignore[misc]
    decoded = 1e3 * _fastest(lambda: list(load_blocks(file, 32000, 10.0)), 5)
    print(f"  {'decoding and resampling alone':34}{decoded:8.0f} ms")
    stereo = np.random.default_rng(0).standard_normal((RATE * 20, 2)).astype(np.float32)
    for name, mean in (
        ("mean of two channels, NumPy", partial(stereo.mean, axis=1)),
        ("... ours", partial(average_channels, stereo)),
    ):
        print(f"  {name:34}{1e3 * _fastest(mean):8.2f} ms for 20 s")
    torch.set_num_threads(n_processors())


def _peak(dtype: torch.dtype, device: torch.device | None = None) -> float:
    """Operations a second, the best of a matrix product and a large convolution, without TF32."""
    device = device or torch.device("cpu")
    size, n = (2048, 1) if device.type == "cpu" else (8192, 64)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = 2 * size**3 / _fastest(lambda: (a @ b, _wait(device)))
    x = torch.randn(n, 512, 64, 64, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        took = _fastest(lambda: (F.conv2d(x, weight, padding=1), _wait(device)))
    return max(product, 2 * 9 * n * 512 * 512 * 64 * 64 / took)


def _fastest(function: Callable[[], object], times: int = 7) -> float:
    function()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def mn(width: int) -> Network:
    """An mn of this width in percent, with random weights and AudioSet's labels."""
    torch.manual_seed(0)
    head = {"classifier_activation": "hardswish", "classifier_width": hidden_width(width), "dropout": 0.2}
    config = NetworkConfig(FRONTEND, backbone="mn", width=width, pooling="mean", block_dropout=0.0, **head)  # type: ignore[arg-type]
    network = Network(config, LabelSet.audioset()).eval()
    network.extra["clip_duration"] = 10.0
    return network


def plain_mn(width: int, files: list[Path]) -> Callable[[], None]:
    """Returns a function that tags files in windows of 10 s, one after the other, by the published definition."""
    model = PlainMn(width / 100, 527).eval()

    def run() -> None:
        torch.set_num_threads(n_processors())
        for file in files:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
            waveform = torch.from_numpy(soxr.resample(samples.mean(axis=1), rate, 32000))
            with torch.no_grad():
                for window in waveform.split(320000):
                    model(window[None])

    return run


def only_decoded(files: list[Path], n_jobs: int) -> Callable[[], None]:
    """Returns a function that decodes and resamples files to 32 kHz, several at a time, and does nothing else."""

    def run() -> None:
        with ThreadPoolExecutor(n_jobs) as pool:
            list(pool.map(lambda file: sum(map(len, load_blocks(file, 32000, 10.0))), files))

    return run


def mn_pipeline(folder: Path, paths: dict[str, str], n_files: int, seconds: float) -> None:
    """Prints the speed of mn04 beside the paper's network and beside the published definition, whole pipeline."""
    files = [folder / f"mn{number}.flac" for number in range(n_files)]
    for number, file in enumerate(files):
        write(file, seconds, number)
    network = mn(40)
    network.save(folder / "mn04.safetensors")
    export(network, folder / "mn04.onnx")
    runs = {
        "mn04, published definition, eager": plain_mn(40, files),
        "paper's network, PyTorch, float32": tagged(paths["torch"], files),
        "mn04, PyTorch, float32": tagged(str(folder / "mn04.safetensors"), files),
        "mn04, ONNX Runtime, float32": tagged(str(folder / "mn04.onnx"), files),
        "decoding and resampling alone": only_decoded(files, n_processors()),
    }
    took = median_seconds(runs, 3)
    definition, paper = list(took.values())[:2]
    n_cores = n_processors()
    print(f"\nmn04, whole pipeline, {n_files} files of {seconds:g} s, {n_cores} processors: seconds of audio a second")
    for name, each in took.items():
        ratios = f"{paper / each:6.1f} times the paper's network   {definition / each:5.1f} times the definition"
        print(f"  {name:34}{n_files * seconds / each:8.0f}   {ratios}")


def mn_memory(folder: Path) -> None:
    """Prints time and peak memory of mn04 on 10 and 60 minutes, each in a new process."""
    mn(40).save(folder / "mn04.safetensors")
    print("\nmn04, each command in a process of its own")
    for minutes in (10, 60):
        file = folder / "long.flac"
        write(file, 60.0 * minutes, 2)
        for command in (["tag"], ["timeline", "--threshold", "1"]):
            words = [command[0], str(file), *command[1:], "--model", str(folder / "mn04.safetensors")]
            took, peak = _measured([*words, "--json", "--quiet"])
            print(f"  {minutes:3} min  {' '.join(command):24}{took:8.1f} s   peak {peak:5.0f} MB")
        file.unlink()


def on_device(name: str, peak: float | None) -> None:
    """Prints the clips of 10 s a second on a device, and the share of its peak, for several batch sizes.

    A clip counts twice its multiplications in convolutions and linear layers. With copies: from and to NumPy.
    """
    device = torch_device(name)
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    peak = _peak(torch.float32, device) if peak is None else 1e12 * peak
    print(f"\nclips of 10 s on {kind}, float32; peak {peak / 1e12:.2f} TFLOP/s")
    torch.manual_seed(0)
    paper = Network(NetworkConfig(FrontendConfig()), LabelSet.audioset())
    for title, network in {"the paper's": paper, "mn04": mn(40), "mn10": mn(100)}.items():
        n_operations = 2 * multiplications(network)
        on = TorchEngine(network.to(device))
        for n_clips in (1, 2) if device.type == "cpu" else (1, 4, 8, 16, 32, 64):
            clips = (0.1 * np.random.default_rng(0).standard_normal((n_clips, 320000))).astype(np.float32)
            waveforms = torch.from_numpy(clips).to(device)
            runs = {"network alone": partial(_tensors, on, waveforms), "with copies": partial(_arrays, on, clips)}
            for how, run in runs.items():
                rate = n_clips / _fastest(run, 5)
                share = 100 * rate * n_operations / peak
                print(f"  {title:12}{n_clips:4} a call, {how:14}{rate:10.1f} clips/s   {share:5.1f} % of the peak")


def _tensors(on: TorchEngine, waveforms: torch.Tensor) -> None:
    with torch.inference_mode():
        on.network.classify(on._encode(waveforms))
    _wait(waveforms.device)


def _arrays(on: TorchEngine, clips: np.ndarray) -> None:
    on.classify(on.encode(clips))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(folder: Path, long: bool) -> None:
    """Prints time and peak memory of the shipped model on a minute, an hour and ten hours, each in a new process."""
    lengths = [60.0, 3600.0, *([36000.0] if long else [])]
    print("\nthe shipped model, each command in a process of its own")
    for seconds in lengths:
        file = folder / "long.flac"
        write(file, seconds, 2)
        for command in (["tag"], ["timeline", "--window", "10", "--hop", "1"]):
            took, peak = _measured([command[0], str(file), *command[1:], "--json", "--quiet"])
            print(f"  {seconds / 3600:6.2f} h  {' '.join(command):34}{took:8.1f} s   peak {peak:5.0f} MB")
        file.unlink()


def cold(folder: Path, paths: dict[str, str]) -> None:
    """Prints the time from the start of a process to the tags of a clip of 5 s."""
    file = folder / "clip.flac"
    write(file, 5.0, 3)
    print("\ncold start of `earmark tag clip.flac`, the best of 5")
    for name, words in (("shipped model", []), ("... in PyTorch", ["--engine", "torch"])):
        took = min(_measured(["tag", str(file), "--quiet", *words])[0] for _ in range(5))
        print(f"  {name:34}{took:8.2f} s")


def _measured(words: list[str]) -> tuple[float, float]:
    """Seconds and peak memory (MB) of a command of earmark."""
    code = (
        "import json, os, resource, subprocess, sys, time; start = time.perf_counter();"
        "subprocess.run([sys.executable, '-m', 'earmark', *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL);"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024;"
        "print(json.dumps([time.perf_counter() - start, peak]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True, env=os.environ
    )
    took, peak = json.loads(done.stdout)
    return took, peak


def main() -> None:
    """Prints the figures, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each file of the pipeline")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="pipeline,timeline,convolutions,choices,memory,cold", help="parts")
    parser.add_argument("--device", help="only the speed of networks on this device: cpu, cuda, cuda:N or mps")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device in float32; measured when missing")
    arguments = parser.parse_args()
    if arguments.device is not None:
        on_device(arguments.device, arguments.peak)
        return
    wanted = arguments.only.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = models(folder) if {"pipeline", "timeline", "choices", "cold", "mn"}.intersection(wanted) else {}
        if "pipeline" in wanted:
            pipeline(folder, paths, arguments.files, arguments.seconds)
        if "timeline" in wanted:
            timelines(folder, paths, 600.0)
        if "convolutions" in wanted:
            convolutions()
        if "choices" in wanted:
            choices(folder, paths)
        if "memory" in wanted:
            memory(folder, arguments.long)
        if "cold" in wanted:
            cold(folder, paths)
        if "mn" in wanted:
            mn_pipeline(folder, paths, arguments.files, arguments.seconds)
        if "mn-memory" in wanted:
            mn_memory(folder)


if __name__ == "__main__":
    main()
