"""Writes results/precision.md: the effect of lower precision on a model's mAP and scores."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from earmark import hub
from earmark.data import Dataset, open_data
from earmark.evaluation.report import Report, measure
from earmark.export.onnx_file import export
from earmark.inference.engine import Engine
from earmark.inference.onnx_engine import OnnxEngine
from earmark.inference.torch_engine import TorchEngine
from earmark.inference.windows import sigmoid
from experiments.steps import RESULTS, commit


def precision(bank: Path, model: str, *, n_clips: int = 200) -> None:
    """Compare a model in float32, in bf16, exported, and exported in 8 bits.

    Args:
        bank: Folder of ESC-50.
        model: A checkpoint that was not trained on fold 5.
        n_clips: Number of clips to calibrate the 8-bit model with.
    """
    sounds = open_data(f"esc50:{bank}")
    network = hub.load_network(model)
    known, clips = sounds.select(splits=("1", "2", "3")), sounds.select(splits=("5",))
    chosen = np.linspace(0, len(known) - 1, n_clips).round().astype(int).tolist()
    rate = network.config.frontend.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Engine] = {
            "PyTorch, float32": TorchEngine(network),
            "PyTorch, bf16": TorchEngine(network, precision="bf16"),
        }
        for name, recordings in (("float32", None), ("int8", (known[i].load(rate).waveform for i in chosen))):
            path = Path(folder, f"{name}.onnx")
            export(network, path, recordings)
            engines[f"ONNX Runtime, {name}"] = OnnxEngine(path)
        reports = {name: _report(name, engine, clips) for name, engine in engines.items()}
    text = page(reports, Path(model).name, n_clips)
    (RESULTS / "precision.md").write_text(text, encoding="utf-8")
    print(text, end="")


def page(reports: Mapping[str, Report], model: str, n_calibration_clips: int) -> str:
    """The page: a Markdown table, one row for each engine; the first is the reference."""
    first = next(iter(reports.values()))
    text = (
        "# Effect of lower precision\n\nWritten by `python -m experiments precision ESC-50-FOLDER MODEL`, commit "
        f"{commit()}: {model} on the {len(first.ids)} clips of ESC-50's fold 5; int8 "
        f"calibrated with {n_calibration_clips} clips of folds 1 to 3.\n\n"
        "| engine | mAP | difference | top-1 | largest and mean change of a score |\n|---|---:|---:|---:|---:|\n"
    )
    for name, report in reports.items():
        change = np.abs(report.scores - first.scores)
        text += (
            f"| {name} | {report.mAP:.4f} | {report.mAP - first.mAP:+.4f} | {report.top1 or 0:.4f} | "
            f"{change.max():.2g}, {change.mean():.2g} |\n"
        )
    return text


def _report(name: str, engine: Engine, clips: Dataset) -> Report:
    columns = [engine.labels.index(label) for label in clips.labels]
    waveforms = (clip.load(engine.sample_rate).waveform for clip in clips)
    logits = np.stack([engine.classify(engine.encode(waveform[None]))[0, columns] for waveform in waveforms])
    return measure(
        np.stack([clips.labels.encode(clip.labels) for clip in clips]) > 0,
        sigmoid(logits),
        ids=[clip.id for clip in clips],
        labels=clips.labels,
        model=name,
        data=clips.name,
    )
