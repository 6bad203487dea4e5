"""Writes results/first-run.md and the reports it is made of, from the folder that results/first_run.sh filled.

python results/first_run.py WORK-FOLDER     # collects, then writes the page
python results/first_run.py                 # writes the page anew from results/first-run/
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.training import TrainConfig

HERE = Path(__file__).parent
KEPT = HERE / "first-run"
RUNS = (
    "esc10-gmap",
    "esc10-mean",
    *(f"esc50-{pooling}-{n_clips}" for n_clips in (12000, 36000) for pooling in ("gmap", "mean")),
)


def collect(work: Path) -> None:
    """Copies what the page needs: report, history and settings of each run, nothing large and no audio."""
    for name in RUNS:
        if not (work / "reports" / name / "report.json").exists():
            continue
        target = KEPT / name
        target.mkdir(parents=True, exist_ok=True)
        for file in (
            work / "reports" / name / "report.json",
            *(work / "runs" / name / f for f in ("metrics.csv", "run.json")),
        ):
            # where the work folder lay on the machine is nobody's business
            (target / file.name).write_text(file.read_text().replace(f"{work.resolve()}/", ""))


def n_parameters(run: dict[str, Any]) -> int:
    """Weights of the network that a run trained."""
    labels = LabelSet(tuple(map(str, range(run["data"]["train"]["n_labels"]))))
    return Network(TrainConfig.from_json(run["config"]).network_config(), labels).n_parameters


def page() -> str:
    """The page: settings, figures, learning curves."""
    done = [name for name in RUNS if (KEPT / name / "report.json").exists()]
    reports = {name: json.loads((KEPT / name / "report.json").read_text()) for name in done}
    runs = {name: json.loads((KEPT / name / "run.json").read_text()) for name in done}
    curves = {name: list(csv.DictReader((KEPT / name / "metrics.csv").open())) for name in done}
    text = (HERE / "first-run.head.md").read_text()
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
    text += "\n## mAP as the budget is spent\n\nmAP on the same test clips after each epoch (clips seen: mAP).\n\n"
    for name in done:
        points = ", ".join(f"{row['clips_seen']}: {float(row['valid_mAP']):.3f}" for row in curves[name])
        text += f"- `{name}`: {points}\n"
    text += (
        "\n## Where it comes from\n\n| run | commit | machine | training seconds | clips/s |\n|---|---|---|---|---|\n"
    )
    for name in done:
        last = curves[name][-1]
        rate = float(last["clips_seen"]) / float(last["seconds"])
        run, seconds = runs[name], float(last["seconds"])
        text += f"| `{name}` | `{run['commit'][:10]}` | {run['device']} | {seconds:.0f} | {rate:.0f} |\n"
    return text


def main() -> None:
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]))
    (HERE / "first-run.md").write_text(page())


if __name__ == "__main__":
    main()
