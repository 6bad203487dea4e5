"""One clip, decoded once: what there is to know about its sound."""

import hashlib
import warnings
from dataclasses import replace
from typing import Final

import numpy as np

from earmark.audio import decoding
from earmark.audio.decoding import Decoder
from earmark.audio.recording import pcm16, seconds_to_samples
from earmark.data.clips import AudioReader, RecordedAudio
from earmark.doctor.facts import Facts
from earmark.errors import AudioError, EarmarkWarning

_RATE: Final = 32000
"""Hz at which clips are heard that are no recordings, and so have no rate of their own."""
_FULL_SCALE: Final = 32767
"""Of 16 bits; the lowest value is one further from 0."""
_RUN: Final = 3
"""As many samples at full scale, one after the other, are taken for a peak that was cut off."""


def examine(audio: AudioReader) -> Facts:
    """What a clip's sound is, by decoding all of it in bounded memory; an error becomes a fact too.

    A clip that is no recording (`RecordedAudio`) is heard at 32 kHz.
    """
    name = str(getattr(audio, "path", getattr(audio, "url", "the clip")))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", EarmarkWarning)
        try:
            facts = _recorded(audio, name) if isinstance(audio, RecordedAudio) else _made(audio)
        except (AudioError, OSError) as error:
            return Facts(error=_without(name, error))
        except Exception as error:  # whatever a reader trips over, the other clips are examined
            return Facts(error=f"{type(error).__name__}: {_without(name, error)}")
    texts = [_without(name, each.message) for each in told if issubclass(each.category, EarmarkWarning)]
    return replace(facts, warning="; ".join(dict.fromkeys(texts)) or None)


def _without(name: str, text: object) -> str:
    """A text without the name of the file: the clip has an id, and a report may be published."""
    strerror = text.strerror if isinstance(text, OSError) else None
    return (strerror or str(text)).removeprefix(f"{name}: ").replace(name, "the file")


def _recorded(audio: RecordedAudio, name: str) -> Facts:
    with decoding.open_decoder(audio.recording(), name) as decoder:
        rate, n_channels = decoder.sample_rate, decoder.n_channels
        # as `load_audio` takes a part of a file
        start = seconds_to_samples(audio.onset, rate)
        stop = None if audio.duration is None else start + max(1, seconds_to_samples(audio.duration, rate))
        ear = _Ear(rate, n_channels)
        n_samples, peak = 0, 0.0
        for block in decoding.mono_blocks(_Overheard(decoder, ear), name, start, stop):
            n_samples += block.size
            peak = max(peak, float(np.abs(block).max()))
    return Facts(n_samples / rate, rate, n_channels, peak, ear.clipped, ear.sha256)


def _made(audio: AudioReader) -> Facts:
    sound = audio.load(_RATE)
    ear = _Ear(_RATE, 1)
    ear.hear(sound.waveform[:, None])
    return Facts(sound.duration, 0, 0, float(np.abs(sound.waveform).max()), ear.clipped, ear.sha256)


class _Ear:
    """What the samples of all channels are, block by block.

    Args:
        sample_rate: Hz.
        n_channels: Of each block.
    """

    def __init__(self, sample_rate: int, n_channels: int) -> None:
        self._digest = hashlib.sha256(f"{sample_rate} {n_channels}\n".encode())
        self._n_values = self._n_clipped = 0
        self._last = np.zeros((_RUN, n_channels), bool)  # which of the last samples were at full scale

    def hear(self, samples: np.ndarray) -> None:
        """Takes the next ones, (sample, channel), full scale at 1."""
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are refused elsewhere
            values = pcm16(samples)
        self._digest.update(np.ascontiguousarray(values, "<i2").data)
        self._n_values += values.size
        is_full = np.concatenate([self._last, (values >= _FULL_SCALE) | (values <= -_FULL_SCALE)])
        self._last = is_full[-_RUN:]
        if is_full.any():
            # samples that end a run, the first of them told already; a run has two more than end one
            ends = np.asarray(np.lib.stride_tricks.sliding_window_view(is_full, _RUN, axis=0).all(axis=-1))
            n_begun = np.count_nonzero(ends[1:] & ~ends[:-1])
            self._n_clipped += int(np.count_nonzero(ends[1:]) + (_RUN - 1) * n_begun)

    @property
    def clipped(self) -> float:
        """The share of samples in runs at full scale."""
        return self._n_clipped / max(1, self._n_values)

    @property
    def sha256(self) -> str:
        """Of rate, channels and samples."""
        return self._digest.hexdigest()


class _Overheard:
    """A decoder whose samples an ear hears too."""

    def __init__(self, decoder: Decoder, ear: _Ear) -> None:
        self._decoder, self._ear = decoder, ear
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self.n_samples, self.slack = decoder.n_samples, decoder.slack
        self.skip, self.close = decoder.skip, decoder.close

    def read(self, n_samples: int) -> np.ndarray:
        samples = self._decoder.read(n_samples)
        self._ear.hear(samples)
        return samples
