"""The errors and warnings that earmark raises on purpose, the lists in their texts, and the limits of settings."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class _Report(Exception):
    """A message for a person, with the settings that would help.

    Args:
        message: What was expected, what came, what to do.
        remedy: Settings and the values to give them. They end the text, in parentheses: `(skip_bad=True)`.
    """

    setting: str | None = None
    """The invalid setting; the text begins with its name."""

    def __init__(self, message: str = "", *, remedy: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.remedy = dict(remedy or {})

    def __reduce__(self) -> Any:
        # an exception is otherwise unpickled by a call with its text alone, which a class with other arguments refuses
        return _blank, (type(self), self.args), self.__dict__

    def text(
        self, name: Callable[[str], str] = str, assignment: Callable[[str, object], str] = "{}={!r}".format
    ) -> str:
        """The whole text.

        Args:
            name: Spells the name of a setting.
            assignment: Spells a setting with its value.
        """
        remedy = ", ".join(assignment(setting, value) for setting, value in self.remedy.items())
        about = f"{name(self.setting)}: " if self.setting else ""
        return f"{about}{super().__str__()}{f' ({remedy})' if remedy else ''}"

    def __str__(self) -> str:
        return self.text()


def _blank(kind: type[_Report], arguments: tuple[object, ...]) -> _Report:
    return kind.__new__(kind, *arguments)


class EarmarkError(_Report):
    """Base class of all errors that earmark raises on purpose."""


class AudioError(EarmarkError):
    """An unreadable recording, or one without usable sound."""


class DataError(EarmarkError):
    """A data set that is missing, empty, unlabelled or contradictory."""


class CheckpointError(EarmarkError):
    """A file that is not an earmark checkpoint, or one that this version cannot read."""


class ConfigError(EarmarkError, ValueError):
    """An invalid setting.

    >>> raise ConfigError("a divisor of 16 was expected, not 3", "n_heads")
    Traceback (most recent call last):
    earmark.errors.ConfigError: n_heads: a divisor of 16 was expected, not 3

    Args:
        message: What was expected, what came, what to do.
        setting: Name of the setting; None where the message is about no single one.
        remedy: Settings and the values to give them.
    """

    def __init__(
        self, message: str = "", setting: str | None = None, *, remedy: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.setting = setting


class EarmarkWarning(_Report, UserWarning):
    """A likely mistake that may be intended; the command line prints it as a note."""


def first_few(texts: Sequence[str], n: int = 3, separator: str = ", ") -> str:
    """The first `n` texts, joined, with an ellipsis if there are more.

    >>> first_few(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return separator.join([*texts[:n], *(["..."] if len(texts) > n else [])])


def counted(n: int, noun: str) -> str:
    """The number with its noun, in the plural unless the number is 1.

    >>> counted(1, "clip"), counted(2, "process")
    ('1 clip', '2 processes')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{'es' if noun.endswith('s') else 's'}"


def describe_error(error: BaseException) -> str:
    """One line about an error, with its class unless the error is meant for users."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return text if isinstance(error, EarmarkError) else f"{type(error).__name__}: {text}"


def shown(value: int | float) -> str:
    """The number, a float in six digits at most.

    >>> shown(1234567), shown(0.1 + 0.2), shown(3600.0)
    ('1234567', '0.3', '3600')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Limit:
    """Limits of a number, declared beside a field.

    >>> str(Limit(at_least=0, below=1))
    'at least 0 and below 1'
    >>> str(Limit(at_least=0, at_most=3600.0))
    'from 0 to 3600'
    """

    at_least: int | float | None = None
    above: int | float | None = None
    at_most: int | float | None = None
    below: int | float | None = None
    multiple_of: int | None = None

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"from {shown(self.at_least)} to {shown(self.at_most)}"
        named = {
            "at least": self.at_least,
            "above": self.above,
            "at most": self.at_most,
            "below": self.below,
            "a multiple of": self.multiple_of,
        }
        return " and ".join(f"{words} {shown(value)}" for words, value in named.items() if value is not None)

    def allows(self, value: int | float) -> bool:
        """Whether the number is within the limits."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )


_NOUNS: Final[Mapping[type, str]] = {bool: "true or false", int: "whole number", float: "finite number", str: "text"}


def check_settings(config: "DataclassInstance") -> None:
    """Checks the fields of a dataclass against their types and limits.

    A field may be `bool`, `int`, `float`, `str`, a `Literal` or a pair of numbers (a range), each with `| None`, and
    `Annotated` with a `Limit`. Fields of other types, and of several of these types, are not checked.

    Raises:
        ConfigError: A value has another type or is outside its limits.
    """
    for name, hint in _hints(type(config)).items():
        kind, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        value = getattr(config, name)
        if get_origin(kind) in (Union, UnionType):
            options = [option for option in get_args(kind) if option is not NoneType]
            if value is None or len(options) > 1:
                continue
            kind = options[0]
        if problem := _problem(kind, value, next((note for note in notes if isinstance(note, Limit)), Limit())):
            raise ConfigError(f"{problem}, not {value!r}", name)


@cache
def _hints(config: type["DataclassInstance"]) -> dict[str, Any]:
    hints = get_type_hints(config, include_extras=True)
    return {entry.name: hints[entry.name] for entry in fields(config)}


def _problem(kind: Any, value: object, limit: Limit) -> str | None:
    """The expectation that a value fails; None if it is valid."""
    if get_origin(kind) is Literal:
        # 32000.0 and True equal whole numbers but are not written like them
        is_choice = any(type(value) is type(choice) and value == choice for choice in get_args(kind))
        return None if is_choice else f"one of {', '.join(map(str, get_args(kind)))} was expected"
    if get_origin(kind) is tuple:
        each = get_args(kind)[0]
        if (
            not isinstance(value, tuple)
            or len(value) != 2
            or not all(_fits(each, part) for part in value)
            or value[0] > value[1]
        ):
            return f"two {_NOUNS[each]}s, the smaller first, were expected"
        return None if all(map(limit.allows, value)) else f"two {_NOUNS[each]}s, {limit}, were expected"
    if kind not in _NOUNS:
        return None
    if not _fits(kind, value):
        return f"{'' if kind is bool else 'a '}{_NOUNS[kind]} was expected"
    return None if not isinstance(value, int | float) or limit.allows(value) else f"{limit} was expected"


def _fits(kind: type, value: object) -> bool:
    accepted = (int, float) if kind is float else kind
    # True is an int to Python, and NaN passes no comparison
    is_kind = isinstance(value, accepted) and isinstance(value, bool) == (kind is bool)
    return is_kind and (not isinstance(value, float) or math.isfinite(value))
