"""Writes results/frozen-backbone.md and .json: heads on a frozen published network, on clips and on soundscapes."""

import json
import os
import platform
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any, Final

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.data import Dataset, open_data
from earmark.evaluation.report import evaluate
from earmark.model.head_settings import PoolingName
from earmark.parallel.processors import n_processors
from earmark.training import TrainConfig, train
from earmark.training.encoding import encode
from experiments import esc50_model
from experiments.steps import RESULTS, check_inputs, commit, earmark

KEPT: Final = RESULTS / "frozen-backbone.json"
HEADS: Final[dict[str, PoolingName]] = {
    "linear layer on the mean": "mean",
    "linear layer on attentive statistics": "attentive_stats",
    "linear layer on GMAP": "gmap",
}
"""Heads with the names of their poolings."""
SEEDS: Final = (0, 1, 2)
SETTINGS: Final = TrainConfig(
    classifier_layers=1,
    n_clips_seen=36_000,
    clips_per_epoch=36_000,
    batch_size=128,
    learning_rate=3e-3,
    weight_decay=0.01,
    ema_decay=0.99,
    mixup_alpha=1.0,
    balanced=False,
    device="cpu",
    precision="float32",
)
"""The same for all heads, without a search."""
_TRAIN, _TEST = ("1", "2", "3"), ("5",)


def frozen_backbone(
    bank: Path | None = None,
    work: Path | None = None,
    model: Path | None = None,
    *,
    n_mixed: int = 2000,
    command_only: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare heads on a frozen network, on single clips and on soundscapes.

    Args:
        bank: Folder of ESC-50.
        work: Folder for soundscapes, encoded clips and runs; an interrupted command continues there.
        model: Weights of a published network, such as mn04_as_mAP_432.pt.
        n_mixed: Soundscapes to train on; a fifth of them to test on.
        command_only: Measure only the one command on single clips, and keep the other figures.
    """
    if bank is not None and work is not None and model is not None:
        work.mkdir(parents=True, exist_ok=True)
        check_inputs(work, model=model)
        one_command = _one_command(bank, work, model)
        kept = json.loads(KEPT.read_text()) if command_only else _heads(bank, work, model, n_mixed)
        KEPT.write_text(json.dumps({**kept, "one_command": one_command}, indent=1) + "\n", encoding="utf-8")
    elif bank is not None or work is not None or model is not None:
        raise CycloptsError("BANK, WORK and MODEL were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text())), encoding="utf-8")


def _heads(bank: Path, work: Path, model: Path, n_mixed: int) -> dict[str, Any]:
    """The figures of all heads on both tasks."""
    folder = work / f"mixed-{n_mixed}"
    return {
        "model": model.name,
        "commit": commit(),
        "machine": f"{platform.machine()}, {n_processors()} processors",
        "n_mixed": n_mixed,
        "tasks": {name: _task(folder / name, *data, model) for name, data in _data(bank, work, n_mixed).items()},
    }


def _one_command(bank: Path, work: Path, model: Path) -> dict[str, Any]:
    """The figures of one command that encodes, trains and joins with default settings; they are measured once."""
    kept, out = work / "one-command.json", work / "one-command"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    shutil.rmtree(out, ignore_errors=True)  # an interrupted run would shorten the measured time
    words = ["--split", ",".join(_TRAIN), "--valid-split", ",".join(_TEST)]
    words += ["--init", str(model.resolve()), "--freeze", "backbone", "--out", str(out.resolve()), "--quiet"]
    wall, before = time.monotonic(), os.times()
    earmark("train", f"esc50:{bank.resolve()}", *words, folder=work)
    seconds, after = time.monotonic() - wall, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    report = evaluate(
        hub.load_stages(out / "last.safetensors"), open_data(f"segments:{out / 'segments' / 'validation'}")
    )
    figures: dict[str, Any] = {"top1": report.top1, "mAP": report.mAP}
    figures |= {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}
    figures |= {"commit": commit(), "machine": f"{platform.machine()}, {n_processors()} processors"}
    kept.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def _data(bank: Path, work: Path, n_mixed: int) -> dict[str, tuple[Dataset, Dataset]]:
    """Training and test clips of each task."""
    clips = open_data(f"esc50:{bank}")
    mixed = []
    for part, splits, n_clips, seed in (("train", _TRAIN, n_mixed, 1), ("test", _TEST, n_mixed // 5, 2)):
        words = ["--split", ",".join(splits), "--n-clips", n_clips, "--seed", seed, "--quiet"]
        earmark("soundscapes", f"esc50:{bank.resolve()}", f"mixed-{part}-{n_mixed}", *words, folder=work)
        mixed.append(open_data(f"soundscapes:{work / f'mixed-{part}-{n_mixed}'}"))
    return {"clips": (clips.select(splits=_TRAIN), clips.select(splits=_TEST)), "soundscapes": (mixed[0], mixed[1])}


def _task(folder: Path, train_clips: Dataset, test_clips: Dataset, model: Path) -> dict[str, Any]:
    """Seconds of encoding, and the runs of all heads."""
    kept = folder / "encoded.json"
    if not kept.is_file():
        start = time.monotonic()
        encode(train_clips, str(model), folder / "train")
        encode(test_clips, str(model), folder / "test")
        kept.write_text(json.dumps({"seconds": round(time.monotonic() - start, 1)}), encoding="utf-8")
    data, test = open_data(f"segments:{folder / 'train'}"), open_data(f"segments:{folder / 'test'}")
    runs = [_run(folder, data, test, head, seed) for head in HEADS for seed in SEEDS]
    return {
        "n_train": len(data),
        "n_test": len(test),
        "encode_seconds": json.loads(kept.read_text())["seconds"],
        "runs": runs,
    }


def _run(folder: Path, data: Dataset, test: Dataset, head: str, seed: int) -> dict[str, Any]:
    """The figures of one head and seed; a finished run is not repeated."""
    out = folder / f"{HEADS[head]}-{seed}"
    kept = out.with_suffix(".json")
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    config = replace(SETTINGS, pooling=HEADS[head], seed=seed)
    shutil.rmtree(
        out, ignore_errors=True
    )  # an interrupted run starts again, so that its seconds are those of a whole one
    start = time.monotonic()
    result = train(config, data, out, progress=False)
    seconds = time.monotonic() - start
    report = evaluate(hub.load_stages(result.last), test)
    figures = {"head": head, "seed": seed, "top1": report.top1, "mAP": report.mAP, "seconds": round(seconds, 1)}
    print(figures, file=sys.stderr)
    kept.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def page(results: dict[str, Any]) -> str:
    """The page: a table for each task."""
    text = (
        "# Heads on a frozen network\n\n"
        "Written by `python -m experiments frozen-backbone ESC-50 WORK MODEL`. The model is "
        f"{results['model']} (commit {results['commit']}), on {results['machine']}. Clips were encoded once; the heads "
        "were trained on the segments. Sounds of ESC-50's folds 1 to 3 train, those of fold 5 test. Each row is the "
        f"mean of seeds {', '.join(map(str, SEEDS))} with its standard deviation; seconds are those of one training, "
        "beside whatever else ran on the machine.\n\n"
        f"All heads have the same settings: {SETTINGS.n_clips_seen} clips seen in batches of {SETTINGS.batch_size}, "
        f"Adam at {SETTINGS.learning_rate:g} with weight decay {SETTINGS.weight_decay:g}, a cosine schedule, mixup, a "
        "moving average of the weights. A single clip of 5 s has one label; a soundscape of 10 s has one to four.\n"
    )
    if "one_command" in results:
        text += _beside_full_training(results["one_command"])
    titles = {"clips": "Single clips", "soundscapes": "Soundscapes"}
    for name, task in results["tasks"].items():
        n_clips = task["n_train"] + task["n_test"]
        text += (
            f"\n## {titles[name]}\n\n{task['n_train']} clips train, {task['n_test']} test. Encoding all {n_clips} took "
            f"{task['encode_seconds']:.0f} s.\n\n| head | top-1 | mAP | seconds |\n|---|---:|---:|---:|\n"
        )
        for head in HEADS:
            runs = [run for run in task["runs"] if run["head"] == head]
            top1 = "-" if runs[0]["top1"] is None else _spread([run["top1"] for run in runs])
            seconds = mean(run["seconds"] for run in runs)
            text += f"| {head} | {top1} | {_spread([run['mAP'] for run in runs])} | {seconds:.0f} |\n"
    return text


def _beside_full_training(figures: dict[str, Any]) -> str:
    """The section that compares the one command with the full training of earmark-esc50 on the same clips."""
    full = json.loads(esc50_model.KEPT.read_text(encoding="utf-8"))["as they are"]
    record = json.loads((esc50_model.RUNS / "run.json").read_text(encoding="utf-8"))
    config = record["config"]
    return (
        "\n## One command beside full training\n\n"
        "`earmark train esc50:ESC-50 --split 1,2,3 --valid-split 5 --init MODEL --freeze backbone --out RUN` encodes "
        "the clips, trains a head with default settings and joins both "
        f"(commit {figures['commit']}, {figures['machine']}). Full training is that of the recipe "
        "`esc50` on [folds 1 to 3](esc50-model.md): all layers, from random weights, on the same clips. The "
        "frozen network was trained on AudioSet before, so the "
        "rows compare two ways to get a tagger, not two networks. Seconds are those of the whole "
        "command in the first row, and of the training alone in the second, while other programs ran; processor time "
        "is that of all threads.\n\n"
        "| training | clips seen | top-1 | mAP | seconds | processor time |\n|---|---:|---:|---:|---:|---:|\n"
        f"| one command, frozen backbone | {TrainConfig().n_clips_seen} | {figures['top1']:.3f} | "
        f"{figures['mAP']:.3f} | {figures['seconds']:.0f} | {figures['cpu_seconds']:.0f} s |\n"
        f"| full, recipe esc50 | {config['n_clips_seen']} | {full['top1']:.3f} | {full['mAP']:.3f} | "
        f"{record['result']['last']['seconds']:.0f} | - |\n"
    )


def _spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}"
