"""The clock of a sound track: where its timestamps leave a gap, silence is put in."""

from collections.abc import Callable
from operator import itemgetter
from typing import Final

TOLERANCE: Final = 0.02
"""Seconds by which a timestamp may differ from the samples before it. Containers round to milliseconds, recorders of
calls stamp packets when they arrive."""
LONGEST_GAP: Final = 3600.0
"""Seconds of the longest silence that is put in; a longer gap is taken for a damaged or restarted clock."""
_RESTART: Final = 1.0
"""Seconds by which timestamps step back when a clock has been restarted; smaller steps are overlapping packets."""
_NOTED: Final = 0.1
"""Seconds of silence below which there is no note: cameras start the sound some hundredths of a second late."""
_NOTED_OVERLAP: Final = 0.03
"""Seconds by which sound may be late without a note."""


class TrackClock:
    """The number of silent samples before each piece of sound, so that its samples lie where its timestamps say.

    A timestamp is compared with all samples before it, so that rounded timestamps add no error and a slow clock is
    followed. A single timestamp that the next one contradicts is ignored.

    Args:
        sample_rate: Rate of the track, in Hz.
        end: Seconds at which the file ends by its header; None if it states no end. No sound begins later.
    """

    def __init__(self, sample_rate: int, end: float | None = None) -> None:
        self._rate = sample_rate
        self.longest_gap = LONGEST_GAP
        """Seconds of the longest silence that is put in now."""
        self._end = None if end is None else round(end * sample_rate)
        self._tolerance = round(TOLERANCE * sample_rate)
        self._shift = 0
        """Samples to add to timestamps, after clocks that were restarted."""
        self.n_samples = 0
        """Samples so far, with the silence: the position of the next piece."""
        self._lead = self._n_silent = self._n_gaps = self._n_jumps = 0
        # length and position of the longest gap, the longest overlap, and the first jump that was not followed
        self._gap = self._overlap = self._jump = (0, 0)

    def add(self, start: int | None, n_samples: int, following: Callable[[], int | None]) -> int:
        """Adds a piece of sound and returns the number of silent samples before it.

        Args:
            start: Timestamp of the piece in samples of the track; None if it has none.
            n_samples: Length of the piece.
            following: The timestamp of the next piece, None without one; called only where this one is in doubt.
        """
        gap = 0 if start is None else start + self._shift - self.n_samples
        n_silent = 0
        if abs(gap) > self._tolerance and not self._is_slip(gap, n_samples, following()):
            if self._is_believed(gap):
                n_silent = gap
                self._note_silence(gap)
            elif -_RESTART * self._rate < gap < 0:
                self._overlap = max(self._overlap, (-gap, self.n_samples), key=itemgetter(0))
            else:
                self._jump = self._jump if self._n_jumps else (gap, self.n_samples)
                self._n_jumps += 1
                self._shift -= gap
        self.n_samples += n_silent + n_samples
        return n_silent

    def _is_slip(self, gap: int, n_samples: int, following: int | None) -> bool:
        """Whether the next timestamp is nearer to the clock without the gap."""
        if following is None:
            return False
        rest = following + self._shift - self.n_samples - n_samples
        return abs(rest) < abs(rest - gap)

    def _is_believed(self, gap: int) -> bool:
        latest = self.n_samples + gap - self._rate  # a second of slack: stated lengths are rounded
        return 0 < gap <= self.longest_gap * self._rate and (self._end is None or latest <= self._end)

    def _note_silence(self, gap: int) -> None:
        if self.n_samples == 0:
            self._lead = gap
            return
        self._n_gaps += 1
        self._n_silent += gap
        self._gap = max(self._gap, (gap, self.n_samples), key=itemgetter(0))

    def notes(self) -> list[str]:
        """A line for each kind of deviation: a late start, gaps, overlaps, and jumps that were not followed."""
        rate = self._rate
        lines = []
        if self._lead > _NOTED * rate:
            lines.append(f"{self._lead / rate:.1f} s of silence put in at the start, where its sound track begins late")
        if self._n_silent > _NOTED * rate:
            longest, at = self._gap
            many = f"into {self._n_gaps} gaps of its sound track, the longest with {longest / rate:.1f} s"
            one = "where its sound track has a gap"
            where = f"{many} at {at / rate:.1f} s" if self._n_gaps > 1 else f"in at {at / rate:.1f} s, {one}"
            lines.append(f"{self._n_silent / rate:.1f} s of silence put {where}")
        if self._overlap[0] > _NOTED_OVERLAP * rate:
            overlap, at = self._overlap
            lines.append(
                f"its timestamps step back by {overlap / rate:.2f} s at {at / rate:.1f} s; all samples are kept, so "
                f"later ones come {overlap / rate:.2f} s late"
            )
        if self._n_jumps:
            gap, at = self._jump
            others = f" ({self._n_jumps - 1} other jumps follow)" if self._n_jumps > 1 else ""
            lines.append(
                f"its timestamps jump by {gap / rate:+.1f} s at {at / rate:.1f} s, which is taken for a restarted or "
                f"damaged clock{others}; later times are counted without the jump"
            )
        return lines
