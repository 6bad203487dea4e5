"""Start times of recordings, from the time stamps that recorders write into file names."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Final
from zoneinfo import ZoneInfo

from earmark.errors import ConfigError

_YEAR: Final = "(?:19|20)[0-9]{2}"
_STAMPS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # 20240501_053000, 20240501$053000 (Song Meter with GPS), 20240501T053000+0200 (Frontier Labs), 20240501053000
        rf"(?<![0-9])({_YEAR}[0-9]{{4}})(?:[_$ -]?|(T))([0-9]{{6}})(?![0-9])(?(2)(Z|[+-][0-9]{{4}})?)",
        # 2024-05-01T05-30-00, 2024-05-01 05.30.00, 2024-05-01_05:30:00+02:00
        rf"(?<![0-9])({_YEAR}-[0-9]{{2}}-[0-9]{{2}})(?:[_ -]|(T))([0-9]{{2}}([-:._])[0-9]{{2}}\4[0-9]{{2}})(?![0-9])"
        r"(?(2)(Z|[+-][0-9]{2}:?[0-9]{2})?)",
    )
)
_AUDIOMOTH: Final = re.compile(r"[0-9]{8}_[0-9]{6}T?")
"""Whole names of AudioMoth's recordings, with T for triggered ones; its clock is UTC."""
_DIRECTIVES: Final = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",
    "%m": "[0-9]{2}",
    "%d": "[0-9]{2}",
    "%j": "[0-9]{3}",
    "%H": "[0-9]{2}",
    "%I": "[0-9]{2}",
    "%M": "[0-9]{2}",
    "%S": "[0-9]{2}",
    "%f": "[0-9]{1,6}",
    "%p": "[AaPp][Mm]",
    "%b": r"[^\W\d_]{3}",
    "%z": "(?:Z|[+-][0-9]{2}:?[0-9]{2})",
    "%%": "%",
}
"""The directives of `strptime` that a format may have, with the text that each one stands for."""


class StartTimes:
    """Reads the time at which a recording starts from its file name.

    The names of AudioMoth, Song Meter and Frontier Labs are known, and ISO 8601. A stamp with an offset from UTC has
    that zone. A name that is a stamp and nothing else is AudioMoth's, whose clock is UTC unless `time_zone` says
    otherwise. Other times have no zone unless `time_zone` gives it.

    >>> StartTimes().of("night/20240501_053000.WAV").isoformat()
    '2024-05-01T05:30:00+00:00'
    >>> StartTimes().of("POND_20240501_053000.wav").isoformat()
    '2024-05-01T05:30:00'

    Args:
        time_format: Form of other stamps, as for `datetime.strptime`. It may stand anywhere in the name, and begin in
            the name of a folder if it contains a slash.
        time_zone: IANA name of the zone of the recorders' clocks.

    Raises:
        ConfigError: The format has no date and time, or the zone is unknown.
    """

    def __init__(self, time_format: str | None = None, time_zone: str | None = None) -> None:
        self._format = time_format
        self._pattern = None if time_format is None else _pattern(time_format)
        self._zone = None if time_zone is None else zone_of(time_zone)

    def of(self, file: str) -> datetime | None:
        """The start of a recording; None if its name has no valid stamp.

        The last part of the path counts; where the format contains a slash, the whole path.
        """
        name = PurePath(file.replace("\\", "/"))
        time = self._stamp(name)
        if time is None or time.tzinfo is not None:
            return time
        if self._zone is not None:
            return time.replace(tzinfo=self._zone)
        return time.replace(tzinfo=UTC) if self._format is None and _AUDIOMOTH.fullmatch(name.stem) else time

    def _stamp(self, name: PurePath) -> datetime | None:
        if self._format is not None and self._pattern is not None:
            text = str(name.with_suffix("")) if "/" in self._format else name.stem
            return next(
                (time for found in self._pattern.finditer(text) if (time := _parsed(found[0], self._format))), None
            )
        for pattern in _STAMPS:
            for found in pattern.finditer(name.stem):
                date, _, clock, *rest = found.groups()
                digits = re.sub("[^0-9]", "", date + clock)
                time = _parsed(digits + (rest[-1] or ""), "%Y%m%d%H%M%S" + ("%z" if rest[-1] else ""))
                if time is not None:
                    return time
        return None


def later(start: datetime, seconds: float) -> datetime:
    """The time that many seconds after the start; a zone's change to or from summer time is respected."""
    duration = timedelta(seconds=seconds)
    if start.tzinfo is None:
        return start + duration
    return (start.astimezone(UTC) + duration).astimezone(start.tzinfo)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        ConfigError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigError(
            f"the name of a time zone, such as Europe/Berlin or UTC, was expected, not {name!r}", "time_zone"
        ) from None


def _pattern(time_format: str) -> re.Pattern[str]:
    parts = re.split("(%.?)", time_format)
    unknown = [part for part in parts[1::2] if part not in _DIRECTIVES]
    if unknown:
        raise ConfigError(f"the directives {', '.join(_DIRECTIVES)} are known, not {unknown[0]}", "time_format")
    there = set(parts[1::2])
    has_date = bool(there & {"%Y", "%y"}) and ("%j" in there or ({"%d"} <= there and bool(there & {"%m", "%b"})))
    if not (has_date and there & {"%H", "%I"}):
        raise ConfigError(
            f"a date with its year and a time were expected, as in 'SITE_%Y%m%d_%H%M%S', not {time_format!r}",
            "time_format",
        )
    # digits beside the stamp belong to another number
    before, after = ("" if parts[0] else "(?<![0-9])"), ("" if parts[-1] else "(?![0-9])")
    return re.compile(before + "".join(_DIRECTIVES.get(part) or re.escape(part) for part in parts) + after)


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None
