"""Which settings of a job changed between two of its runs."""

from collections.abc import Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One text for each setting that changed, by name; a setting that is missing counts as None.

    >>> differences({"seed": 3, "width": 16}, {"seed": 4, "width": 16})
    ['seed 3 -> 4']
    """
    names = sorted({*before, *now})
    return [f"{name} {before.get(name)!r} -> {now.get(name)!r}" for name in names if before.get(name) != now.get(name)]
