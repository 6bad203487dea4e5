"""The command line: parse, call, print. Each command has a module, which is imported when it is called."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from io import TextIOWrapper
from typing import Final

from cyclopts import App, ArgumentCollection, CycloptsError

import earmark
from earmark.cli.flags import CommandApp, deferred
from earmark.cli.screen import one_line, report_error, show_warnings, usage_errors
from earmark.errors import EarmarkError
from earmark.parallel.silence import silenced_libraries

_EXTRAS: Final = {
    "torch": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "matplotlib": "plot",
    "ray": "bulk",
    "fsspec": "parquet",
    "pyarrow": "parquet",
    "onnx": "export",
    "onnxscript": "export",
    "huggingface_hub": "hub",
    "paho": "live",
    "sounddevice": "live",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
    "websockets": "serve",
}
"""The extra that installs a missing package."""
_OWN_EXTRAS: Final = {
    "bulk": {"fsspec": "bulk", "pyarrow": "bulk"},
    "demo": {"torch": "train,plot", "safetensors": "train,plot"},
    "export": {"torch": "export", "safetensors": "export"},
}
"""Extras of single commands, which install all that the command needs."""

_COMMANDS: Final = {
    "demo": (
        "Show the main job on synthetic sounds; needs no download.",
        "Trains on clips labelled with their sounds but not with times, by GMAP and by mean pooling, and shows when "
        "the sounds happen.",
        "earmark demo --out demo",
    ),
    "tag": (
        "Tag recordings: list the sounds of each file by falling score.",
        "Unreadable files are reported on standard error, the rest are tagged; the exit status is then 1.",
        "earmark tag street.wav",
        "earmark tag street.wav --model run/best.safetensors",
        "earmark tag recordings/ --threshold 0.3 --json",
    ),
    "timeline": (
        "Show when the sounds of a recording happen.",
        "",
        "earmark timeline street.wav --window 1",
        "earmark timeline street.wav --threshold 0.3 --max-gap 1 --format audacity --out labels.txt",
    ),
    "detect": (
        "Find the events of many recordings: one table of all, or a file for each.",
        "Unreadable files are reported on standard error, the rest are searched; the exit status is then 1. Time "
        "stamps in file names give each event its time of day. A stopped command continues with --resume.",
        "earmark detect recordings/ --out events.csv",
        "earmark detect recordings/ --labels dog,rain --max-gap 1 --out events.parquet",
        "earmark detect recordings/ --per-file --format audacity",
    ),
    "thresholds": (
        "Write a model's threshold of each label as a table to edit.",
        "Other commands take the edited file as --threshold FILE. A label without a line keeps the model's threshold, "
        "or 0.5 if it has none.",
        "earmark thresholds earmark-esc50 --out thresholds.csv",
    ),
    "summarize": (
        "Count events by hour of the day, day, file or label.",
        "Reads the tables of `earmark detect` and annotations of other programs. An event counts in the hour of its "
        "onset, which needs its time of day: from the table, or from a time stamp in the name of the file.",
        "earmark summarize events.csv --by hour --plot hours.png",
        "earmark summarize events.parquet --by day --time-zone Europe/Berlin --out days.csv",
    ),
    "evidence": (
        "Show which moments of a recording a tag comes from.",
        "Prints how far each segment raises or lowers the logit of the label. A recording longer than the training "
        "clips is examined in the part of that length where the label scores highest.",
        "earmark evidence street.wav dog",
    ),
    "clips": (
        "Cut detections out of their recordings, to listen to them.",
        "OUT receives a folder for each label. Its clips are named by recording, onset and score; manifest.csv states "
        "where each was cut. With --per-label N the clips are chosen evenly from ten bands of the score: a few of "
        "them show how the precision depends on it. Listen, and move wrong clips into the folder of the right label "
        "(make one if it is new) or into _noise, or delete them; clips in other folders that begin with _ do not "
        "count. Then run `earmark review`. An unreadable recording is reported on standard error; the exit status is "
        "then 1, and the same command tries it again. After an interruption the same command continues.",
        "earmark clips events.csv clips --per-label 50",
        "earmark clips events.csv clips --audio-root /mnt/recordings --spectrograms",
    ),
    "review": (
        "Measure the precision of detections from the clips that a person kept, moved or deleted.",
        "FOLDER is that of `earmark clips`. A clip that stays where it was cut is right; one that was moved or deleted "
        "is wrong. Prints the precision of each label by score band and over all its events, which accounts for the "
        "choice by bands, and the lowest threshold that reaches --precision. --out writes a data set for `earmark "
        "train`: a confirmed clip has its label; a corrected clip has that of its new folder and lacks the old one; a "
        "clip in _noise lacks all labels of the review; a deleted clip lacks its label. All other labels are unknown "
        "and have no part in the training.",
        "earmark review clips --precision 0.9 --thresholds thresholds.csv",
        "earmark review clips --out corrected.csv",
        "earmark train folder:clips --add csv:corrected.csv --init run/best.safetensors --out again",
    ),
    "models": (
        "List the models by name: labels, published mAP, size, licence.",
        "A published model is fetched once, when it is first used, into the cache folder: EARMARK_CACHE, or a folder "
        "in the system's place for caches. An interrupted download continues. Without a network, save the "
        "file there under its name, or give its path as the model.",
        "earmark models",
        "earmark tag street.wav --model mn10",
    ),
    "doctor": (
        "Find faults in a data set: missing, unreadable, silent, duplicate or mislabelled clips.",
        "Decodes every clip. The folder OUT receives report.json (all findings), clips.csv (facts of each clip) and "
        "clean.txt (the clean clips). Other commands read the clean clips as clips:OUT/clean.txt, with their splits, "
        "groups and labels. Damaged, missing, unreadable, unlabelled, short and silent clips are not clean. Of clips "
        "with the same sound the first is clean, or none if their labels differ. An interrupted or killed examination "
        "continues with the same command, which examines changed files again; a finished report is computed again. The "
        "exit status is 0 if at least one clip is clean; --strict is stricter.",
        "earmark doctor folder:clips --out report",
        "earmark doctor csv:clips.csv --out report --keep unlabelled,short --drop clipped",
    ),
    "train": (
        "Train a tagger on weakly labelled clips.",
        "The folder OUT receives best.safetensors, last.safetensors, run.json, metrics.csv and TensorBoard events. "
        "Ctrl-C saves the run; --resume continues it.",
        "earmark train folder:clips --out run",
        "earmark train esc50:ESC-50 --split 1,2,3 --valid-split 4 --out run",
        "earmark train --config run/run.json --out again --pooling mean",
    ),
    "distill": (
        "Train a student on the scores of other taggers, on clips with or without labels.",
        "Trains like `train`, with the same settings, and gives the student the teacher's labels. The teacher scores "
        "each clip once, and OUT keeps the scores; with --cache none it scores the clips of each step instead, after "
        "mix and crop. agreement.json in OUT compares teacher and student on the held-out clips.",
        "earmark distill mn04 recordings/ --out run --config light --n-variants 2",
        "earmark distill mn10,mn20 csv:clips.csv --split train --valid-split test --out run --config small",
    ),
    "encode": (
        "Encode clips once, to train heads on their segments in seconds.",
        "Runs the model's front end and backbone over every clip. OUT receives the segments with labels, splits and "
        "groups, and the checkpoint of the encoder. Other commands read it as segments:OUT; a head that is trained on "
        "it is joined with the encoder and tags recordings. After an interruption the same command continues; it also "
        "verifies checksums and replaces damaged files.",
        "earmark encode folder:clips --model earmark-esc50 --out encoded",
        "earmark train segments:encoded --pooling attentive_stats --out run",
    ),
    "evaluate": (
        "Measure a tagger on labelled clips: mAP, mAUC and d'.",
        "",
        "earmark evaluate run/best.safetensors esc50:ESC-50 --split 5",
    ),
    "calibrate": (
        "Turn a tagger's scores into probabilities and give each label a threshold.",
        "Both are fitted to clips that the tagger was not trained on. The order of the tags does not change. OUT is a "
        "checkpoint like MODEL.",
        "earmark calibrate run/best.safetensors esc50:ESC-50 --split 5 --out calibrated.safetensors",
        "earmark calibrate run/best.safetensors esc50:ESC-50 soundscapes:mixed --split 5 --out calibrated.safetensors",
        "earmark calibrate all/last.safetensors --like calibrated.safetensors --out final.safetensors",
    ),
    "export": (
        "Write a tagger as one ONNX file, which runs without PyTorch.",
        "Compares the scores of both before it writes OUT. OUT is a model for tag, timeline and evidence. ONNX Runtime "
        "runs it in any language: waveform (batch, sample) gives scores (batch, label).",
        "earmark export run/best.safetensors tagger.onnx",
        "earmark export run/best.safetensors small.onnx --int8 --calibrate folder:clips",
    ),
    "push": (
        "Upload a model with its card to the Hugging Face Hub.",
        "The repository receives model.safetensors, or model.onnx, and README.md: licence, labels, settings, figures. "
        "Others load it as hf://OWNER/NAME. `hf auth login` or the environment variable HF_TOKEN logs in.",
        "earmark push run/best.safetensors anna/birds --licence cc-by-4.0 --report report/report.json",
        "earmark push run/best.safetensors anna/birds --licence cc-by-4.0 --out card",
    ),
    "soundscapes": (
        "Mix weakly labelled clips from a bank of single sounds.",
        "OUT receives audio/, clips.csv (labels of each clip) and truth.tsv (times of each event). After an "
        "interruption the same command continues. Other commands read the result as soundscapes:OUT.",
        "earmark soundscapes esc50:ESC-50 mixed --split 1,2,3 --n-clips 4000",
    ),
    "pack": (
        "Pack clips into Parquet files at the network's sample rate, for training on streams.",
        "OUT receives shards of clips in random order, separate for each split, and pack.json with the checksum of "
        "each. Other commands read the pack as parquet:OUT. After an interruption the same command continues; it also "
        "replaces damaged shards, which --check finds. Existing shards are kept even if a recording has changed since: "
        "pack into a new folder then.",
        "earmark pack folder:clips packed",
        "earmark pack esc50:ESC-50 packed --codec int16 --jobs 8",
        "earmark pack packed --check",
    ),
    "bulk": (
        "Tag large collections of recordings, on one machine or a cluster.",
        "INPUT and OUT are paths or URLs, such as s3://bucket/folder. A listing is a .txt file with one path or URL "
        "per line, or a .csv file with a column path; relative paths are relative to the listing. Parquet (a file, a "
        "folder, wildcards) has the bytes of the recordings in a column audio. OUT receives Parquet files with the "
        "columns file, duration, tags, error and, on request, embedding. An unreadable recording is a row with an "
        "error; the rest are tagged. The exit status is 1 if a part of the work failed, a folder could not be read, "
        "or no recording could be read. After an interruption the same command continues.",
        "earmark bulk recordings/ tags/",
        'earmark bulk "s3://bucket/audioset/*.parquet" s3://bucket/tags --address auto --threshold auto',
    ),
    "serve": (
        "Open a page and an HTTP interface: look at recordings, listen, correct, export.",
        "Prints the address and runs until Ctrl-C. Uploads go to a private temporary folder and are removed. Without "
        "--token, only this machine can use the server, unless --insecure. /api/openapi.json describes the interface.",
        "earmark serve",
        "earmark serve --model mn10 --model earmark-esc50 --host 0.0.0.0 --token SECRET",
    ),
    "listen": (
        "Watch live sound: a microphone, a camera's or radio's stream, a pipe.",
        "Writes a JSON object a line: began (provisional) when an event begins, event when it has ended, lost and gap "
        "when the source is lost and found again. Times are seconds since the listening began, gaps included; time is "
        "the time of day. A lost source is opened again, with growing waits. The events of raw or encoded sound from a "
        "pipe are those of `earmark detect`. URLs (HTTP, Icecast, RTSP, ...) and encoded pipes need the extra media, "
        "microphones and MQTT the extra live. Ctrl-C or SIGTERM ends the running events and the command.",
        "earmark listen --labels dog,siren --min-duration 0.5",
        "earmark listen rtsp://camera.local/stream --save-clips clips --per-hour 20",
        "earmark listen rtsp://camera.local/stream --exec notify-send",
        "earmark listen https://radio.example.org/live.mp3 --mqtt mqtt://broker.local --topic earmark/garden",
    ),
    "completion": (
        "Print the completion script of a shell: the tab key then completes commands and flags.",
        "bash reads the output from a file that ~/.bashrc sources, zsh from a file _earmark in a folder of $fpath, and "
        "fish from ~/.config/fish/completions/earmark.fish.",
        "earmark completion bash",
    ),
}
"""Each command's summary, description and examples. The module `earmark.cli.<command>` holds its function."""

_DECODING: Final = frozenset({"tag", "timeline", "detect", "clips", "evidence", "serve", "listen"})
"""Commands that decode recordings of unknown condition."""


def _app() -> App:
    app = App(
        name="earmark",
        help="Tag the sounds in recordings, and train taggers on weakly labelled clips: labels without times.",
        help_format="plaintext",
        help_epilogue="`earmark COMMAND --help` explains a command and shows an example.",
        version=earmark.__version__,
    )
    for position, (name, (summary, more, *examples)) in enumerate(_COMMANDS.items()):
        command = CommandApp(
            name=name,
            help=f"{summary}\n\n{more}".strip(),
            help_format="plaintext",
            help_epilogue="\n".join(("Example:\n", *(f"    {example}" for example in examples))),
            sort_key=position,
            config=_fill_in if name in ("train", "distill") else None,
        )
        command.default(deferred(f"earmark.cli.{name}:{name}"))
        app.command(command)
    return app


def _fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    from earmark.cli.train import fill_in

    fill_in(app, commands, arguments)


app: Final = _app()


def main(arguments: Sequence[str] | None = None, program: App = app) -> int:
    """Runs one command and returns its exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.

    Args:
        arguments: The words after the program's name; by default those of the process.
        program: The commands; other programs than earmark bring their own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold bytes that are not UTF-8
    # threads of PyTorch that wait actively starve other processes; OpenMP reads this when PyTorch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _status(words, program)
    except BrokenPipeError:
        # the reader has closed the pipe, as in `earmark tag ... | head`; Python must not report it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _status(words: list[str], program: App) -> int:
    """The exit status of a command, whose error is reported."""
    try:
        status = _run(words, program)
        sys.stdout.flush()
        return status
    except CycloptsError as error:
        names = [*program.name, *(word for word in words[:1] if word in set(program))]
        report_error(f"{one_line(error)} (`{' '.join(names)} --help` explains)")
        return 2
    except BrokenPipeError:
        raise
    except (EarmarkError, OSError) as error:
        report_error(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _OWN_EXTRAS.get(words[0] if words else "", _EXTRAS).get(package, _EXTRAS.get(package))
        if extra is None:
            raise
        report_error(f"{error.name} is not installed, which this command needs: pip install 'earmark[{extra}]'")
    except KeyboardInterrupt as error:
        report_error(str(error) or "interrupted")
        return 130
    return 1


def _run(words: list[str], program: App) -> int:
    show_warnings(quiet=not {"--quiet", "-q"}.isdisjoint(words))
    # cyclopts takes a single hyphen for an unknown flag
    words = ["./-" if word == "-" else word for word in words]
    with usage_errors():
        command, bound, _ = program.parse_args(words, exit_on_error=False, print_error=False)
    with silenced_libraries() if _DECODING.intersection(words[:1]) else nullcontext():
        return int(command(*bound.args, **bound.kwargs) or 0)
