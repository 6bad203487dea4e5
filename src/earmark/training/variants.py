"""Variants of training clips: the same sounds as if recorded again under other conditions."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np

from earmark.audio.recording import Audio, find_audio, resample
from earmark.data.clips import GROUP_SEPARATOR, AudioReader, Clip, Dataset, FileAudio
from earmark.data.mixing import noise
from earmark.data.segments import segments_of
from earmark.errors import ConfigError
from earmark.training.conditions import RecordingConditions
from earmark.training.degradation import (
    CODECS,
    at_level,
    clipped,
    reverberated,
    rms,
    through_device,
    with_background,
)
from earmark.training.settings import TrainConfig

SAMPLE_RATE: Final = 32000
"""Rate at which variants are made, so that networks of all rates get the same sound."""
_NOISE_SHARE: Final = 0.25
"""Share of the backgrounds that are noise where there are recordings too."""
_BACKGROUND_RANGE_DB: Final = 30.0
_VARIANTS: Final = 0x76617279
"""Sets the numbers of variants apart from other uses of the seed."""


@dataclass(frozen=True)
class Variant:
    """Reader of one variant of a clip; the same numbers give the same sound."""

    audio: AudioReader
    """Reader of the clip."""
    conditions: RecordingConditions
    seed: tuple[int, ...]
    added: AudioReader | None = None
    """Clip that is mixed with it."""
    added_db: float = 0.0
    """Level of that clip above the first (dB)."""
    background: AudioReader | None = None
    """Recording of the background; None: noise, where the variant has a background."""

    def load(self, sample_rate: int) -> Audio:
        """The variant, mono, at that rate.

        Raises:
            AudioError: One of its recordings cannot be read.
        """
        rng = np.random.default_rng(self.seed)
        waveform = self.audio.load(SAMPLE_RATE).waveform
        if self.added is not None:
            waveform = _mixed(waveform, self.added.load(SAMPLE_RATE).waveform, self.added_db)
        return Audio(resample(self._changed(waveform, rng), SAMPLE_RATE, sample_rate), sample_rate)

    def _changed(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Every change that the conditions and the generator ask for, in the order in which sound meets them."""
        conditions = self.conditions
        # all draws come first: a share that changes leaves the other changes as they are
        room, backed, device, codec, clipping = rng.random(5)
        seconds, direct_db, snr_db, tilt, low, high, name, clip_db = rng.random(8)
        if room < conditions.room_share:
            longest = 0.1 + seconds * max(0.0, conditions.room_seconds - 0.1)
            waveform = reverberated(waveform, SAMPLE_RATE, longest, 15 * direct_db - 5, rng)
        if backed < conditions.background_share:
            if self.background is None:
                background = noise(len(waveform), SAMPLE_RATE, 2 * tilt, rng)
            else:
                background = self.background.load(SAMPLE_RATE).waveform
            level = conditions.background_db + _BACKGROUND_RANGE_DB * snr_db
            waveform = with_background(waveform, background, level, rng)
        if device < conditions.device_share:
            band = (20.0 * 20**low, 4000.0 * 4**high)
            waveform = through_device(waveform, SAMPLE_RATE, 8.0, band, rng)
        if clipping < conditions.clipping_share:
            waveform = clipped(waveform, 20 * clip_db)
        if codec < conditions.codec_share:
            waveform = list(CODECS.values())[int(name * len(CODECS))](waveform, SAMPLE_RATE)
        return waveform


def _mixed(waveform: np.ndarray, added: np.ndarray, db: float) -> np.ndarray:
    """The sum of two clips, as long as the longer one; the level of the added one is relative to the first.

    If one of them is silent, the other is returned unchanged.
    """
    if rms(added) == 0.0:
        return waveform
    if rms(waveform) == 0.0:
        return added
    mix = np.zeros(max(len(waveform), len(added)), np.float32)
    mix[: len(waveform)] = waveform
    mix[: len(added)] += at_level(added, waveform) * np.float32(10 ** (db / 20))
    return mix


def with_variants(data: Dataset, config: TrainConfig) -> Dataset:
    """The clips, each with `n_variants` variants behind it; a clip with another one mixed in has the labels of both.

    Raises:
        ConfigError: The clips are encoded already, or the folder of backgrounds has no recording.
    """
    if config.n_variants == 0:
        return data
    if segments_of(data) is not None:
        raise ConfigError("0 was expected for clips that are encoded already: they have no sound", "n_variants")
    names = RecordingConditions.__dataclass_fields__
    conditions = RecordingConditions(**{name: getattr(config, name) for name in names})
    digest = hashlib.sha256(repr((asdict(conditions), config.seed, config.mix_clips_db)).encode()).hexdigest()[:6]
    backgrounds = _backgrounds(data, config.background)
    clips: list[Clip] = []
    for number, clip in enumerate(data):
        clips.append(clip)
        for variant in range(1, config.n_variants + 1):
            seed = (config.seed, _VARIANTS, number, variant)
            rng = np.random.default_rng((*seed, 0))
            partner = data[int(rng.integers(len(data)))]
            is_mixed, is_noise = rng.random() < config.mix_share, rng.random() < _NOISE_SHARE
            chosen = backgrounds[int(rng.integers(len(backgrounds)))] if backgrounds else None
            changed = Variant(clip.audio, conditions, seed, background=None if is_noise else chosen)
            labels, known, group = clip.labels, clip.known, clip.group
            if is_mixed and partner is not clip:
                db = float(rng.uniform(-config.mix_clips_db, config.mix_clips_db))
                changed = replace(changed, added=partner.audio, added_db=db)
                labels = tuple(dict.fromkeys((*labels, *partner.labels)))
                known = _known(clip, partner, labels)
                group = _joined(clip.group, partner.group)
            named = f"{clip.id}#{variant}-{digest}"
            clips.append(replace(clip, id=named, labels=labels, audio=changed, group=group, known=known))
    return replace(data, clips=tuple(clips))


def _known(clip: Clip, other: Clip, labels: Sequence[str]) -> tuple[str, ...] | None:
    """The known labels of a mix: those that one of the clips has, and those that both know; None is all labels."""
    if clip.known is None and other.known is None:
        return None
    if clip.known is None or other.known is None:
        both = other.known if clip.known is None else clip.known
    else:
        both = tuple(label for label in clip.known if label in other.known)
    return tuple(dict.fromkeys((*labels, *(both or ()))))


def _joined(group: str | None, other: str | None) -> str | None:
    return None if group is None or other is None else GROUP_SEPARATOR.join(dict.fromkeys((group, other)))


def _backgrounds(data: Dataset, folder: str | None) -> Sequence[AudioReader]:
    """Readers of the recordings in a folder, or of the clips without labels; none where there are none."""
    if folder is None:
        return [clip.audio for clip in data if not clip.labels]
    if not (found := find_audio(folder)):
        raise ConfigError(f"a folder of recordings was expected, {folder} has none", "background")
    return [FileAudio(path) for path in found]
