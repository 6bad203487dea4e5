"""`python -m experiments COMMAND`: one command for each artefact in results/."""

from collections.abc import Sequence
from typing import Final

from cyclopts import App

from earmark import cli

COMMANDS: Final = {
    "table1": (
        "Compare the six poolings on soundscapes, with error bars, and ablate GMAP.",
        "OUT receives soundscapes, runs, one line for each finished run (runs.jsonl), table1.md and ablations.md. "
        "Interrupted, the same command resumes. A run that fails is reported on standard error and the others "
        "continue; the exit status is then 1.",
        "table1 --bank esc50:ESC-50 --out table1 --dry-run",
        "table1 --bank esc50:ESC-50 --out table1 --jobs 2",
        "table1 --out table1 --tables-only",
    ),
    "localisation": (
        "Measure how well the runs of a table1 locate events in time.",
        "OUT receives one line for each measured run (localisation.jsonl) and localisation.md. Interrupted, the same "
        "command resumes.",
        "localisation --out table1",
    ),
    "figure3": (
        "Draw what each GMAP head and vanilla attention attend to in one soundscape.",
        "OUT, the folder of a table1, receives figure3.png.",
        "figure3 --out table1",
        "figure3 --out table1 --difficulty dense --seed 1",
    ),
    "pooling-search": (
        "Search for what decides between GMAP and attentive statistics on the soundscapes of a table1.",
        "TABLE, the folder of a finished table1, receives one line for each finished run (search.jsonl) and search.md. "
        "Interrupted, the same command resumes.",
        "pooling-search table1 --jobs 2",
        "pooling-search table1 --pages-only",
    ),
    "audioset-pooling-search": (
        "Search for what decides between GMAP and attentive statistics on AudioSet's released features.",
        "OUT receives one line for each finished run (search.jsonl), figures by label and README.md. Starts from the "
        "settings and the final runs in results/audioset. Interrupted, the same command resumes. Without FEATURES it "
        "writes the page again.",
        "audioset-pooling-search features --jobs 2",
        "audioset-pooling-search",
    ),
    "audioset": (
        "Compare all poolings on AudioSet's released features, and the systems of the literature.",
        "OUT receives one line for each finished run (search.jsonl, runs.jsonl), figures by label, README.md, "
        "search.md and pictures. Interrupted, the same command resumes. A run that fails is reported on standard "
        "error and the others continue; the exit status is then 1.",
        "audioset features --strong strong --out audioset --jobs 2",
        "audioset features --cells mean,gmap --n-seeds-first 3 --dry-run",
        "audioset --out audioset --tables-only",
    ),
    "table2": (
        "Print the AudioSet results of the literature, beside a report of your own.",
        "",
        "table2",
        "table2 --report report/report.json --out table2.md",
    ),
    "first-run": (
        "Train GMAP and mean pooling on soundscapes from ESC-50, with the same budget.",
        "Writes results/first-run.md and results/first-run/. Interrupted, the same command resumes. Without BANK and "
        "WORK it writes the page again from results/first-run/.",
        "first-run ESC-50 work",
        "first-run",
    ),
    "esc50-model": (
        "Train, calibrate and measure a model by the recipe esc50.",
        "Writes results/esc50-model.md, .json and the folder esc50-model. WORK receives three-folds.safetensors, the "
        "model that the figures are about, and earmark-esc50.safetensors, trained on folds 1, 2, 3 and 5. Interrupted, "
        "the same command resumes. Without BANK and WORK it writes the page again from results/esc50-model.json.",
        "esc50-model ESC-50 work",
        "esc50-model",
    ),
    "esc50-head": (
        "Train the head of a model further, with speech and music that have none of its labels.",
        "Writes results/esc50-head.md and .json. AUDIO has an index.csv with the columns file, source, licence, label "
        "and group. MODEL was trained by the recipe esc50 on folds 1 to 3, such as run/last.safetensors of "
        "esc50-model; SHIPPED on folds 1, 2, 3 and 5, such as final/last.safetensors. WORK receives "
        "earmark-esc50.safetensors and .onnx, SHIPPED with this head. Interrupted, the same command resumes. Without "
        "arguments it writes the page again from results/esc50-head.json.",
        "esc50-head ESC-50 recordings work1/run/last.safetensors work1/final/last.safetensors work2",
        "esc50-head",
    ),
    "esc50-student": (
        "Train the network of earmark-esc50 with a published network as teacher.",
        "Writes results/esc50-student.md and .json and keeps the figures of other seeds there. AUDIO and MODEL "
        "are those of esc50-head; MODEL was trained with the same --seed. SHIPPED was trained on folds 1, 2, 3 and 5; "
        "that of the package had already been trained once with a teacher. With --shipped, a folder in WORK "
        "receives the model that ships: earmark-esc50.safetensors and .onnx; `--ship before` ships SHIPPED with its "
        "head trained further. Interrupted, the same command resumes. Without arguments the "
        "command writes the page again from results/esc50-student.json.",
        "esc50-student ESC-50 recordings mn04.pt work1/run/last.safetensors work3 --shipped shipped/last.safetensors",
        "esc50-student",
    ),
    "thresholds": (
        "Compare shrinkages of label thresholds, on halves of fold 5.",
        "Writes results/thresholds.md and .json. AUDIO is that of esc50-head. MODELS have ESC-50's labels and were not "
        "trained on fold 5. Without arguments it writes the page again from results/thresholds.json.",
        "thresholds ESC-50 recordings work results/esc50-student/three-folds.safetensors",
        "thresholds",
    ),
    "strangers": (
        "Count right first tags on recordings from other projects, labelled by their names.",
        "Writes results/strangers.md and .json. AUDIO is that of esc50-head. Without arguments it writes the page "
        "again from results/strangers.json.",
        "strangers recordings earmark-esc50 mn04_as_mAP_432.pt",
        "strangers",
    ),
    "model-comparison": (
        "Compare models on fold 5 of ESC-50, its soundscapes, speech, music, and recordings of other projects.",
        "Writes results/model-comparison.md and .json. AUDIO is that of esc50-head. MODELS have ESC-50's or AudioSet's "
        "labels and were not trained on fold 5. Interrupted, the same command resumes. Without arguments it writes the "
        "page again from results/model-comparison.json.",
        "model-comparison ESC-50 recordings work three-folds.safetensors mn04_as_mAP_432.pt",
        "model-comparison",
    ),
    "degraded": (
        "Measure a model on degraded clips: noise, rooms, codecs, devices, clipping, level.",
        "Prints a table of top-1 and mAP for each degradation. MODEL must not have been trained on the split.",
        "degraded work/three-folds.safetensors ESC-50",
        "degraded work/three-folds.safetensors ESC-50 --split 5 --seed 1 --out degraded.json",
    ),
    "conditions": (
        "Train with each recording condition alone and with all, and measure on degraded clips.",
        "Writes results/conditions.md and .json. Interrupted, the same command resumes. Without BANK and WORK it "
        "writes the page again from results/conditions.json.",
        "conditions ESC-50 work",
        "conditions ESC-50 work --all-labels --width 32 --n-clips-seen 480000",
    ),
    "audioset-student": (
        "Train a small student of a published network on freely licensed recordings, with AudioSet's labels.",
        "Writes results/audioset-student.md and .json. AUDIO has an index.csv with the columns file, source, licence, "
        "label and group. WORK receives earmark-audioset.safetensors and .onnx. Interrupted, the same command resumes. "
        "Without arguments it writes the page again from results/audioset-student.json.",
        "audioset-student recordings mn04_as_mAP_432.pt work",
        "audioset-student recordings mn04_as_mAP_432.pt trial --share 0.01",
    ),
    "long-recordings": (
        "Compare ways to score recordings of 10 s to 10 minutes.",
        "Writes results/long-recordings.md and .json. MODEL must not have been trained on fold 5, such as "
        "three-folds.safetensors of esc50-model. Without arguments it writes the page again from "
        "results/long-recordings.json.",
        "long-recordings ESC-50 work work/three-folds.safetensors",
        "long-recordings",
    ),
    "click-times": (
        "Compare where clicks in videos are found with where they were put.",
        "Writes results/click-times.md: files in many containers and codecs, with late starts and gaps.",
        "click-times",
    ),
    "zero-shot": (
        "Measure a network with AudioSet's labels on ESC-50, and the overlap of its windows on soundscapes.",
        "Writes results/zero-shot.md and .json. Without arguments it writes the page again from "
        "results/zero-shot.json.",
        "zero-shot ESC-50 work mn04_as_mAP_432.pt",
        "zero-shot",
    ),
    "event-decoder": (
        "Compare decoders of events on soundscapes.",
        "Writes results/event-decoder.md, .json and event-decoder-search.jsonl. Fold 1 chooses and fold 5 tests; a "
        "model that was trained on them is no fair test. Without arguments it writes the page again from these files.",
        "event-decoder ESC-50 work results/esc50-student/three-folds.safetensors mn04_as_mAP_432.pt",
        "event-decoder",
    ),
    "evidence-methods": (
        "Compare ways to say which segments carry a tag.",
        "Writes results/evidence.md, .json and evidence-barks.png. MODELS know ESC-50's labels; the last one draws the "
        "picture. Without arguments it writes the page again from results/evidence.json.",
        "evidence-methods ESC-50 work results/esc50-student/three-folds.safetensors earmark-esc50",
        "evidence-methods",
    ),
    "frozen-backbone": (
        "Compare heads on a frozen published network, on single clips and on soundscapes.",
        "Writes results/frozen-backbone.md and .json. Interrupted, the same command resumes. Without arguments it "
        "writes the page again from results/frozen-backbone.json.",
        "frozen-backbone ESC-50 work mn04_as_mAP_432.pt",
        "frozen-backbone",
    ),
    "precision": (
        "Compare a model in float32, in bf16, exported, and exported in 8 bits.",
        "Writes results/precision.md. Calibrates on folds 1 to 3 and measures on fold 5. MODEL must not have been "
        "trained on fold 5, such as three-folds.safetensors of esc50-model.",
        "precision ESC-50 work/three-folds.safetensors",
    ),
    "audioset-shaped": (
        "Run doctor, pack, train and evaluate on a small data set in AudioSet's Parquet layout.",
        "Prints what results/audioset-shaped.md shows. Interrupted, the same command resumes.",
        "audioset-shaped ESC-50 work",
    ),
    "damaged-files": (
        "Read thousands of damaged recordings of all formats and count what becomes of them.",
        "Writes results/damaged-files.md. The exit status is 1 if a file is read short without a note, gives another "
        "error than one clear line, or leaves files or memory. `python -m experiments.damage NUMBER` writes one of the "
        "files.",
        "damaged-files",
        "damaged-files --n-files 500 --out damaged.md",
    ),
    "review-loop": (
        "Correct detections from the truth, train again, and measure the precision before and after.",
        "Writes results/review-loop.md and .json. Interrupted, the same command resumes. Without WORK it writes the "
        "page again from results/review-loop.json.",
        "review-loop work",
        "review-loop",
    ),
    "kill-and-resume": (
        "Kill doctor and pack with SIGKILL, resume them, and compare the bytes of the results.",
        "Prints the last part of results/audioset-shaped.md. The exit status is 1 if a byte differs.",
        "kill-and-resume work --n-clips 10000 --jobs 2",
    ),
    "detect-and-resume": (
        "Kill detect with SIGKILL on many short files, resume it, and compare its table with an undisturbed one.",
        "Prints the numbers of events and errors. The exit status is 1 if a byte differs.",
        "detect-and-resume work --n-files 2000 --n-damaged 3 --jobs 2",
    ),
    "listen-hour": (
        "Listen to an hour of sound, played fast through a pipe and through a stream with interruptions.",
        "Writes results/listen-hour.md and .json. Needs mosquitto. The exit status is 1 if events differ from those of "
        "detect, or if a message does not reach the broker. Without BANK it writes the page again from "
        "results/listen-hour.json.",
        "listen-hour ESC-50",
        "listen-hour ESC-50 --minutes 5 --out trial.json",
        "listen-hour",
    ),
}
"""Each command: one line for the list, more for its own help, examples."""

_PROGRAM: Final = "python -m experiments"
_SHARED_MODULE: Final = frozenset({"table1", "localisation", "figure3", "table2", "audioset"})
"""Commands whose functions are in `experiments.commands`; the others have a module of their own."""


def _app() -> App:
    app = App(
        name=_PROGRAM,
        help="Measure the paper's tables and figures, and all other figures in results/, again.",
        help_format="plaintext",
        help_epilogue=f"`{_PROGRAM} COMMAND --help` explains a command and shows an example.",
        version_flags=[],
    )
    for position, (name, (summary, more, *examples)) in enumerate(COMMANDS.items()):
        function = name.replace("-", "_")
        module = "commands" if name in _SHARED_MODULE else function
        app.command(
            f"experiments.{module}:{function}",
            name=name,
            help=f"{summary}\n\n{more}".strip(),
            help_epilogue="\n".join(("Example:\n", *(f"    {_PROGRAM} {example}" for example in examples))),
            sort_key=position,
        )
    return app


app: Final = _app()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status, as `earmark.cli.main` does.

    Args:
        arguments: The words after `python -m experiments`; those of the process when missing.
    """
    return cli.main(arguments, app)


if __name__ == "__main__":
    raise SystemExit(main())
