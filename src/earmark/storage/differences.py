"""Settings that differ between an earlier call and this one."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHOWN: Final = 12
"""Characters of a SHA-256 that an error shows."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that differ, each as `name before -> now`; a missing setting counts as null.

    >>> differences({"seed": 0, "codec": "flac"}, {"seed": 1, "codec": "flac", "labels": ["dog"]})
    ['seed 0 -> 1', 'labels null -> ["dog"]']
    """
    return [
        f"{name} {_shown(before.get(name))} -> {_shown(now.get(name))}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return value[:_SHOWN] if _DIGEST.fullmatch(value) else value
