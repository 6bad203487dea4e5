"""Training the paper's network with earmark, and with a plain PyTorch loop, one after the other on this machine.

python benchmarks/bench_loop.py [--steps 12] [--rounds 3] [--batch-size 32] [--width 64] [--clips 64] [--device cpu]

Each runs in a new process (peak memory includes its readers), reads the same 10 s FLAC files at 32 kHz with one reader
per processor, and is timed with its data. They take turns for `--rounds` rounds, so that a machine that slows down
slows all. The first steps of each round do not count; the figures are medians over rounds. Other programs running at
the same time distort them.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_training import convolutions, noise

N_LABELS = 527
SECONDS = 10.0
_SKIPPED = 3
"""Number of warm-up steps of each round."""


def plain(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """A round of the plain loop."""
    import plain_loop

    from earmark.model.mel import FrontendConfig, mel_filters

    files = sorted(folder.glob("*.flac"))
    targets = np.random.default_rng(0).integers(0, 100, (len(files), N_LABELS)).clip(97) - 97 > 0
    times = plain_loop.train(
        files, targets.astype(np.float32), mel_filters(FrontendConfig()), SECONDS, arguments.batch_size,
        arguments.steps, arguments.readers, arguments.device, arguments.width,
    )  # fmt: skip
    return {"clips_per_second": arguments.batch_size / median(times[_SKIPPED:])}


def earmark(arguments: argparse.Namespace, folder: Path, cache: str, precision: str) -> dict[str, float]:
    """A round of `earmark.training.train` with the paper's recipe."""
    from dataclasses import replace

    from earmark.data.clips import Clip, Dataset, FileAudio
    from earmark.labels import LabelSet
    from earmark.training import train
    from earmark.training.recipes import recipe

    labels = LabelSet.audioset()
    clips = []
    for number, path in enumerate(sorted(folder.glob("*.flac"))):
        chosen = np.random.default_rng(number).choice(N_LABELS, 3, replace=False)
        clips.append(Clip(path.stem, tuple(labels.names[label] for label in chosen), FileAudio(path)))
    config = replace(
        recipe("paper"),
        width=arguments.width,
        batch_size=arguments.batch_size,
        n_clips_seen=arguments.steps * arguments.batch_size,
        clips_per_epoch=_SKIPPED * arguments.batch_size,
        device=arguments.device,
        cache=cache,
        precision=precision,
        compiled=arguments.device == "cuda",
        n_workers=arguments.readers,
    )
    with tempfile.TemporaryDirectory() as out:
        history = train(config, Dataset("noise", labels, tuple(clips)), Path(out) / "run", progress=False).history
    rows = history[1:]
    return {
        "clips_per_second": median(row.clips_per_second for row in rows),
        "data_share": median(row.data_share for row in rows),
    }


KINDS = {
    "plain loop, float32": plain,
    "earmark, float32": lambda *given: earmark(*given, cache="none", precision="float32"),
    "earmark, as it is": lambda *given: earmark(*given, cache="none", precision="auto"),
    "earmark, log-mels in memory": lambda *given: earmark(*given, cache="log_mel", precision="auto"),
}


def peak_gib() -> float:
    """Peak memory of this process and the largest of its readers."""
    own, readers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + readers) / 2**20


def share_of_peak(arguments: argparse.Namespace, clips_per_second: float) -> str:
    """Speed of the convolutions at this training rate, as a share of the speed of a matrix product."""
    from earmark.labels import LabelSet
    from earmark.model.network import Network, NetworkConfig

    network = Network(NetworkConfig(width=arguments.width), LabelSet.audioset())
    with torch.inference_mode(False):
        operations = sum(one.operations for one in convolutions(network, torch.zeros(1, 400, 64)))
    device = torch.device(arguments.device)
    a, b = (torch.randn(4096 if device.type == "cuda" else 2048, 4096, device=device).bfloat16() for _ in range(2))
    from bench_training import fastest

    peak = 2 * a.shape[0] ** 2 * 4096 / fastest(lambda: a @ b.T, times=10)
    rate = operations * clips_per_second
    share = f"{100 * rate / peak:.0f} % of what a bf16 matrix product reaches ({peak / 1e9:.0f})"
    return f"convolutions of the fastest: {rate / 1e9:.0f} GFLOP/s, {share}"


def main() -> None:
    """Prints the figures, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 12), ("rounds", 3), ("batch-size", 32), ("width", 64), ("clips", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--readers", type=int, default=min(8, torch.multiprocessing.cpu_count()))
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        result = KINDS[arguments.only](arguments, arguments.folder)
        result["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30 if arguments.device == "cuda" else peak_gib()
        sys.stdout.write(json.dumps(result) + "\n")
        return
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        noise(Path(name), arguments.clips, SECONDS, 32000)
        for _ in range(arguments.rounds):
            for kind in KINDS:
                command = [sys.executable, __file__, *sys.argv[1:], "--only", kind, "--folder", name]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{where}; width {arguments.width}, {SECONDS:g} s clips, batch {arguments.batch_size}")
    rates = {kind: median(one["clips_per_second"] for one in rounds) for kind, rounds in found.items()}
    for kind, rounds in found.items():
        spread = ", ".join(f"{one['clips_per_second']:.2f}" for one in rounds)
        times = rates[kind] / rates["plain loop, float32"]
        memory = median(one["peak_gib"] for one in rounds)
        shares = [one["data_share"] for one in rounds if "data_share" in one]
        waits = f", waits for data {100 * median(shares):.1f} % of the time" if shares else ""
        print(f"{kind:30}{rates[kind]:8.2f} clips/s ({spread}), {times:.2f} times, {memory:.1f} GiB{waits}")
    print(share_of_peak(arguments, max(rates.values())))


if __name__ == "__main__":
    main()
