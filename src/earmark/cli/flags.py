"""Flags that commands share, and commands that are imported when they are called."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any, Final, Literal

from cyclopts import App, ArgumentCollection, Group, Parameter, Token, validators

from earmark.errors import Limit, shown

_WHICH = Group(validator=validators.mutually_exclusive, show=False)
FOLDER: Final = Parameter(validator=validators.Path(file_okay=False))
"""A folder, or a path where nothing is yet."""
EXISTING_FOLDER: Final = Parameter(validator=validators.Path(exists=True, file_okay=False))

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print a JSON summary.")]
BatchSize = Annotated[int, Limit(at_least=1), Parameter(help="Clips per batch; does not change the result.")]
Count = Annotated[int, Limit(at_least=1)]
Data = Annotated[
    str,
    Parameter(
        help="csv:FILE, folder:DIR, parquet:GLOB, audioset:DIR, fsd50k:DIR, esc50:DIR, soundscapes:DIR or clips:FILE; "
        "annotations: raven:DIR, audacity:DIR, dcase:TSV or label-studio:JSON; encoded clips: segments:DIR or "
        "audioset-features:DIR."
    ),
]
Context = Annotated[
    float | None,
    Parameter(
        help="Seconds around each row that decide which labels sound; 0 is off; by default half a training clip."
    ),
]
DecodeTimeout = Annotated[
    float | None,
    Limit(above=0),
    Parameter(
        help="Give up a recording when its decoder or disk yields no sound for this many seconds; 300 by default."
    ),
]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps; auto is a GPU where the engine has one.")]
Engine = Annotated[
    Literal["auto", "onnx", "torch"],
    Parameter(
        help="ONNX Runtime or PyTorch; auto takes ONNX Runtime where the model has an .onnx file, PyTorch for the rest."
    ),
]
FormatJson = Annotated[bool, Parameter(name="--json", negative="", help="Short for --format json.")]
Hop = Annotated[float, Parameter(help="Seconds from one row of scores to the next.")]
Jobs = Annotated[int | None, Limit(at_least=1), Parameter(help="Number of processes; by default one per processor.")]
LabelSeparator = Annotated[
    str | None,
    Parameter(help="Split each label at this text, such as a comma where folders are named dog,rain."),
]
Labels = Annotated[
    str | None,
    Parameter(help="Use only these labels and their clips: names or ids joined by commas, or esc10; by default all."),
]
Model = Annotated[
    str,
    Parameter(
        help="earmark-esc50, a published model (`earmark models`), hf://OWNER/NAME on the Hugging Face Hub, or a file: "
        ".safetensors checkpoint, exported .onnx, weights of a published model."
    ),
]
Overlap = Annotated[
    float | None,
    Limit(at_least=0, below=1),
    Parameter(
        help="Overlap of neighbouring windows, as a share of a window; for models that encode a recording in windows, "
        "such as mn10. By default a quarter."
    ),
]
OutFile = Annotated[Path | None, Parameter(help="Write to this file instead of standard output.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="Print only errors on standard error.")]
Score = Annotated[float | Literal["auto"] | None, Limit(at_least=0, at_most=1)]
Split = Annotated[str | None, Parameter(help="Use only clips in these splits, joined by commas; by default all.")]
ThresholdOrFile = float | Literal["auto"] | Path | None
TagThreshold = Annotated[
    ThresholdOrFile,
    Limit(at_least=0, at_most=1),
    Parameter(
        group=_WHICH,
        help="Lowest score of a tag; auto takes each label's threshold from the model, a file of `earmark thresholds` "
        "from its lines.",
    ),
]
Threshold = Annotated[
    Score, Parameter(group=_WHICH, help="Lowest score of a tag; auto takes each label's threshold from the model.")
]
SoundTrack = Annotated[
    int | Literal["mix"] | None,
    Limit(at_least=1),
    Parameter(
        name="--track",
        help="Sound track of videos: its number, or mix for the mean of all; by default the first, with a note.",
    ),
]
TimeFormat = Annotated[
    str | None,
    Parameter(
        help="Form of the time stamps in file names, as SITE_%d%m%y_%H%M; those of AudioMoth, Song Meter, Frontier "
        "Labs and ISO 8601 are known. A format with a slash may begin in a folder's name."
    ),
]
TimeZone = Annotated[
    str | None,
    Parameter(
        help="Time zone of the recorders' clocks, such as Europe/Berlin. By default AudioMoth's is UTC and the others "
        "are unknown."
    ),
]
Top = Annotated[
    int | None,
    Limit(at_least=1),
    Parameter(group=_WHICH, help="Number of tags per recording; 5 unless a threshold is given. Excludes --threshold."),
]

Window = Annotated[float, Parameter(help="Seconds pooled for one row of scores.")]


_IS_COMPLETING: Final = ContextVar("_IS_COMPLETING", default=False)


@contextmanager
def commands_without_their_extras() -> Iterator[None]:
    """In the block, a command whose extra is not installed has no flags and raises no error."""
    token = _IS_COMPLETING.set(True)
    try:
        yield
    finally:
        _IS_COMPLETING.reset(token)


class CommandApp(App):
    """A command that is imported when it is called and reads limits and headings from the annotations of its flags.

    The value of a flag is checked against its `Limit`, which the help prints after the description. A member of an enum
    is the heading under which the help lists the flag; headings have the order of the enum. The words of a set are
    joined by commas.
    """

    def assemble_argument_collection(self, **options: Any) -> ArgumentCollection:
        """Imports the command and returns its flags."""
        if isinstance(self.default_command, FunctionType) and (path := vars(self.default_command).get("path")):
            module, name = path.split(":")
            try:
                self.default_command = getattr(import_module(module), name)
            except ModuleNotFoundError:
                if not _IS_COMPLETING.get():
                    raise
                return ArgumentCollection()  # type: ignore[no-untyped-call]
        arguments = super().assemble_argument_collection(**options)
        for argument in arguments:
            if argument.hint == frozenset[str]:
                words = Parameter(converter=_set_of_words, show_default=False)
                argument.parameter = Parameter.combine(argument.parameter, words)
            for note in getattr(argument.field_info.annotation, "__metadata__", ()):
                if isinstance(note, Limit):
                    # settings, which have a key, check their limits themselves
                    validator = () if argument.keys else partial(_check, note)
                    text = argument.parameter.help
                    added = Parameter(validator=validator, help=f"{text} [{note}]" if text else None)
                elif isinstance(note, Enum):
                    added = Parameter(group=_heading(note))
                else:
                    continue
                argument.parameter = Parameter.combine(argument.parameter, added)
        return arguments


def _set_of_words(type_: Any, tokens: Sequence[Token]) -> frozenset[str]:
    return frozenset(word for token in tokens for word in split_words(token.value))


def _check(limit: Limit, type_: Any, value: object) -> None:
    if isinstance(value, int | float) and not limit.allows(value):
        raise ValueError(f"Expected {limit}, got {shown(value)}")


def deferred(path: str) -> Callable[[], None]:
    """A stand-in for a function that a `CommandApp` imports when it is called.

    Args:
        path: Module and function, as `earmark.cli.tag:tag`.
    """

    def stand_in() -> None: ...

    vars(stand_in)["path"] = path
    return stand_in


@cache
def _heading(member: Enum) -> Group:
    return Group(str(member.value), sort_key=list(type(member)).index(member))


def split_words(text: str) -> tuple[str, ...]:
    """The words of a list joined by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())
