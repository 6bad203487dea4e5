"""What clips were found to be, each and all of them."""

from dataclasses import dataclass
from typing import Final

import numpy as np


@dataclass(frozen=True)
class Facts:
    """What one clip was found to be; those that could not be read are all 0 and say why."""

    seconds: float = 0.0
    """As decoded."""
    sample_rate: int = 0
    """Hz, of the recording; 0 where the clip is none."""
    n_channels: int = 0
    """Of the recording; 0 where the clip is none."""
    peak: float = 0.0
    """The largest absolute value of the mean of the channels, which is what a network hears; full scale is 1."""
    clipped: float = 0.0
    """The share of samples that lie in runs of three or more at full scale within a channel, as 16 bits have it.

    Three at full scale in a row is what makes an over on the meters of digital recorders, and where Audacity's Find
    Clipping begins.
    """
    sha256: str = ""
    """Of rate, channels and samples as whole numbers of 16 bits: the same for a sound as wav and as flac."""
    warning: str | None = None
    """What the decoder had to say of it."""
    error: str | None = None
    """Why it could not be read."""


class FactsTable:
    """The facts of all clips of a data set by their positions, in about 60 bytes each.

    Args:
        n_clips: Of the data set.
    """

    def __init__(self, n_clips: int) -> None:
        self._known = np.zeros(n_clips, bool)
        self._rows = np.zeros(n_clips, _ROW)
        self.warnings: dict[int, str] = {}
        self.errors: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, position: int, facts: Facts) -> None:
        """Takes the facts of one clip.

        Raises:
            IndexError: There is no such position.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"there is no clip {position}")
        digest = bytes.fromhex(facts.sha256)
        self._rows[position] = (facts.seconds, facts.sample_rate, facts.n_channels, facts.peak, facts.clipped, digest)
        self._known[position] = True
        for texts, text in ((self.warnings, facts.warning), (self.errors, facts.error)):
            if text is not None:
                texts[position] = text

    def knows(self, position: int) -> bool:
        """Whether the facts of a clip are there."""
        return bool(self._known[position])

    def __getitem__(self, position: int) -> Facts:
        seconds, sample_rate, n_channels, peak, clipped, digest = self._rows[position].item()
        # NumPy takes zeros at the end for padding
        sha256 = "" if position in self.errors else digest.ljust(32, b"\0").hex()
        texts = self.warnings.get(position), self.errors.get(position)
        return Facts(seconds, sample_rate, n_channels, peak, clipped, sha256, *texts)

    def column(self, name: str) -> np.ndarray:
        """One field of all clips, in their order; `sha256` as bytes."""
        return self._rows[name]

    @property
    def n_known(self) -> int:
        """Clips whose facts are there."""
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
