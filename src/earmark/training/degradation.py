"""Degradations of waveforms: pure functions of a waveform and an explicit generator. Levels stay as they are."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Final, Literal

import numpy as np
import soundfile
from jaxtyping import Float32

from earmark.audio.recording import resample

Waveform = Float32[np.ndarray, " sample"]
Other = Float32[np.ndarray, " other"]
"""A waveform of any length."""
Codec = Literal["mp3", "opus", "telephone"]

N_RESPONSE_POINTS: Final = 7
"""Points of a random frequency response, spaced evenly over its octaves."""
LOWEST_HZ: Final = 60.0
"""Lowest frequency of a random frequency response; below it is flat."""
_SILENCE: Final = 1e-10
_MU: Final = 255.0
"""Compression of the telephone's logarithmic samples (ITU-T G.711)."""
_TELEPHONE_RATE: Final = 8000
_TELEPHONE_BAND: Final = (300.0, 3400.0)
_MP3_RATE: Final = 16000
_OPUS_RATE: Final = 24000
_OPUS_KBIT: Final = (6.0, 256.0)
"""Bit rates of libsndfile's highest and lowest compression level."""


def rms(waveform: Waveform) -> float:
    """Root mean square of the samples."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def at_level(waveform: Waveform, like: Other) -> Waveform:
    """The waveform, scaled to the root mean square of another one; silence stays silent."""
    level = rms(waveform)
    return waveform if level < _SILENCE else (waveform * (rms(like) / level)).astype(np.float32)


def with_background(waveform: Waveform, background: Other, snr_db: float, rng: np.random.Generator) -> Waveform:
    """The waveform with a random part of the background, `snr_db` below it; a shorter background is repeated."""
    n_samples = len(waveform)
    if not len(background):
        return waveform
    if len(background) < n_samples:
        background = np.tile(background, -(-n_samples // len(background)) + 1)
    start = int(rng.integers(len(background) - n_samples + 1))
    part = background[start : start + n_samples]
    return (waveform + at_level(part, waveform) * 10 ** (-snr_db / 20)).astype(np.float32)


def reverberated(
    waveform: Waveform, sample_rate: int, seconds: float, direct_db: float, rng: np.random.Generator
) -> Waveform:
    """The waveform in a synthetic room: its direct sound and noise that decays exponentially; the length stays.

    Args:
        waveform: Sound without a room.
        sample_rate: Hz.
        seconds: Reverberation time, in which the sound decays by 60 dB.
        direct_db: Energy of the direct sound above that of the reverberation (dB).
        rng: Draws the room.
    """
    n_samples = max(2, round(seconds * sample_rate))
    time = np.arange(n_samples) / n_samples
    tail = rng.standard_normal(n_samples) * 10 ** (-3 * time)
    tail[0] = 0.0
    response = tail * 10 ** (-direct_db / 20) / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    size = 1 << (len(waveform) + n_samples - 1).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[: len(waveform)].astype(np.float32)
    return at_level(wet, waveform)


def through_device(
    waveform: Waveform, sample_rate: int, range_db: float, band: tuple[float, float], rng: np.random.Generator
) -> Waveform:
    """The waveform with a random frequency response, as of another microphone or loudspeaker.

    Args:
        waveform: Sound.
        sample_rate: Hz.
        range_db: Largest gain at each of `N_RESPONSE_POINTS` points of the response, linear between (dB).
        band: Frequencies below and above which the response falls by 12 dB an octave (Hz).
        rng: Draws the response.
    """
    if not len(waveform):
        return waveform
    frequency = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
    octave = np.log2(np.maximum(frequency, LOWEST_HZ) / LOWEST_HZ)
    points = np.linspace(0, np.log2(sample_rate / 2 / LOWEST_HZ), N_RESPONSE_POINTS)
    gain_db = np.interp(octave, points, rng.uniform(-range_db, range_db, N_RESPONSE_POINTS))
    low, high = band
    # 12 dB an octave is the slope of a filter of second order
    gain = 10 ** (gain_db / 20) / np.sqrt(1 + (frequency / high) ** 4)
    gain /= np.sqrt(1 + (low / np.maximum(frequency, 1e-3)) ** 4)
    changed = np.fft.irfft(np.fft.rfft(waveform) * gain, len(waveform)).astype(np.float32)
    return at_level(changed, waveform)


def clipped(waveform: Waveform, db: float) -> Waveform:
    """The waveform with its samples limited to `db` below its peak."""
    peak = float(np.abs(waveform).max(initial=0.0)) * 10 ** (-db / 20)
    return at_level(np.clip(waveform, -peak, peak).astype(np.float32), waveform)


def by_mp3(waveform: Waveform, sample_rate: int, quality: float = 0.9) -> Waveform:
    """The waveform after mp3 compression at 16 kHz; quality 0.9 of libsndfile's 0 to 1 (worst) gives 23 kbit/s."""
    return _compressed(waveform, sample_rate, _MP3_RATE, "MP3", "MPEG_LAYER_III", quality)


def by_opus(waveform: Waveform, sample_rate: int, kbit: float = 12.0) -> Waveform:
    """The waveform after Opus compression at 24 kHz and about this bit rate (kbit/s)."""
    lowest, highest = _OPUS_KBIT
    level = 1 - (min(max(kbit, lowest), highest) - lowest) / (highest - lowest)
    return _compressed(waveform, sample_rate, _OPUS_RATE, "OGG", "OPUS", level)


def by_telephone(waveform: Waveform, sample_rate: int) -> Waveform:
    """The waveform after a telephone line: 300 to 3400 Hz at 8 kHz, 8 bits on a logarithmic scale (mu-law)."""
    narrow = resample(waveform, sample_rate, _TELEPHONE_RATE)
    if not len(narrow):
        return np.zeros_like(waveform)
    frequency = np.fft.rfftfreq(len(narrow), 1 / _TELEPHONE_RATE)
    low, high = _TELEPHONE_BAND
    spectrum = np.where((frequency >= low) & (frequency <= high), np.fft.rfft(narrow), 0)
    band = np.fft.irfft(spectrum, len(narrow))
    peak = float(np.abs(band).max(initial=0.0))
    if peak < _SILENCE:
        return np.zeros_like(waveform)
    small = np.sign(band) * np.log1p(_MU * np.abs(band) / peak) / np.log1p(_MU)
    steps = np.rint(small * 127) / 127
    line = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(_MU)) / _MU * peak
    return _as_long(resample(line.astype(np.float32), _TELEPHONE_RATE, sample_rate), len(waveform))


CODECS: Final[Mapping[Codec, Callable[[Waveform, int], Waveform]]] = {
    "mp3": by_mp3,
    "opus": by_opus,
    "telephone": by_telephone,
}
"""Compressions by name, each at its usual low rate."""


def _compressed(
    waveform: Waveform, sample_rate: int, rate: int, container: str, subtype: str, level: float
) -> Waveform:
    """Encodes and decodes at another rate; the codecs work on a peak of half of full scale."""
    peak = float(np.abs(waveform).max(initial=0.0))
    if peak < _SILENCE:
        return waveform
    content = BytesIO()
    scaled = resample((waveform * (0.5 / peak)).astype(np.float32), sample_rate, rate)
    soundfile.write(content, scaled, rate, format=container, subtype=subtype, compression_level=level)
    content.seek(0)
    decoded, found = soundfile.read(content, dtype="float32")
    back = resample(np.ascontiguousarray(decoded), found, sample_rate) * np.float32(peak / 0.5)
    return _as_long(back, len(waveform))


def _as_long(waveform: Waveform, n_samples: int) -> Other:
    """The first `n_samples` samples, padded with silence."""
    result = np.zeros(n_samples, np.float32)
    result[: len(waveform)] = waveform[:n_samples]
    return result
