"""Clips as segments that an encoder has made: the table that holds them, and the clips of a data set in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Float32, Int64

from earmark.audio.recording import Audio
from earmark.data.clips import Dataset
from earmark.errors import AudioError, DataError

_ZERO: Final = 128
"""Byte that stands for 0 in quantised segments; a step is 1/128."""


@dataclass(frozen=True)
class Encoder:
    """Identity of the encoder that made segments."""

    name: str
    sha256: str
    """Hash of its front end and backbone, config and weights."""
    n_channels: int
    """Width of a segment."""
    seconds_per_segment: float
    sample_rate: int
    """Rate of the recordings that it takes (Hz)."""


@dataclass(frozen=True, eq=False)
class SegmentTable:
    """The segments of many clips, one clip after the other."""

    encoder: Encoder
    blocks: Sequence[np.ndarray]
    """Arrays (segment, channel) of whole clips, in memory or mapped: floats, or bytes `b` that stand for
    `(b - 128) / 128`."""
    lengths: Int64[np.ndarray, " clip"]
    """Segments of each clip, 1 or more."""
    n_crops: int = 1
    """Crops of each recording that were encoded, as clips in sequence; the first is the whole recording."""
    folder: Path | None = None
    """Folder of the store that the table was read from."""
    _ends: np.ndarray = field(init=False)
    _borders: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", np.cumsum(self.lengths))
        object.__setattr__(self, "_borders", np.cumsum([0, *map(len, self.blocks)]))
        if self._borders[-1] != self._ends[-1] or int(self.lengths.min()) < 1:
            raise DataError(f"{self._ends[-1]} segments of clips were expected, not {self._borders[-1]}")

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # a process that receives a table maps the files itself
        return super().__reduce_ex__(protocol) if self.folder is None else (_open_table, (self.folder,))

    def gather(
        self, rows: Int64[np.ndarray, " clip"], skip: Int64[np.ndarray, " clip"], lengths: Int64[np.ndarray, " clip"]
    ) -> Float32[np.ndarray, "clip segment channel"]:
        """Segments of some clips; shorter clips are padded with zeros at their end.

        Args:
            rows: Numbers of the clips.
            skip: Segments to leave out at the start of each clip.
            lengths: Segments to take of each clip.
        """
        first = self._ends[rows] - self.lengths[rows] + skip
        longest = int(lengths.max(initial=0))
        place = np.arange(longest)
        values = np.empty((len(rows), longest, self.encoder.n_channels), np.float32)
        block_of = np.searchsorted(self._borders, first, side="right") - 1
        for number in np.unique(block_of):
            own, block = block_of == number, self.blocks[number]
            # a padded place may lie beyond the block; its value is overwritten
            index = (first[own] - self._borders[number])[:, None] + place
            values[own] = block[np.minimum(index, len(block) - 1)]
        if self.blocks[0].dtype == np.uint8:
            values -= _ZERO
            values /= _ZERO
        if int(lengths.min(initial=longest)) < longest:
            values[place >= lengths[:, None]] = 0.0
        return values


def _open_table(folder: Path) -> SegmentTable:
    from earmark.data.segment_store import open_table

    return open_table(folder)


@dataclass(frozen=True, slots=True)
class SegmentedClip:
    """The reader of a clip that has segments and no sound."""

    table: SegmentTable = field(compare=False)
    row: int

    def __repr__(self) -> str:
        return f"SegmentedClip({self.table.encoder.sha256[:16]}, row={self.row})"

    def load(self, sample_rate: int) -> Audio:
        """Raises AudioError: there is no sound."""
        raise AudioError(
            f"this clip has segments that {self.table.encoder.name} made, and no sound; segments can be trained, "
            "evaluated and calibrated on"
        )


class ClipSegments(NamedTuple):
    """The segments of the clips of a data set."""

    table: SegmentTable
    rows: Int64[np.ndarray, " clip"]
    """Number of each clip in the table; of its first crop, if it has several."""

    @property
    def encoder(self) -> Encoder:
        return self.table.encoder

    @property
    def lengths(self) -> Int64[np.ndarray, " clip"]:
        """Segments of each clip."""
        lengths: np.ndarray = self.table.lengths[self.rows]
        return lengths


def segments_of(dataset: Dataset) -> ClipSegments | None:
    """The segments of a data set that has segments; None if its clips have sound.

    Raises:
        DataError: The clips are of several kinds or from several tables.
    """
    readers: list[Any] = [clip.audio for clip in dataset]
    tables = {id(reader.table): reader.table for reader in readers if isinstance(reader, SegmentedClip)}
    if not tables:
        return None
    if len(tables) > 1 or not all(isinstance(reader, SegmentedClip) for reader in readers):
        raise DataError(f"{dataset.name}: clips with segments of one store were expected, these are mixed")
    (table,) = tables.values()
    return ClipSegments(table, np.array([reader.row for reader in readers], np.int64))
