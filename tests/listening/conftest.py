"""Sources that play sound by a clock of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from earmark.errors import AudioError
from earmark.inference.events import EventSettings
from earmark.inference.tagger import Tagger
from earmark.listening.listener import ListenConfig, Listener

RATE = 1000


class Player:
    """A live source that plays pieces of a waveform; between them it is lost for some seconds of its clock.

    To open it takes some seconds, whose sound then comes at once.
    """

    def __init__(
        self, *pieces: np.ndarray, lost: float = 0.0, block: int = 150, ends: bool = True, opening: float = 0.0
    ) -> None:
        self._pieces, self._lost, self._block, self._ends = list(pieces), lost, block, ends
        self.seconds, self.opening = 100.0, opening
        self.n_opened = 0

    def clock(self) -> float:
        return self.seconds

    def open(self) -> Any:
        if self.n_opened:
            self.seconds += self._lost
        self.n_opened += 1
        if not self._pieces:
            raise AudioError("radio: nobody answers")
        return _Piece(self, self._pieces.pop(0), self._block, is_last=self._ends and not self._pieces)


class _Piece:
    sample_rate, n_channels = RATE, 1

    def __init__(self, player: Player, waveform: np.ndarray, block: int, is_last: bool) -> None:
        self._player, self._waveform, self._block, self._is_last = player, waveform, block, is_last
        self._early = player.opening
        player.seconds += player.opening

    def read(self) -> np.ndarray | None:
        samples, self._waveform = self._waveform[: self._block], self._waveform[self._block :]
        if not len(samples):
            if self._is_last:
                return None
            raise AudioError("radio: the connection was closed")
        self._player.seconds += max(0.0, len(samples) / RATE - self._early)
        self._early = max(0.0, self._early - len(samples) / RATE)
        return samples[None]

    def close(self) -> None:
        self._waveform = self._waveform[:0]


@pytest.fixture
def tagger(mean_engine: Any) -> Tagger:
    # its context, half a training clip, is no longer than a row
    return Tagger(mean_engine(thresholds=(0.7, 0.8, 0.5), clip_duration=0.8))


@pytest.fixture
def listening(tagger: Tagger) -> Callable[..., Listener]:
    """A listener of a player, with rows of 0.4 s or of other `sizes`, and short waits."""

    def made(player: Player, settings: EventSettings = EventSettings(), **options: Any) -> Listener:  # noqa: B008
        retries = options.pop("retries", None)
        window, hop = options.pop("sizes", (0.4, 0.4))
        config = ListenConfig(window=window, hop=hop, context=0.0, retries=retries, longest_wait=0.01)
        return Listener(player.open, tagger, settings, config, clock=player.clock, **options)

    return made
