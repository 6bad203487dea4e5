"""Cost of the recipes: parameters, multiplications, clips per second when tagging and in a training step.

python benchmarks/bench_recipes.py [--batch-size 8] [--only paper,fine,light]

Every recipe's network has AudioSet's labels, random weights and clips of 10 s, so that the lines are comparable.
Tagging goes from waveform to scores, one clip at a time; a training step is forward, backward and update,
without data. Other programs running at the same time distort the figures.
"""

import argparse
from dataclasses import replace

import torch
from bench_training import bare_step, fastest, multiplications

from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.training.machine import chosen_device, chosen_precision, describe, keep_big_buffers
from earmark.training.recipes import RECIPES

SECONDS = 10.0


def clips_tagged(network: Network, precision: str) -> float:
    """Clips tagged per second."""
    engine = TorchEngine(network, precision=precision)  # type: ignore[arg-type]
    waveform = (0.1 * torch.randn(round(SECONDS * engine.sample_rate))).numpy()
    return 1 / fastest(lambda: engine.classify(engine.encode(waveform[None])))


def clips_trained(network: Network, precision: str, batch_size: int) -> float:
    """Clips trained on per second."""
    frontend = network.config.frontend
    n_frames = round(SECONDS / frontend.seconds_per_frame)
    log_mel = torch.randn(batch_size, n_frames, frontend.n_mels, device=network.device)
    return batch_size / bare_step(network, log_mel, precision, torch.get_num_threads())


def main() -> None:
    """Prints a Markdown table with a row for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--only", default=",".join(RECIPES))
    arguments = parser.parse_args()
    config = next(iter(RECIPES.values())).config
    device = chosen_device(config)
    # bf16 where the machine has instructions for it
    precisions = sorted({"float32", chosen_precision(replace(config, precision="auto"), device)}, reverse=True)
    keep_big_buffers()
    print(f"{describe(device)}; clips of {SECONDS:g} s, {arguments.batch_size} to a training step; clips/s\n")
    heads = [f"{what}, {precision}" for what in ("tagging", "training") for precision in precisions]
    print("| recipe | parameters | multiplications a clip |", " | ".join(heads), "|")
    print("|---|---|---|" + "---|" * len(heads))
    for name in arguments.only.split(","):
        torch.manual_seed(0)
        network = Network(RECIPES[name].config.network_config(), LabelSet.audioset()).to(device)
        rates = [clips_tagged(network, precision) for precision in precisions]
        rates += [clips_trained(network, precision, arguments.batch_size) for precision in precisions]
        counts = f"{network.n_parameters:,} | {multiplications(network) / 1e6:,.0f} million"
        print(f"| {name} | {counts} |", " | ".join(f"{rate:.1f}" for rate in rates), "|", flush=True)


if __name__ == "__main__":
    main()
