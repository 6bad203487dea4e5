"""One clip, decoded once: the facts about its sound."""

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
"""Hz at which clips are loaded that are not recordings and so have no sample rate."""
_FULL_SCALE: Final = 32767
"""Highest 16-bit value; the lowest one is one further from 0."""
_RUN: Final = 3
"""Consecutive samples at full scale that count as a clipped peak."""


def examine(audio: AudioReader) -> Facts:
    """The facts about a clip's sound, decoded completely and in bounded memory; an error is a fact too.

    A clip that is not a recording (`RecordedAudio`) is loaded at 32 kHz.
    """
    name = str(getattr(audio, "path", getattr(audio, "url", "the clip")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        try:
            facts = _decoded(audio, name) if isinstance(audio, RecordedAudio) else _loaded(audio)
        except (AudioError, OSError) as error:
            return Facts(error=_without(name, error))
        except Exception as error:  # no reader may keep the other clips from being examined
            return Facts(error=f"{type(error).__name__}: {_without(name, error)}")
    texts = [_without(name, each.message) for each in caught if issubclass(each.category, EarmarkWarning)]
    return replace(facts, warning="; ".join(dict.fromkeys(texts)) or None)


def _without(name: str, text: object) -> str:
    """The text without the file's path: a report identifies clips by id and may be published."""
    strerror = text.strerror if isinstance(text, OSError) else None
    return (strerror or str(text)).removeprefix(f"{name}: ").replace(name, "the file")


def _decoded(audio: RecordedAudio, name: str) -> Facts:
    with decoding.open_decoder(audio.recording(), name) as decoder:
        rate, n_channels = decoder.sample_rate, decoder.n_channels
        # the same part of the file as `load_audio` takes
        start = seconds_to_samples(audio.onset, rate)
        stop = None if audio.duration is None else start + max(1, seconds_to_samples(audio.duration, rate))
        statistics = _SampleStatistics(rate, n_channels)
        n_samples, peak = 0, 0.0
        for block in decoding.mono_blocks(_ObservedDecoder(decoder, statistics), name, start, stop):
            n_samples += block.size
            peak = max(peak, float(np.abs(block).max()))
    return Facts(n_samples / rate, rate, n_channels, peak, statistics.clipped, statistics.sha256)


def _loaded(audio: AudioReader) -> Facts:
    sound = audio.load(_RATE)
    statistics = _SampleStatistics(_RATE, 1)
    statistics.add(sound.waveform[:, None])
    return Facts(sound.duration, 0, 0, float(np.abs(sound.waveform).max()), statistics.clipped, statistics.sha256)


class _SampleStatistics:
    """Hash and clipped share of the samples of all channels, which are added block by block."""

    def __init__(self, sample_rate: int, n_channels: int) -> None:
        self._digest = hashlib.sha256(f"{sample_rate} {n_channels}\n".encode())
        self._n_values = self._n_clipped = 0
        self._last = np.zeros((_RUN, n_channels), bool)  # whether each of the last samples is at full scale

    def add(self, samples: np.ndarray) -> None:
        """Adds the next samples, (sample, channel), full scale at 1."""
        with np.errstate(invalid="ignore", over="ignore"):  # the decoder rejects NaN and infinity
            values = pcm16(samples)
        self._digest.update(np.ascontiguousarray(values, "<i2").data)
        self._n_values += values.size
        is_full = np.concatenate([self._last, (values >= _FULL_SCALE) | (values <= -_FULL_SCALE)])
        self._last = is_full[-_RUN:]
        if is_full.any():
            # samples that end a window of `_RUN` at full scale; `ends[0]` was counted with the block before, and a
            # run has `_RUN - 1` samples more than it ends windows
            ends = np.asarray(np.lib.stride_tricks.sliding_window_view(is_full, _RUN, axis=0).all(axis=-1))
            n_begun = np.count_nonzero(ends[1:] & ~ends[:-1])
            self._n_clipped += int(np.count_nonzero(ends[1:]) + (_RUN - 1) * n_begun)

    @property
    def clipped(self) -> float:
        """Share of samples in runs at full scale."""
        return self._n_clipped / max(1, self._n_values)

    @property
    def sha256(self) -> str:
        """SHA-256 of sample rate, number of channels and samples."""
        return self._digest.hexdigest()


class _ObservedDecoder:
    """A decoder that also adds its samples to statistics."""

    def __init__(self, decoder: Decoder, statistics: _SampleStatistics) -> None:
        self._decoder, self._statistics = decoder, statistics
        self.sample_rate, self.n_channels = decoder.sample_rate, decoder.n_channels
        self.n_samples, self.slack = decoder.n_samples, decoder.slack
        self.skip, self.close = decoder.skip, decoder.close

    def read(self, n_samples: int) -> np.ndarray:
        samples = self._decoder.read(n_samples)
        self._statistics.add(samples)
        return samples
