"""What lower precision costs: a model in float32 and bf16, exported, and exported in 8 bits; writes precision.md.

python results/precision.py ESC-50-FOLDER MODEL [--n-clips 200]

Calibrated on folds 1 to 3, measured on fold 5: MODEL must not know it, such as three-folds.safetensors, which
results/esc50_model.sh makes (the model that ships was trained on fold 5 too).
"""

import argparse
import subprocess
import sys
import tempfile
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

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bank", type=Path, help="folder of ESC-50")
    parser.add_argument("model", help="a .safetensors checkpoint")
    parser.add_argument("--n-clips", type=int, default=200, help="to calibrate with")
    arguments = parser.parse_args()
    bank = open_data(f"esc50:{arguments.bank}")
    network = hub.load_network(arguments.model)
    known, clips = bank.select(splits=("1", "2", "3")), bank.select(splits=("5",))
    places = np.linspace(0, len(known) - 1, arguments.n_clips).round().astype(int)
    rate = network.config.frontend.sample_rate
    with tempfile.TemporaryDirectory() as folder:
        engines: dict[str, Engine] = {
            "PyTorch, float32": TorchEngine(network),
            "PyTorch, bf16": TorchEngine(network, precision="bf16"),
        }
        for name, recordings in (("float32", None), ("int8", (known[i].load(rate).waveform for i in places.tolist()))):
            path = Path(folder, f"{name}.onnx")
            export(network, path, recordings)
            engines[f"ONNX Runtime, {name}"] = OnnxEngine(path)
        reports = {name: _report(name, engine, clips) for name, engine in engines.items()}
    commit = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=HERE, capture_output=True, text=True)
    text = (
        "# What lower precision costs\n\nWritten by `python results/precision.py ESC-50-FOLDER MODEL`, commit "
        f"{commit.stdout.strip()}: {Path(arguments.model).name} on the {len(clips)} clips of ESC-50's fold 5; int8 "
        f"calibrated with {len(places)} clips of folds 1 to 3.\n\n"
        "| engine | mAP | difference | top-1 | largest and mean change of a score |\n|---|---:|---:|---:|---:|\n"
    )
    first = reports["PyTorch, float32"]
    for name, report in reports.items():
        change = np.abs(report.scores - first.scores)
        text += (
            f"| {name} | {report.mAP:.4f} | {report.mAP - first.mAP:+.4f} | {report.top1 or 0:.4f} | "
            f"{change.max():.2g}, {change.mean():.2g} |\n"
        )
    (HERE / "precision.md").write_text(text)
    sys.stdout.write(text)


def _report(name: str, engine: Engine, clips: Dataset) -> Report:
    columns = [engine.labels.index(label) for label in clips.labels]
    waveforms = (clip.load(engine.sample_rate).waveform for clip in clips)
    logits = np.stack([engine.classify(engine.encode(waveform)[None])[0, columns] for waveform in waveforms])
    return measure(
        np.stack([clips.labels.encode(clip.labels) for clip in clips]) > 0,
        sigmoid(logits),
        ids=[clip.id for clip in clips],
        labels=clips.labels,
        model=name,
        data=clips.name,
    )


if __name__ == "__main__":
    main()
