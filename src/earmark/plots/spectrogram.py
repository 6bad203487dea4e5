"""Log-mel spectrograms to look at, of recordings of any length; the network has a front end of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from jaxtyping import Float

from earmark.model.mel import FrontendConfig, mel_edges, mel_filters

N_FRAMES: Final = 1600
"""As many at most as a picture has columns of pixels."""
_FLOOR: Final = 1e-10


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """A log-mel spectrogram with its axes."""

    log_mel: Float[np.ndarray, "frame mel"]
    """dB."""
    frequencies: Float[np.ndarray, " mel"]
    """Centre of each bin in Hz, rising."""
    seconds_per_frame: float
    onset: float = 0.0
    """Seconds of the recording before the first frame."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.log_mel) * self.seconds_per_frame

    @property
    def offset(self) -> float:
        """Seconds of the recording up to the end of the last frame."""
        return self.onset + self.duration


def spectrogram_of(blocks: Iterable[Float[np.ndarray, " _"]], sample_rate: int, onset: float = 0.0) -> Spectrogram:
    """The spectrogram of a recording that comes in blocks; frames of a long one are means, `N_FRAMES` at most.

    Args:
        blocks: Samples of one channel, at least one in all.
        sample_rate: Hz.
        onset: Where in the recording they begin (s).
    """
    n_fft = 1 << (sample_rate // 32 - 1).bit_length()  # a window of 31 to 62 ms
    hop = max(1, sample_rate // 40)
    config = FrontendConfig(
        sample_rate, n_fft, hop, f_max=min(14000.0, sample_rate / 2), f_min=min(50.0, sample_rate / 8)
    )
    columns = _Columns()
    waiting = np.zeros(n_fft // 2, np.float32)  # silence before the first sample, so that a frame's middle is its time
    window, filters = np.hanning(n_fft + 1)[:-1].astype(np.float32), mel_filters(config).astype(np.float32)
    for block in chain(blocks, [waiting]):
        waiting = np.concatenate([waiting, block])
        n_frames = 1 + (len(waiting) - n_fft) // hop if len(waiting) >= n_fft else 0
        if n_frames:
            frames = np.lib.stride_tricks.sliding_window_view(waiting, n_fft)[::hop][:n_frames]
            columns.add(np.square(np.abs(np.fft.rfft(frames * window))).astype(np.float32) @ filters)
            waiting = waiting[n_frames * hop :]
    power, n_each = columns.all()
    log_mel = 10 * np.log10(np.maximum(power, _FLOOR))
    return Spectrogram(log_mel, mel_edges(config)[1:-1], n_each * hop / sample_rate, onset)


class _Columns:
    """Means of as many frames each as keep their number in bounds."""

    def __init__(self) -> None:
        self._n_each = 1
        self._done = np.zeros((0, 0), np.float32)
        self._waiting = np.zeros((0, 0), np.float32)

    def add(self, frames: np.ndarray) -> None:
        """Takes frames, (frame, mel)."""
        frames = np.concatenate([self._waiting, frames]) if len(self._waiting) else frames
        n_whole = len(frames) // self._n_each
        self._waiting = frames[n_whole * self._n_each :]
        means = frames[: n_whole * self._n_each].reshape(n_whole, self._n_each, frames.shape[1]).mean(axis=1)
        self._done = np.concatenate([self._done, means]) if len(self._done) else means
        while len(self._done) > N_FRAMES:
            pairs = len(self._done) // 2
            rest = self._done[2 * pairs :].repeat(self._n_each, axis=0)
            self._waiting = np.concatenate([rest, self._waiting]) if len(self._waiting) else rest
            self._done = self._done[: 2 * pairs].reshape(pairs, 2, -1).mean(axis=1)
            self._n_each *= 2

    def all(self) -> tuple[np.ndarray, int]:
        """The means and of how many frames each is; the last one of those that are left."""
        if len(self._waiting):
            last = self._waiting.mean(axis=0, keepdims=True)
            self._done = np.concatenate([self._done, last]) if len(self._done) else last
        return self._done, self._n_each
