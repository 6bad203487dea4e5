"""Commands that are imported when they are called, and whose help shows the limits and headings of their settings."""

from collections.abc import Callable
from enum import Enum
from functools import cache
from importlib import import_module
from types import FunctionType
from typing import Any

from cyclopts import App, ArgumentCollection, Group, Parameter

from earmark.errors import Limit


class CommandApp(App):
    """A command, imported when it is called, whose help shows what the types of its flags are annotated with.

    A `Limit` stands behind the description. A member of an enum is the heading under which the flag is listed; the
    headings have the order of the enum.
    """

    def assemble_argument_collection(self, **options: Any) -> ArgumentCollection:
        """Imports the command and returns its flags."""
        if isinstance(self.default_command, FunctionType) and (path := vars(self.default_command).get("path")):
            module, name = path.split(":")
            self.default_command = getattr(import_module(module), name)
        arguments = super().assemble_argument_collection(**options)
        for argument in arguments:
            for note in getattr(argument.field_info.annotation, "__metadata__", ()):
                if isinstance(note, Limit) and argument.parameter.help:
                    shown = Parameter(help=f"{argument.parameter.help} [{note}]")
                elif isinstance(note, Enum):
                    shown = Parameter(group=_heading(note))
                else:
                    continue
                argument.parameter = Parameter.combine(argument.parameter, shown)
        return arguments


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
