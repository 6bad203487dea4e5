"""Writes results/first-run.md: GMAP and mean pooling trained on soundscapes from ESC-50, measured on fold 5."""

import csv
import json
from pathlib import Path
from typing import Any, Final

from cyclopts import CycloptsError

from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.training import TrainConfig
from experiments.steps import RESULTS, earmark, resume, short_commit

KEPT: Final = RESULTS / "first-run"
RUNS: Final = (
    "esc10-gmap",
    "esc10-mean",
    *(f"esc50-{pooling}-{n_clips}" for n_clips in (12000, 36000) for pooling in ("gmap", "mean")),
)


def first_run(bank: Path | None = None, work: Path | None = None) -> None:
    """Train GMAP and mean pooling on soundscapes from ESC-50, with the same budget.

    Args:
        bank: Folder of ESC-50.
        work: Folder for soundscapes, runs and reports.
    """
    if (bank is None) != (work is None):
        raise CycloptsError("both BANK and WORK were expected, or neither to write the page again")
    if bank is not None and work is not None:
        work.mkdir(parents=True, exist_ok=True)
        train_and_evaluate(f"esc50:{bank.resolve()}", work)
        collect(work)
    (RESULTS / "first-run.md").write_text(page(), encoding="utf-8")


def train_and_evaluate(bank: str, work: Path) -> None:
    """Mixes the soundscapes, trains the six networks and evaluates each; finished parts are skipped, runs resume."""
    for labels, n_train in (("esc10", 12000), ("esc50", 8000)):
        chosen = ["--labels", labels] if labels == "esc10" else []
        for part, splits, n_clips, seed in (("train", "1,2,3", n_train, 1), ("test", "5", 1000, 2)):
            mixed = [*_MIXING, "--split", splits, "--n-clips", n_clips, "--seed", seed]
            earmark("soundscapes", bank, f"{labels}-{part}", *mixed, *chosen, folder=work)
    for pooling in ("gmap", "mean"):
        _train("esc10", pooling, 24000, 4800, f"esc10-{pooling}", work)
        for budget in (12000, 36000):
            _train("esc50", pooling, budget, 4000, f"esc50-{pooling}-{budget}", work)


_MIXING: Final = ("--event-duration", "0.4", "2.0", "--sample-rate", "16000")
_NETWORK: Final = ("--sample-rate", 16000, "--width", 16)
_OPTIMIZATION: Final = ("--batch-size", 16, "--learning-rate", "2e-3", "--seed", 0)
_REGULARISATION: Final = ("--mixup-alpha", 0, "--no-spec-augment", "--block-dropout", 0, "--dropout", 0.2)


def _train(labels: str, pooling: str, n_clips_seen: int, clips_per_epoch: int, name: str, work: Path) -> None:
    run, test = f"runs/{name}", f"soundscapes:{labels}-test"
    budget = ["--n-clips-seen", n_clips_seen, "--clips-per-epoch", clips_per_epoch, *resume(work / run)]
    data = [f"soundscapes:{labels}-train", "--valid", test, "--out", run, "--pooling", pooling]
    earmark("train", *data, *_NETWORK, *_OPTIMIZATION, *_REGULARISATION, *budget, folder=work)
    earmark("evaluate", f"{run}/last.safetensors", test, "--out", f"reports/{name}", folder=work)


def collect(work: Path) -> None:
    """Copies the report, history and settings of each run from the work folder to results/."""
    for name in RUNS:
        if not (work / "reports" / name / "report.json").exists():
            continue
        target = KEPT / name
        target.mkdir(parents=True, exist_ok=True)
        for file in (
            work / "reports" / name / "report.json",
            *(work / "runs" / name / f for f in ("metrics.csv", "run.json")),
        ):
            # without the path of the work folder, which differs between machines
            (target / file.name).write_text(file.read_text().replace(f"{work.resolve()}/", ""))


def n_parameters(run: dict[str, Any]) -> int:
    """Number of parameters of the network that a run trained."""
    labels = LabelSet(tuple(map(str, range(run["data"]["train"]["n_labels"]))))
    return Network(TrainConfig.from_json(run["config"]).network_config(), labels).n_parameters


def page() -> str:
    """The page: settings, figures, learning curves."""
    done = [name for name in RUNS if (KEPT / name / "report.json").exists()]
    reports = {name: json.loads((KEPT / name / "report.json").read_text()) for name in done}
    runs = {name: json.loads((KEPT / name / "run.json").read_text()) for name in done}
    curves = {name: list(csv.DictReader((KEPT / name / "metrics.csv").open())) for name in done}
    text = (RESULTS / "first-run.head.md").read_text()
    text += "\n## Figures on fold 5\n\n"
    text += "| labels | pooling | clips seen | mAP | 95 % interval | mAUC | d' | test clips | parameters |\n"
    text += "|---|---|---|---|---|---|---|---|---|\n"
    for name in done:
        report, run = reports[name], runs[name]
        low, high = report["mAP_interval"]
        text += (
            f"| {report['n_labels']} | {run['config']['pooling']} | {curves[name][-1]['clips_seen']} "
            f"| **{report['mAP']:.3f}** | {low:.3f} to {high:.3f} | {report['mAUC']:.3f} | {report['d_prime']:.3f} "
            f"| {report['n_clips']} | {n_parameters(run):,} |\n"
        )
    text += (
        "\nIntervals: bootstrap over the test clips, one seed of training; they do not include the spread over seeds.\n"
    )
    text += "\n## mAP during training\n\nmAP on the same test clips after each epoch (clips seen: mAP).\n\n"
    for name in done:
        points = ", ".join(f"{row['clips_seen']}: {float(row['valid_mAP']):.3f}" for row in curves[name])
        text += f"- `{name}`: {points}\n"
    text += "\n## Provenance\n\n| run | commit | machine | training seconds | clips/s |\n|---|---|---|---|---|\n"
    for name in done:
        last = curves[name][-1]
        rate = float(last["clips_seen"]) / float(last["seconds"])
        run, seconds = runs[name], float(last["seconds"])
        text += f"| `{name}` | `{short_commit(run['commit'])}` | {run['device']} | {seconds:.0f} | {rate:.0f} |\n"
    return text
