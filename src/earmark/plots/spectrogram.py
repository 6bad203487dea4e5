"""Log-mel spectrograms for pictures, of recordings of any length; independent of a network's front end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from earmark.model.mel import FrontendConfig, mel_edges, mel_filters

if TYPE_CHECKING:
    from jaxtyping import Float

N_FRAMES: Final = 1600
"""Maximum number of frames: the columns of pixels of a picture."""
_FLOOR: Final = 1e-10


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """A log-mel spectrogram with its axes."""

    log_mel: Float[np.ndarray, "frame mel"]
    """dB."""
    frequencies: Float[np.ndarray, " mel"]
    """Centre of each bin in Hz, ascending."""
    seconds_per_frame: float
    onset: float = 0.0
    """Start of the first frame in the recording, in seconds."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.log_mel) * self.seconds_per_frame

    @property
    def offset(self) -> float:
        """End of the last frame in the recording, in seconds."""
        return self.onset + self.duration


def spectrogram_of(blocks: Iterable[Float[np.ndarray, " _"]], sample_rate: int, onset: float = 0.0) -> Spectrogram:
    """The spectrogram of a recording in blocks; frames of a long one are averaged to about `N_FRAMES`.

    Args:
        blocks: Samples of one channel, at least one in total.
        sample_rate: Hz.
        onset: Start of the blocks in the recording (s).
    """
    n_fft = 1 << (sample_rate // 32 - 1).bit_length()  # a window of 31 to 62 ms
    hop = max(1, sample_rate // 40)
    config = FrontendConfig(
        sample_rate, n_fft, hop_length=hop, f_max=min(14000.0, sample_rate / 2), f_min=min(50.0, sample_rate / 8)
    )
    columns = _FrameMeans()
    for powers in mel_powers(blocks, config):
        columns.add(powers)
    power, n_each = columns.all()
    log_mel = 10 * np.log10(np.maximum(power, _FLOOR))
    return Spectrogram(log_mel, mel_edges(config)[1:-1], n_each * hop / sample_rate, onset)


def mel_powers(
    blocks: Iterable[Float[np.ndarray, " _"]], config: FrontendConfig
) -> Iterator[Float[np.ndarray, "frame mel"]]:
    """Power in the mel bins of the frames of a recording in blocks; frame k is centred at k x `hop_length`."""
    n_fft, hop = config.n_fft, config.hop_length
    pending = np.zeros(n_fft // 2, np.float32)  # silence first, so that frames are centred on their times
    window, filters = np.hanning(n_fft + 1)[:-1].astype(np.float32), mel_filters(config).astype(np.float32)
    for block in chain(blocks, [pending]):
        pending = np.concatenate([pending, block])
        n_frames = 1 + (len(pending) - n_fft) // hop if len(pending) >= n_fft else 0
        if n_frames:
            frames = np.lib.stride_tricks.sliding_window_view(pending, n_fft)[::hop][:n_frames]
            yield np.square(np.abs(np.fft.rfft(frames * window))).astype(np.float32) @ filters
            pending = pending[n_frames * hop :]


class _FrameMeans:
    """Means of groups of frames; the size of the groups doubles when there are too many."""

    def __init__(self) -> None:
        self._n_each = 1
        self._means = np.zeros((0, 0), np.float32)
        self._pending = np.zeros((0, 0), np.float32)

    def add(self, frames: np.ndarray) -> None:
        """Adds frames (frame, mel)."""
        frames = np.concatenate([self._pending, frames]) if len(self._pending) else frames
        n_whole = len(frames) // self._n_each
        self._pending = frames[n_whole * self._n_each :]
        means = frames[: n_whole * self._n_each].reshape(n_whole, self._n_each, frames.shape[1]).mean(axis=1)
        self._means = np.concatenate([self._means, means]) if len(self._means) else means
        while len(self._means) > N_FRAMES:
            pairs = len(self._means) // 2
            rest = self._means[2 * pairs :].repeat(self._n_each, axis=0)
            self._pending = np.concatenate([rest, self._pending]) if len(self._pending) else rest
            self._means = self._means[: 2 * pairs].reshape(pairs, 2, -1).mean(axis=1)
            self._n_each *= 2

    def all(self) -> tuple[np.ndarray, int]:
        """The means and the number of frames per mean; the last mean covers the remaining frames."""
        if len(self._pending):
            last = self._pending.mean(axis=0, keepdims=True)
            self._means = np.concatenate([self._means, last]) if len(self._means) else last
        return self._means, self._n_each
