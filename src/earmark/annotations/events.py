"""Events of one recording, as annotation formats hold them."""

import math
from dataclasses import dataclass
from datetime import datetime

from earmark.errors import DataError
from earmark.labels import check_label


@dataclass(frozen=True, slots=True)
class Annotation:
    """A label with onset and offset, given by a person or a tagger.

    Raises:
        DataError: A time is not a finite number of 0 or more, the offset is before the onset, or the label is no label.
    """

    onset: float
    """Seconds from the start of the recording."""
    offset: float
    """Seconds from the start of the recording; a point has its onset here."""
    label: str
    score: float | None = None
    """Score of a tagger; None where the annotation has none."""
    time: datetime | None = None
    """Time of day of the onset; None where the recording's start is unknown."""

    def __post_init__(self) -> None:
        for name, value in (("onset", self.onset), ("offset", self.offset)):
            if not 0 <= value < math.inf:
                raise DataError(f"expected an {name} in seconds, 0 or more, got {value}")
        if self.offset < self.onset:
            raise DataError(f"the offset {self.offset:g} s is before the onset {self.onset:g} s")
        check_label(self.label)


@dataclass(frozen=True)
class FileEvents:
    """Events of a recording; an empty tuple states that it has none."""

    file: str
    """Path of the recording as it was given or written; undecodable bytes are surrogates, as in `os.fsdecode`."""
    events: tuple[Annotation, ...] = ()
    duration: float | None = None
    """Seconds of the recording; None where it is unknown."""
