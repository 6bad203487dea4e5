"""The command line: parse, call, print. Each command is a module of its own, loaded when it is called."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from io import TextIOWrapper
from typing import Any, Final

from cyclopts import App, ArgumentCollection, CycloptsError

import earmark
from earmark.cli.screen import one_line, report_error, silenced_libraries, tell_warnings
from earmark.errors import ConfigError, EarmarkError

_EXTRAS: Final = {
    "lightning": "train",
    "tensorboard": "train",
    "matplotlib": "plot",
    "ray": "bulk",
    "fsspec": "parquet",
    "pyarrow": "parquet",
    "onnxruntime": "onnx",
    "onnx": "export",
    "onnxscript": "export",
}
"""What to install where a package is missing."""
_OWN_EXTRAS: Final = {"bulk": {"fsspec": "bulk", "pyarrow": "bulk"}}
"""Commands that need more than the package, and what has all of it."""

_COMMANDS: Final = {
    "demo": (
        "Show the whole idea on made-up sounds; nothing to download.",
        "Learns when sounds happen from clips that only say what sounds in them, by GMAP and by mean pooling.",
        "earmark demo --out demo",
    ),
    "tag": (
        "Tag recordings: the sounds in each file, by falling score.",
        "A file that cannot be read is told on standard error and the others are tagged; the exit status is then 1.",
        "earmark tag street.wav --model run/best.safetensors",
        "earmark tag recordings/ --threshold 0.3 --json --model run/best.safetensors",
    ),
    "timeline": (
        "Show when the sounds of a recording happen.",
        "",
        "earmark timeline street.wav --window 1 --model run/best.safetensors",
        "earmark timeline street.wav --format audacity --out labels.txt --model run/best.safetensors",
    ),
    "evidence": (
        "Show which moments of a recording made a tag.",
        "Prints how far the logit of the label falls when a moment is left out; of a recording longer than the clips "
        "of the training, in the part of their length where the label scores highest.",
        "earmark evidence street.wav dog --model run/best.safetensors",
    ),
    "doctor": (
        "Find what is wrong with a data set: missing, unreadable, silent, duplicated, mislabelled.",
        "Decodes every clip. REPORT receives report.json (all that was found), clips.csv (the facts of each clip) and "
        "clean.txt, the list of the clips that are clean: data for the other commands as clips:REPORT/clean.txt, with "
        "splits, groups and labels as they were. Left out of it is what is damaged, missing, unreadable, unlabelled, "
        "short or silent; of clips with the same sound all but the first, and all of them where their labels differ. "
        "Interrupted or killed, the same command goes on where it stopped, and examines clips anew whose files "
        "have changed since; a finished report is made anew from the start. What it finds is its result: the exit "
        "status is 0 unless no clip is clean, or --strict says otherwise.",
        "earmark doctor folder:clips --out report",
        "earmark doctor csv:clips.csv --out report --keep unlabelled,short --drop clipped",
    ),
    "train": (
        "Train a tagger on weakly labelled clips.",
        "RUN receives best.safetensors, last.safetensors, run.json, metrics.csv and TensorBoard events. Ctrl-C saves.",
        "earmark train folder:clips --out run",
        "earmark train esc50:ESC-50 --split 1,2,3 --valid-split 4 --out run",
        "earmark train --config run/run.json --out again --pooling mean",
    ),
    "evaluate": (
        "Measure a tagger on labelled clips: mAP, mAUC and d'.",
        "",
        "earmark evaluate run/best.safetensors esc50:ESC-50 --split 5",
    ),
    "calibrate": (
        "Make a tagger's scores probabilities, and give each label its threshold.",
        "Fits both to clips that it was not trained on. The order of its tags stays. OUT is a checkpoint like MODEL.",
        "earmark calibrate run/best.safetensors esc50:ESC-50 --split 5 --out calibrated.safetensors",
        "earmark calibrate run/best.safetensors esc50:ESC-50 soundscapes:mixed --split 5 --out calibrated.safetensors",
        "earmark calibrate all/last.safetensors --like calibrated.safetensors --out final.safetensors",
    ),
    "export": (
        "Write a tagger as one ONNX file, which runs without PyTorch.",
        "Compares the scores of both before OUT is there. OUT is a model for tag, timeline and evidence; and ONNX "
        "Runtime in any language runs it: waveform (batch, sample) gives scores (batch, label).",
        "earmark export run/best.safetensors tagger.onnx",
        "earmark export run/best.safetensors small.onnx --int8 --calibrate folder:clips",
    ),
    "soundscapes": (
        "Mix weakly labelled clips from a bank of single sounds.",
        "OUT receives audio/, clips.csv (what sounds in each clip) and truth.tsv (when). Interrupted, the same command "
        "goes on where it stopped. The result is data for the other commands: soundscapes:OUT.",
        "earmark soundscapes esc50:ESC-50 mixed --split 1,2,3 --n-clips 4000",
    ),
    "pack": (
        "Pack clips into Parquet at the rate of the network, to train on as they stream.",
        "OUT receives shards of clips in random order, those of each split by themselves, and pack.json with the "
        "checksum of each; parquet:OUT is then data for the other commands. Interrupted, the same command goes on "
        "where it stopped; it also makes damaged shards anew, which --check finds. Shards that are there are kept, "
        "also where a recording has changed since: pack into a new folder then.",
        "earmark pack folder:clips packed",
        "earmark pack esc50:ESC-50 packed --codec int16 --jobs 8",
        "earmark pack packed --check",
    ),
    "bulk": (
        "Tag very many recordings, on one machine or a cluster.",
        "INPUT and OUT are paths or URLs, such as s3://bucket/folder. A listing is a .txt with a path or URL a line, "
        "or a .csv with a column path; relative ones are relative to it. Parquet (a file, a folder, wildcards) has the "
        "bytes of the recordings in a column audio. OUT receives Parquet files with the columns file, duration, tags "
        "and error, and embedding if asked for. A recording that cannot be read is a row with an error, and the others "
        "are tagged; the exit status is 1 where a part of the work could not be done, or nothing could be read. "
        "Interrupted, the same command goes on where it stopped.",
        "earmark bulk recordings/ tags/",
        'earmark bulk "s3://bucket/audioset/*.parquet" s3://bucket/tags --address auto --threshold auto',
    ),
}
"""Each command: one line for the list, more for its own help, examples. `earmark.cli.<command>` holds its function."""

_LISTENING: Final = frozenset({"tag", "timeline", "evidence"})
"""Commands that open recordings of which nobody knows whether they are sound."""


def _app() -> App:
    app = App(
        name="earmark",
        help="Tag the sounds in a recording, learned from clips of which one knows only what sounds in them, not when.",
        help_format="plaintext",
        help_epilogue="`earmark COMMAND --help` explains a command and shows an example.",
        version=earmark.__version__,
    )
    special: dict[str, dict[str, Any]] = {"train": {"config": _fill_in}}
    for position, (name, texts) in enumerate(_COMMANDS.items()):
        _add(app, position, name, f"earmark.cli.{name}:{name}", texts, **special.get(name, {}))
    return app


def _add(app: App, position: int, name: str, function: str, texts: tuple[str, ...], **special: Any) -> None:
    summary, more, *examples = texts
    app.command(
        function,
        name=name,
        help=f"{summary}\n\n{more}".strip(),
        help_epilogue="\n".join(("Example:\n", *(f"    {example}" for example in examples))),
        sort_key=position,
        **special,
    )


def _fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    from earmark.cli.train import fill_in

    fill_in(app, commands, arguments)


app: Final = _app()


def main(arguments: Sequence[str] | None = None, program: App = app) -> int:
    """Runs one command and returns its exit status: 0 done, 1 not done, 2 wrong usage, 130 interrupted.

    Args:
        arguments: The words after `earmark`; those of the process when missing.
        program: The commands to choose from; another program than earmark may bring its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names can hold bytes that are no text
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        status = _run(words, program)
        sys.stdout.flush()
        return status
    except CycloptsError as error:
        report_error(f"{one_line(error)} (`{_named(words, program)} --help` explains)")
        return 2
    except BrokenPipeError:
        # the reader has what it wanted, as in `earmark tag ... | head`; Python must not complain at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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


def _named(words: Sequence[str], program: App) -> str:
    """The program and its command that the words call, as far as there is one."""
    return " ".join([*program.name, *(word for word in words[:1] if word in set(program))])


def _run(words: list[str], program: App) -> int:
    tell_warnings(quiet=not {"--quiet", "-q"}.isdisjoint(words))
    # to cyclopts a hyphen alone is an unknown flag
    words = ["./-" if word == "-" else word for word in words]
    try:
        command, bound, _ = program.parse_args(words, exit_on_error=False, print_error=False)
    except ConfigError as error:
        # nothing has begun: a setting that cannot be is wrong usage, like a flag that cannot be
        raise CycloptsError(str(error)) from error
    with silenced_libraries() if _LISTENING.intersection(words[:1]) else nullcontext():
        return int(command(*bound.args, **bound.kwargs) or 0)
