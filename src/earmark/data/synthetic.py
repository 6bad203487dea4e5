"""Ten kinds of synthetic sound: a bank for soundscapes that needs no download."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from earmark.audio.recording import Audio, resample
from earmark.data.clips import Clip, Dataset
from earmark.errors import DataError
from earmark.labels import LabelSet

_RATE = 16000
Waveform = Float[np.ndarray, " sample"]


@dataclass(frozen=True)
class SyntheticSound:
    """An AudioReader that synthesises seconds of one kind of sound between silence."""

    kind: str
    """A key of `SOUNDS`."""
    seed: tuple[int, ...]
    """Random seed of the instance's parameters (pitch, tempo, decay, ...)."""

    def load(self, sample_rate: int) -> Audio:
        """The sound, mono, with a peak of a third of full scale; synthesised at 16 kHz and resampled."""
        rng = np.random.default_rng(self.seed)
        before, after = (np.zeros(round(rng.uniform(0.1, 0.5) * _RATE)) for _ in range(2))
        time = np.arange(round(rng.uniform(1.5, 4.0) * _RATE)) / _RATE
        sound = SOUNDS[self.kind](time, rng)
        sound *= np.minimum(1, np.minimum(time, time[::-1]) / 0.01)
        waveform = np.concatenate([before, sound / (3 * np.abs(sound).max()), after]).astype(np.float32)
        return Audio(resample(waveform, _RATE, sample_rate), sample_rate)


def synthetic_bank(n_per_label: int = 40, seed: int = 0) -> Dataset:
    """Single sounds of ten kinds, all different; every fourth is in split `test`, the others in `train`.

    Raises:
        DataError: Fewer than 2 sounds per label, so that one split would be empty.

    >>> bank = synthetic_bank(n_per_label=4)
    >>> len(bank), bank.splits
    (40, ('test', 'train'))
    >>> bank[0].id, bank[0].labels, bank[0].load(16000).waveform.dtype
    ('beeps-000', ('beeps',), dtype('float32'))
    """
    if n_per_label < 2:
        raise DataError(f"a synthetic bank needs 2 or more sounds per label, one for each split, got {n_per_label}")
    labels = LabelSet(tuple(sorted(SOUNDS)))
    clips = [
        Clip(
            id=f"{kind}-{number:03d}",
            labels=(kind,),
            audio=SyntheticSound(kind, (seed, position, number)),
            split="test" if number % 4 == 1 else "train",
            group=f"{kind}-{number:03d}",
        )
        for position, kind in enumerate(labels)
        for number in range(n_per_label)
    ]
    return Dataset(name=f"synthetic bank {seed}", labels=labels, clips=tuple(clips))


def _beeps(time: Waveform, rng: np.random.Generator) -> Waveform:
    # an alarm clock: a pure tone, switched on and off
    period, pitch = rng.uniform(0.2, 0.4), rng.uniform(2400, 3800)
    return np.sin(2 * np.pi * pitch * time) * _smooth_gate(time % period, rng.uniform(0.4, 0.6) * period)


def _bell(time: Waveform, rng: np.random.Generator) -> Waveform:
    # strikes: the inharmonic partials of a church bell, higher ones decaying faster
    pitch, decay = rng.uniform(500, 1100), rng.uniform(0.4, 0.9)
    ratios = np.array([0.5, 1.0, 1.19, 1.56, 2.0, 2.66, 3.01, 4.1]) * rng.uniform(0.99, 1.01, 8)
    weights = rng.uniform(0.4, 1.0, 8) / np.sqrt(ratios)
    since = time % rng.uniform(0.8, 1.6)
    partials = np.sin(2 * np.pi * pitch * np.outer(ratios, since)) * np.exp(-np.outer(np.sqrt(ratios), since) / decay)
    return weights @ partials


def _buzz(time: Waveform, rng: np.random.Generator) -> Waveform:
    # a low steady tone with all its harmonics: an electric razor, a bee
    pitch = rng.uniform(90, 180)
    phase = _phase(pitch * (1 + 0.01 * np.sin(2 * np.pi * rng.uniform(3, 8) * time)))
    harmonics = np.arange(1, int(5000 / pitch))[:, None]
    return (np.sin(harmonics * phase) / np.sqrt(harmonics)).sum(axis=0)


def _chirps(time: Waveform, rng: np.random.Generator) -> Waveform:
    # a bird: short tones that rise by an octave or so, with pauses
    length, period = rng.uniform(0.08, 0.18), rng.uniform(0.25, 0.45)
    since = time % period
    low, high = rng.uniform(1800, 2600), rng.uniform(4000, 6000)
    phase = 2 * np.pi * (low * since + (high - low) * since**2 / (2 * length))
    return np.sin(phase) * np.where(since < length, np.sin(np.pi * since / length) ** 2, 0)


def _clicks(time: Waveform, rng: np.random.Generator) -> Waveform:
    # a ratchet: bits of noise a few milliseconds long, at an even pace
    period, decay = rng.uniform(0.05, 0.12), rng.uniform(0.0015, 0.004)
    return np.diff(rng.standard_normal(len(time) + 1)) * np.exp(-(time % period) / decay)


def _engine(time: Waveform, rng: np.random.Generator) -> Waveform:
    # an idling motor: dull noise that throbs, over a few low harmonics of the throbbing
    pace = rng.uniform(14, 28)
    phase = _phase(pace * (1 + 0.03 * np.sin(2 * np.pi * rng.uniform(0.3, 1.0) * time)))
    dull = _smoothed(rng.standard_normal(len(time)), round(_RATE / rng.uniform(500, 900)))
    throb = np.exp(3 * np.cos(phase) - 3)
    tones = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(3, 9))
    return dull / dull.std() * (0.2 + throb) + 0.6 * np.asarray(tones)


def _hiss(time: Waveform, rng: np.random.Generator) -> Waveform:
    # a spray can: bursts of bright noise
    period = rng.uniform(0.4, 0.9)
    gate = _smooth_gate(time % period, rng.uniform(0.5, 0.8) * period)
    return np.diff(rng.standard_normal(len(time) + 1)) * gate


def _knocks(time: Waveform, rng: np.random.Generator) -> Waveform:
    # knocks on a door: a few dull thumps, a pause, repeated
    period, pitch, decay = rng.uniform(0.16, 0.28), rng.uniform(130, 260), rng.uniform(0.02, 0.04)
    n_knocks, n_pause = rng.integers(3, 6), rng.integers(1, 3)
    since, number = time % period, np.floor(time / period)
    thud = _smoothed(rng.standard_normal(len(time)), 8)
    sound = (np.sin(2 * np.pi * pitch * since) + 0.5 * thud) * np.exp(-since / decay)
    return sound * (number % (n_knocks + n_pause) < n_knocks)


def _siren(time: Waveform, rng: np.random.Generator) -> Waveform:
    # a tone with harmonics that wails up and down
    low, high, period = rng.uniform(450, 650), rng.uniform(1100, 1600), rng.uniform(0.8, 2.0)
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * (time / period + rng.uniform()))
    phase = _phase(low * (high / low) ** swing)
    return np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase) + 0.15 * np.sin(4 * phase)


def _whistle(time: Waveform, rng: np.random.Generator) -> Waveform:
    # lips: a nearly pure tone with vibrato, stepping through a few notes, and some breath
    notes = rng.uniform(800, 1400) * 2 ** (rng.integers(-4, 5, 12) / 12)
    pitch = _smoothed(notes[(time / rng.uniform(0.4, 0.8)).astype(int) % 12], 800)
    vibrato = 1 + 0.015 * np.sin(2 * np.pi * rng.uniform(5, 7) * time)
    breath = np.diff(rng.standard_normal(len(time) + 1))
    return np.sin(_phase(pitch * vibrato)) + 0.02 * breath


SOUNDS: dict[str, Callable[[Waveform, np.random.Generator], Waveform]] = {
    "beeps": _beeps,
    "bell": _bell,
    "buzz": _buzz,
    "chirps": _chirps,
    "clicks": _clicks,
    "engine": _engine,
    "hiss": _hiss,
    "knocks": _knocks,
    "siren": _siren,
    "whistle": _whistle,
}
"""Functions from sample times in seconds (at 16 kHz) and a generator to a waveform of any level."""


def _phase(frequency: Waveform) -> Waveform:
    return 2 * np.pi * np.cumsum(frequency) / _RATE


def _smooth_gate(since: Waveform, length: float) -> Waveform:
    # on for `length` seconds, with edges of 5 ms: a hard edge would click
    return np.clip(np.minimum(since, length - since) / 0.005, 0, 1)


def _smoothed(waveform: Waveform, width: int) -> Waveform:
    # moving average over `width` samples; the ends are repeated
    padded = np.pad(waveform, (width // 2 + 1, width - 1 - width // 2), mode="edge")
    total = np.cumsum(padded)
    return (total[width:] - total[:-width]) / width
