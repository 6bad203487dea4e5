"""Facts about clips."""

from dataclasses import dataclass
from typing import Final

import numpy as np


@dataclass(frozen=True)
class Facts:
    """Facts about one clip; of an unreadable clip, `error` is set and the rest is 0."""

    seconds: float = 0.0
    """Duration of the decoded sound."""
    sample_rate: int = 0
    """Sample rate of the recording in Hz; 0 if the clip is not a recording."""
    n_channels: int = 0
    """Channels of the recording; 0 if the clip is not a recording."""
    peak: float = 0.0
    """Largest absolute value of the mean of the channels, which is a network's input; full scale is 1."""
    clipped: float = 0.0
    """Share of samples in runs of three or more at 16-bit full scale within a channel.

    Digital recorders show an "over" from three such samples in a row, and Audacity's Find Clipping starts there.
    """
    sha256: str = ""
    """SHA-256 of sample rate, number of channels and 16-bit samples: equal for the same sound as WAV and as FLAC."""
    warning: str | None = None
    """Warnings of the decoder."""
    error: str | None = None
    """Reason why the clip cannot be read."""


class FactsTable:
    """Facts about all clips of a data set by position, in about 60 bytes each."""

    def __init__(self, n_clips: int) -> None:
        self._known = np.zeros(n_clips, bool)
        self._rows = np.zeros(n_clips, _ROW)
        self.warnings: dict[int, str] = {}
        self.errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, position: int, facts: Facts) -> None:
        """Sets the facts about one clip."""
        digest = bytes.fromhex(facts.sha256)
        self._rows[position] = (facts.seconds, facts.sample_rate, facts.n_channels, facts.peak, facts.clipped, digest)
        self._known[position] = True
        for texts, text in ((self.warnings, facts.warning), (self.errors, facts.error)):
            if text is None:
                texts.pop(position, None)  # of an earlier examination
            else:
                texts[position] = text

    def knows(self, position: int) -> bool:
        """Whether the facts about a clip are known."""
        return bool(self._known[position])

    def __getitem__(self, position: int) -> Facts:
        seconds, sample_rate, n_channels, peak, clipped, digest = self._rows[position].item()
        # NumPy strips zeros at the end of bytes
        sha256 = "" if position in self.errors else digest.ljust(32, b"\0").hex()
        texts = self.warnings.get(position), self.errors.get(position)
        return Facts(seconds, sample_rate, n_channels, peak, clipped, sha256, *texts)

    def column(self, name: str) -> np.ndarray:
        """One field of all clips, in order; `sha256` as bytes."""
        return self._rows[name]

    @property
    def n_known(self) -> int:
        """Number of clips whose facts are known."""
        return int(np.count_nonzero(self._known))


_ROW: Final = np.dtype(
    [
        ("seconds", "f8"),
        ("sample_rate", "i4"),
        ("n_channels", "i2"),
        ("peak", "f4"),
        ("clipped", "f8"),
        ("sha256", "S32"),
    ]
)
