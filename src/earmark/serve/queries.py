"""Parameters of the interface as dataclasses; they define reading, checks and the description."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object
from starlette.datastructures import QueryParams

from earmark.errors import ConfigError, Limit, check_settings
from earmark.inference.timeline import HOP, WINDOW


@dataclass(frozen=True)
class Source:
    """The recording, and the model that analyses it."""

    model: str | None = None
    """Name of a model that the server has (`/api/models`); by default its first."""
    recording: str | None = None
    """Id of a recording that the server holds (`/api/recordings`), instead of a body."""
    name: str | None = None
    """Name of the recording in results and errors; never used as a path."""


@dataclass(frozen=True)
class TagQuery:
    """Choice of the tags."""

    top_k: Annotated[int | None, Limit(at_least=1)] = None
    """Number of tags; 5 unless a threshold is given."""
    threshold: Annotated[float | None, Limit(at_least=0, at_most=1)] = None
    """Lowest score of a tag."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class TimelineQuery:
    """Windows of a timeline."""

    window: Annotated[float, Limit(above=0, at_most=3600)] = WINDOW
    """Seconds pooled for one row of scores."""
    hop: Annotated[float, Limit(at_least=0.01)] = HOP
    """Seconds from one row to the next."""
    context: Annotated[float | None, Limit(at_least=0, at_most=3600)] = None
    """Seconds of the longer window that limits the scores of a row; by default half a training clip; 0: none."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class ScoresQuery:
    """Choice of the labels in a timeline."""

    least: Annotated[float, Limit(at_least=0, at_most=1)] = 0.0
    """Leave out labels whose scores are all lower."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class EvidenceQuery:
    """The tag to explain."""

    label: str
    """Name or id of a label."""


_THRESHOLD: Final = "threshold"
"""Field whose value may be a score, `auto`, or scores of single labels: `threshold=0.5&threshold=dog:0.3`."""


def read(given: QueryParams, *kinds: type[Any]) -> list[Any]:
    """The parameters as one object of each kind.

    Raises:
        ConfigError: A parameter is unknown, given twice, missing or invalid.
    """
    known = {entry.name for kind in kinds for entry in fields(kind)}
    if unknown := sorted(set(given) - known):
        raise ConfigError(f"one of the parameters {', '.join(sorted(known))} was expected", label(unknown[0]))
    results = []
    for kind in kinds:
        hints = get_type_hints(kind)
        values = {}
        for entry in fields(kind):
            texts = given.getlist(entry.name)
            if texts:
                values[entry.name] = _value(entry.name, hints[entry.name], texts)
            elif entry.default is MISSING:
                raise ConfigError("a value was expected, got none", entry.name)
        results.append(kind(**values))
    return results


def label(text: str) -> str:
    """The beginning of a text without control characters, for errors."""
    return "".join(c if c.isprintable() else " " for c in text)[:60]


def _value(name: str, hint: Any, texts: Sequence[str]) -> object:
    if name == _THRESHOLD and hint != float | None:
        return _thresholds(texts)
    kind = _plain(hint)
    if get_origin(kind) not in (None, Literal):
        return tuple(texts)  # a sequence of texts
    if len(texts) > 1:
        raise ConfigError("one value was expected, not several", name)
    if kind in (int, float):
        return _number(name, kind, texts[0])
    if get_origin(kind) is Literal and texts[0] not in get_args(kind):
        raise ConfigError(f"one of {', '.join(get_args(kind))} was expected, not {label(texts[0])!r}", name)
    return texts[0]


def _plain(hint: Any) -> Any:
    """The kind of a field without None."""
    if get_origin(hint) in (Union, UnionType):
        return next(option for option in get_args(hint) if option is not NoneType)
    return hint


def _number(name: str, kind: type, text: str) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        noun = "whole number" if kind is int else "number"
        raise ConfigError(f"a {noun} was expected, not {label(text)!r}", name) from error


def _thresholds(texts: Sequence[str]) -> float | str | Mapping[str, float]:
    if len(texts) == 1 and ":" not in texts[0]:
        return texts[0] if texts[0] == "auto" else _number(_THRESHOLD, float, texts[0])
    single = {}
    for text in texts:
        name, _, score = text.rpartition(":")
        if not name:
            raise ConfigError("one score, or LABEL:SCORE for each of several labels, was expected", _THRESHOLD)
        single[name] = _number(_THRESHOLD, float, score)
    return single


def describe(kind: type[Any]) -> list[dict[str, Any]]:
    """OpenAPI's description of the parameters of a kind."""
    texts = {entry.arg_name: entry.description or "" for entry in parse_from_object(kind).params}
    hints = get_type_hints(kind, include_extras=True)
    return [
        {
            "name": entry.name,
            "in": "query",
            "required": entry.default is MISSING,
            "description": " ".join(texts.get(entry.name, "").split()),
            "schema": _schema(entry.name, hints[entry.name], entry.default),
        }
        for entry in fields(kind)
    ]


def _schema(name: str, hint: Any, default: object) -> dict[str, Any]:
    kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    plain = _plain(kind)
    schema: dict[str, Any] = {"type": {int: "integer", float: "number"}.get(plain, "string")}
    if name == _THRESHOLD and kind != float | None:
        return {"type": "array", "items": {"type": "string"}}
    if get_origin(plain) is Literal:
        schema = {"type": "string", "enum": list(get_args(plain))}
    elif get_origin(plain) is not None:
        schema = {"type": "array", "items": {"type": "string"}}
    for note in notes:
        if isinstance(note, Limit):
            limits = {
                "minimum": note.at_least,
                "maximum": note.at_most,
                "exclusiveMinimum": note.above,
                "exclusiveMaximum": note.below,
            }
            schema |= {word: value for word, value in limits.items() if value is not None}
    if isinstance(default, int | float | str):
        schema["default"] = default
    return schema
