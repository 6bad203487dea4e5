"""Scores of the clips of a data set, in batches; clips are decoded meanwhile."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.errors import ConfigError, EarmarkError
from earmark.evaluation.segment_scores import check_finite
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine, torch_device
from earmark.model.head import Stages
from earmark.model.network import Network
from earmark.parallel.prefetch import in_threads, one_ahead

LongClips = Literal["whole", "windows"]
"""Rule for clips longer than the training clips: pooled whole, or scored by their best windows (`Tagger.score`)."""

# limit of a batch, padding included; a longer clip is a batch by itself
_SECONDS_PER_BATCH = 320.0


class FailedClip(NamedTuple):
    """A clip that is excluded from the metrics, with the reason."""

    id: str
    error: str


class Sound(NamedTuple):
    """A clip with its sound or the error text."""

    clip: Clip
    audio: Audio | None
    error: str | None

    @property
    def n_samples(self) -> int:
        return 0 if self.audio is None else self.audio.waveform.size


def _sound(clip: Clip, sample_rate: int) -> Sound:
    try:
        return Sound(clip, clip.load(sample_rate), None)
    except EarmarkError as error:
        return Sound(clip, None, str(error))


def _sounds(clips: Sequence[Clip], sample_rate: int, n_workers: int) -> Iterator[Sound]:
    """Decoded clips in order, at most `n_workers` ahead because a clip may be hours long."""
    decode = partial(_sound, sample_rate=sample_rate)
    return map(decode, clips) if n_workers == 0 else in_threads(decode, clips, n_workers, n_workers)


def _batches(sounds: Iterator[Sound], batch_size: int, sample_rate: int) -> Generator[list[Sound]]:
    batch: list[Sound] = []
    longest = 0
    for sound in sounds:
        longest = max(longest, sound.n_samples)
        too_much = (len(batch) + 1) * longest > _SECONDS_PER_BATCH * sample_rate
        if batch and (len(batch) == batch_size or too_much):
            yield batch
            batch, longest = [], sound.n_samples
        batch.append(sound)
    yield batch


def score_clips(
    scorer: "Scorer",
    dataset: Dataset,
    batch_size: int,
    n_workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Clip], np.ndarray[Any, np.dtype[np.float32]], list[FailedClip]]:
    """The readable clips, their scores (clip, label of the network), and the unreadable clips."""
    measured: list[Clip] = []
    scores = [np.zeros((0, len(scorer.network.labels)), np.float32)]
    unreadable: list[FailedClip] = []
    n_done = 0
    sample_rate = scorer.network.config.frontend.sample_rate
    with (
        closing(_batches(_sounds(dataset.clips, sample_rate, n_workers), batch_size, sample_rate)) as in_turn,
        closing(one_ahead(in_turn) if n_workers else in_turn) as batches,
    ):
        for batch in batches:
            readable = [sound for sound in batch if sound.error is None]
            unreadable += [FailedClip(sound.clip.id, sound.error) for sound in batch if sound.error is not None]
            if readable:
                scores.append(scorer(readable))
                measured += [sound.clip for sound in readable]
            n_done += len(batch)
            if progress is not None:
                progress(n_done, len(dataset))
    return measured, np.concatenate(scores), unreadable


@contextmanager
def evaluating(network: Stages, device: str | torch.device) -> Iterator[None]:
    """Puts the network on a device in evaluation mode, and restores device and modes afterwards."""
    was_training = [(module, module.training) for module in network.modules()]
    home = network.device
    try:
        try:
            network.to(torch_device(device) if isinstance(device, str) else device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{device} cannot be used ({reason}); cpu always can", "device") from error
        with torch.inference_mode():
            yield
    finally:
        network.to(home)
        for module, training in was_training:
            module.training = training


class Scorer:
    """Scores batches of clips with a network in evaluation mode."""

    def __init__(self, network: Network, long_clips: LongClips) -> None:
        self.network, self._long_clips = network, long_clips
        self._tagger = Tagger(TorchEngine(network))
        self.n_long = 0
        """Number of clips so far that exceed the length of the training clips."""

    def __call__(self, sounds: Sequence[Sound]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Scores (clip, label of the network) of readable clips.

        Raises:
            DataError: Scores are not finite.
        """
        audio = [sound.audio for sound in sounds if sound.audio is not None]
        is_long = np.array([self._tagger.is_long(each.duration) for each in audio])
        self.n_long += int(is_long.sum())
        by_windows = is_long & (self._long_clips == "windows")
        scores = np.zeros((len(audio), len(self.network.labels)), np.float32)
        if not by_windows.all():
            scores[~by_windows] = self._whole([audio[place].waveform for place in np.flatnonzero(~by_windows)])
        for place in np.flatnonzero(by_windows):
            scores[place] = self._tagger.score(audio[place]).scores
        check_finite(scores, [sound.clip.id for sound in sounds])
        return scores

    def _whole(self, waveforms: Sequence[np.ndarray]) -> np.ndarray[Any, np.dtype[np.float32]]:
        n_samples = [len(waveform) for waveform in waveforms]
        batch = np.zeros((len(waveforms), max(n_samples)), np.float32)
        for row, waveform in zip(batch, waveforms, strict=True):
            row[: len(waveform)] = waveform
        device = self.network.device
        logits = self.network(torch.from_numpy(batch).to(device), torch.tensor(n_samples, device=device))
        scores: np.ndarray[Any, np.dtype[np.float32]] = logits.float().sigmoid().cpu().numpy()
        return scores
