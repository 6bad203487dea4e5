"""A soundscape as a recipe: cuts of sounds, their places, and the background noise. Rendered when it is read."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int16

from earmark.audio.recording import Audio, resample
from earmark.data.clips import AudioReader
from earmark.errors import DataError
from earmark.storage.recent_values import RecentValues

_BLOCKS_PER_SECOND = 100
_ACTIVE_RANGE_DB = 20.0
_SHORTEST_GAP = 0.25
# below this mean power (-100 dBFS) only the rounding noise of 16 bits is left
_SILENT_POWER = 1e-10
# the largest sample of a mix; a louder mix is scaled down as a whole
_PEAK = 0.99
_NOISE_FLOOR_HZ = 40.0
_CACHE_BYTES = 512 * 2**20
_QUADRANTS = np.array([1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j], np.complex64)


@dataclass(frozen=True, eq=False)
class ActiveSound:
    """A decoded sound and its active parts.

    Activity is decided in blocks of 10 ms: a block is active if its power is at most 20 dB below that of the loudest
    block. Gaps under 0.25 s are bridged, so that a click train is one part.
    """

    waveform: Float[np.ndarray, " sample"]
    active: Bool[np.ndarray, " block"]
    """Whether each block is active."""
    parts: Int[np.ndarray, "part 2"]
    """First sample of each active part, and the sample after its last."""
    block: int
    """Samples per block."""

    @classmethod
    def of(cls, waveform: Float[np.ndarray, " sample"], sample_rate: int) -> "ActiveSound":
        """The active parts of a waveform; a silent recording has none.

        >>> thud = np.zeros(16000, np.float32)
        >>> thud[8000:9600] = 0.5
        >>> ActiveSound.of(thud, 16000).parts.tolist()
        [[8000, 9600]]
        """
        block = max(1, sample_rate // _BLOCKS_PER_SECOND)
        starts = np.arange(0, len(waveform), block)
        widths = np.diff(starts, append=len(waveform))
        power = np.add.reduceat(np.square(waveform, dtype=np.float64), starts) / widths
        active = power > max(_SILENT_POWER, power.max() * 10 ** (-_ACTIVE_RANGE_DB / 10))
        parts = _bridged(np.flatnonzero(active), round(_SHORTEST_GAP * _BLOCKS_PER_SECOND))
        return cls(waveform, active, np.minimum(parts * block, len(waveform)), block)

    def draw_cut(self, shortest: int, longest: int, rng: np.random.Generator) -> tuple[int, int]:
        """A random cut of one active part: its first sample and its number of samples.

        Among the parts of at least `shortest` samples, one is drawn with probability proportional to its length. The
        length of the cut is drawn log-uniformly; its position is drawn so that it contains an active block. If all
        parts are shorter (a single click), the cut is `shortest` samples from the start of one of them.
        """
        lengths = self.parts[:, 1] - self.parts[:, 0]
        fits = np.flatnonzero(lengths >= shortest)
        if not len(fits):
            n_samples = min(shortest, len(self.waveform))
            begin = int(self.parts[rng.choice(len(lengths), p=lengths / lengths.sum()), 0])
            # one block earlier: the attack may begin there
            return max(0, min(begin - self.block, len(self.waveform) - n_samples)), n_samples
        part = fits[rng.choice(len(fits), p=lengths[fits] / lengths[fits].sum())]
        begin, end = (int(sample) for sample in self.parts[part])
        longest = min(longest, end - begin)
        n_samples = min(longest, round(float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))))
        anchors = np.flatnonzero(self.active[begin // self.block : -(-end // self.block)]) * self.block + begin
        anchor = int(anchors[rng.integers(len(anchors))])
        first, last = max(begin, anchor - n_samples + self.block), min(anchor, end - n_samples)
        return int(rng.integers(min(first, last), last + 1)), n_samples


def _bridged(blocks: Int[np.ndarray, " active"], gap: int) -> Int[np.ndarray, "part 2"]:
    # runs of block numbers as (first, last + 1), joined if fewer than `gap` blocks lie between them
    if not len(blocks):
        return np.empty((0, 2), np.int64)
    breaks = np.flatnonzero(np.diff(blocks) > gap)
    firsts = blocks[np.concatenate([[0], breaks + 1])]
    lasts = blocks[np.concatenate([breaks, [len(blocks) - 1]])]
    return np.stack([firsts, lasts + 1], axis=1)


_sounds: Final = RecentValues[tuple[AudioReader, int], ActiveSound](n_bytes=_CACHE_BYTES)


def active_sound(reader: AudioReader, sample_rate: int) -> ActiveSound:
    """A decoded sound; the last 512 MB of them are kept in each process."""
    sound = _sounds.get((reader, sample_rate))
    if sound is None:  # two threads may decode the same sound, but never wait for each other
        decoded = ActiveSound.of(reader.load(sample_rate).waveform, sample_rate)
        sound = _sounds.add((reader, sample_rate), decoded, decoded.waveform.nbytes)
    return sound


@dataclass(frozen=True)
class PlacedSound:
    """A cut of a bank sound and its place in the soundscape; all counts are samples at the soundscape's rate."""

    label: str
    source: AudioReader
    cut: int
    """First sample of the cut in the bank sound."""
    onset: int
    """First sample of the event in the soundscape."""
    n_samples: int
    gain_db: float
    """RMS of the event over RMS of the background, in dB."""


@dataclass(frozen=True)
class Soundscape:
    """The recipe of one soundscape: an AudioReader that is small enough to send to a loader worker."""

    sample_rate: int
    n_samples: int
    sounds: tuple[PlacedSound, ...]
    background_db: float
    """RMS of the background in dB; 0 is a full-scale square wave."""
    background_tilt: float
    """Spectral tilt of the background, power ~ 1 / f^tilt: 0 is white, 1 pink, 2 brown noise."""
    fade: int
    """Samples of the fade at each end of a cut."""
    noise_seed: tuple[int, ...]

    def load(self, sample_rate: int) -> Audio:
        """The mixed soundscape, with the samples that its FLAC file would give.

        Raises:
            AudioError: A bank sound cannot be read.
            DataError: A bank sound is shorter than it was when the soundscape was drawn.
        """
        waveform = self.render().astype(np.float32) / np.float32(32768)
        return Audio(resample(waveform, self.sample_rate, sample_rate), sample_rate)

    def render(self) -> Int16[np.ndarray, " sample"]:
        """The mixed soundscape, rounded to 16 bits."""
        mix = noise(self.n_samples, self.sample_rate, self.background_tilt, np.random.default_rng(self.noise_seed))
        mix *= np.float32(_amplitude(self.background_db) / _rms(mix))
        for placed in self.sounds:
            sound = active_sound(placed.source, self.sample_rate)
            event = sound.waveform[placed.cut : placed.cut + placed.n_samples]
            if len(event) != placed.n_samples:
                raise DataError(f"{placed.source}: shorter than when the soundscapes were drawn; draw them again")
            event = _faded(event, self.fade)
            # a cut may be digital silence apart from its faded ends; the floor avoids a division by 0
            level = max(_rms(event), np.sqrt(_SILENT_POWER))
            gain = np.float32(_amplitude(self.background_db + placed.gain_db) / level)
            mix[placed.onset : placed.onset + placed.n_samples] += gain * event
        peak = float(np.abs(mix).max())
        if peak > _PEAK:
            mix *= np.float32(_PEAK / peak)
        return np.rint(mix * np.float32(32768)).astype(np.int16)


def noise(n_samples: int, sample_rate: int, tilt: float, rng: np.random.Generator) -> Float32[np.ndarray, " sample"]:
    """Noise with power ~ 1 / f^tilt, flat below 40 Hz; the overall level is arbitrary.

    The spectrum has a fixed magnitude and one of four random phases per bin, which takes a fifth of the time of normal
    samples. As the sum of very many waves the noise is close to Gaussian.
    """
    n_fft = _smooth_size(n_samples)
    n_bins = n_fft // 2 + 1
    spectrum = _QUADRANTS[np.frombuffer(rng.bytes(n_bins), np.uint8) & 3]
    spectrum *= np.exp(np.float32(-tilt / 2) * _log_frequency(n_bins, sample_rate))
    spectrum[0] = 0
    return np.fft.irfft(spectrum, n_fft)[:n_samples]


@lru_cache(maxsize=4)
def _log_frequency(n_bins: int, sample_rate: int) -> Float32[np.ndarray, " bin"]:
    frequency = np.linspace(0, sample_rate / 2, n_bins)
    log_frequency = np.log(np.maximum(frequency, _NOISE_FLOOR_HZ) / 1000).astype(np.float32)
    log_frequency.flags.writeable = False
    return log_frequency


def _smooth_size(n_samples: int) -> int:
    # the next even number without prime factors above 5: an FFT of prime length is many times slower
    size = n_samples + n_samples % 2
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def _faded(event: Float[np.ndarray, " sample"], fade: int) -> Float[np.ndarray, " sample"]:
    fade = min(fade, len(event) // 2)
    event = event.copy()
    if fade:
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)).astype(np.float32)
        event[:fade] *= ramp
        event[-fade:] *= ramp[::-1]
    return event


def _rms(waveform: Float[np.ndarray, " sample"]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def _amplitude(level_db: float) -> float:
    return float(10 ** (level_db / 20))
