"""The sound tracks of a file: the choice of one, and their mix."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from earmark.audio.resampling import StreamResampler
from earmark.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from earmark.audio.decoding import Decoder

Track = int | Literal["mix"] | None
"""Number of a sound track, from 1 on; `mix` for the mean of all; None for the first, with a warning about others."""
_PIECE: Final = 65536
"""Samples of each track that are decoded at a time."""


def check_track(track: object) -> None:
    """Checks the number of a track.

    Raises:
        ConfigError: It is neither a positive whole number nor `mix` nor None.
    """
    is_number = isinstance(track, int) and not isinstance(track, bool) and track > 0
    if not (is_number or track in (None, "mix")):
        raise ConfigError(f"the number of a sound track from 1 on, or mix, was expected, not {track!r}", "track")


def check_exists(track: Track, n_tracks: int, name: str) -> None:
    """Checks that a file has a track.

    Raises:
        AudioError: The number is higher than that of its tracks.
    """
    if isinstance(track, int) and track > n_tracks:
        some = f"{n_tracks} sound tracks" if n_tracks > 1 else "one sound track"
        raise AudioError(f"{name}: it has {some}, and track {track} was asked for")


class MixedTracks:
    """The mean of several tracks as one channel, each by its own clock; shorter ones end in silence.

    Args:
        open_track: Opens a decoder of the track with a number, from 1 on.
        n_tracks: Number of tracks.
    """

    n_channels: int = 1
    n_samples: int | None = None
    slack: int = 0

    def __init__(self, open_track: "Callable[[int], Decoder]", n_tracks: int) -> None:
        with ExitStack() as opened:
            decoders = [opened.enter_context(closing(open_track(number + 1))) for number in range(n_tracks)]
            self._opened = opened.pop_all()
        self.sample_rate: int = max(decoder.sample_rate for decoder in decoders)
        self._tracks = [_ResampledTrack(decoder, self.sample_rate) for decoder in decoders]

    def read(self, n_samples: int) -> np.ndarray:
        """As `Decoder.read`: shorter than `n_samples` only at the end of all tracks."""
        pieces = [track.read(n_samples) for track in self._tracks]
        mixed = np.zeros((max(map(len, pieces)), 1), np.float32)
        for piece in pieces:
            mixed[: len(piece), 0] += piece
        mixed /= len(pieces)
        return mixed

    def skip(self, n_samples: int) -> None:
        """As `Decoder.skip`."""
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, _PIECE))) or n_samples

    def close(self) -> None:
        """As `Decoder.close`."""
        self._opened.close()


class _ResampledTrack:
    """The mean of a track's channels at another rate."""

    def __init__(self, decoder: "Decoder", sample_rate: int) -> None:
        self._decoder = decoder
        self._weights = np.full(decoder.n_channels, 1 / decoder.n_channels, np.float32)
        self._resampler = StreamResampler(decoder.sample_rate, sample_rate)
        self._waiting = np.zeros(0, np.float32)
        self._is_at_end = False

    def read(self, n_samples: int) -> np.ndarray:
        """Exactly `n_samples` samples, fewer at the end."""
        pieces, n_waiting = [self._waiting], len(self._waiting)
        while n_waiting < n_samples and not self._is_at_end:
            samples = self._decoder.read(_PIECE)
            self._is_at_end = not len(samples)
            pieces.append(
                self._resampler.finish() if self._is_at_end else self._resampler.push(samples @ self._weights)
            )
            n_waiting += len(pieces[-1])
        joined = np.concatenate(pieces)
        self._waiting = joined[n_samples:]
        return joined[:n_samples]
