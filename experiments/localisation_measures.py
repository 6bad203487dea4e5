"""Tagging and localisation measures of a network on soundscapes with known events.

The free choices of a measure (length of the window, thresholds, head) are made on the validation soundscapes; all
figures are measured on the test soundscapes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32

from earmark.audio.recording import samples_to_seconds
from earmark.data.clips import Clip
from earmark.data.soundscapes import TruthEvent, read_soundscapes
from earmark.errors import ConfigError
from earmark.evaluation.localisation import (
    PSDS1,
    PSDS2,
    ScoredRecording,
    TrueEvent,
    psds,
    score_segments,
    segment_f1,
)
from earmark.evaluation.metrics import average_precision, label_mean
from earmark.inference.timeline import Timeline
from earmark.inference.torch_engine import TorchEngine
from earmark.inference.windows import SlidingWindows, seconds_per_segment, sigmoid
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.storage.json_files import json_value
from experiments.evidence_methods import without_each
from experiments.pointing import Pointing, pointing
from experiments.table1.soundscapes import true_events

WINDOWS: Final = (0.4, 0.8, 1.2, 2.0)
"""Window lengths in seconds; validation chooses one for each measure."""
HOP: Final = 0.4

Waveform = Float[np.ndarray, " sample"]
Segments = Float[np.ndarray, "segment channel"]

_CHOICES: Final[Mapping[str, Callable[[Sequence[ScoredRecording]], float]]] = {
    "PSDS1": lambda recordings: psds(recordings, PSDS1),
    "PSDS2": lambda recordings: psds(recordings, PSDS2),
    "F1": lambda recordings: segment_f1(recordings, best_thresholds(recordings)).macro,
}
"""Measures that choose a window: the one with the largest value on the validation soundscapes."""


class _Spot(NamedTuple):
    """A soundscape with one event."""

    event: tuple[float, float]
    """Onset and offset."""
    borders: Float[np.ndarray, " border"]
    """Seconds at which segments begin, and the end of the last one."""
    weights: Float[np.ndarray, " segment"]
    """How far the logit of the event's label falls without each segment."""
    attention: Float[np.ndarray, "head segment"] | None
    """Weights of the segments by attention head; None for a pooling without attention."""


@dataclass(frozen=True, eq=False)
class _Outputs:
    """Outputs of a network for a folder of soundscapes, clip by clip."""

    curves: Mapping[float, Sequence[ScoredRecording]]
    """Scores over time, by window length."""
    logits: Float32[np.ndarray, "clip label"]
    target: Float32[np.ndarray, "clip label"]
    spots: Sequence[_Spot]
    ids_sha256: str


def measure(
    checkpoint: Path,
    valid: Path,
    test: Path,
    *,
    batch_size: int = 16,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Tagging and localisation measures of a network, as plain JSON values; None where one is undefined.

    F1 is segment-based, with segments of 1 s. `pointing` covers the test soundscapes with one event: by the attention
    (mean of the heads, each head, and the heads that are best and worst on validation), and by the evidence, which
    every pooling has.

    Args:
        checkpoint: The network.
        valid: Soundscapes that choose windows, thresholds and heads.
        test: Soundscapes for all figures.
        batch_size: Number of soundscapes encoded per call.
        device: Device of the network.
        progress: Called with the number of soundscapes processed so far and their total.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        DataError: A folder holds no soundscapes or none with events, or the network does not know their labels.
        AudioError: A soundscape cannot be read.
    """
    network = Network.load(checkpoint).to(device)
    n_clips = [len(read_soundscapes(folder)) for folder in (valid, test)]

    def advance(n_before: int) -> Callable[[int], None]:
        return lambda n: progress(n_before + n, sum(n_clips)) if progress is not None else None

    choosing = _run_network(network, valid, WINDOWS, batch_size, advance(0))
    figures = {
        name: {window: choice(curves) for window, curves in choosing.curves.items()}
        for name, choice in _CHOICES.items()
    }
    windows = {name: max(WINDOWS, key=by_window.__getitem__) for name, by_window in figures.items()}
    thresholds = best_thresholds(choosing.curves[windows["F1"]])
    measured = _run_network(network, test, sorted(set(windows.values())), batch_size, advance(n_clips[0]))
    f1 = segment_f1(measured.curves[windows["F1"]], thresholds)
    result = {
        "n_valid_clips": n_clips[0],
        "n_test_clips": n_clips[1],
        "test_ids_sha256": measured.ids_sha256,
        "mAP": label_mean(average_precision(measured.target, measured.logits)),
        **{name: _CHOICES[name](measured.curves[windows[name]]) for name in ("PSDS1", "PSDS2")},
        "F1": f1.macro,
        "F1_micro": f1.micro,
        "windows": windows,
        "thresholds": dict(zip(network.labels.names, thresholds.tolist(), strict=True)),
        "valid": {name: {f"{window:g}": value for window, value in row.items()} for name, row in figures.items()},
        "pointing": _pointing(choosing.spots, measured.spots),
    }
    plain: dict[str, Any] = json_value(result)
    return plain


def best_thresholds(recordings: Sequence[ScoredRecording]) -> Float[np.ndarray, " label"]:
    """The threshold of each label with its highest segment-based F1 on these recordings.

    A threshold lies midway between the lowest detected score and the next one; ties go to the highest. A label without
    events gets inf, so it is never detected.

    Raises:
        DataError: There is no recording, or recordings differ in their number of labels.
    """
    scores, active = score_segments(recordings, seconds=1.0)
    return np.array([_best_threshold(*columns) for columns in zip(scores.T, active.T, strict=True)])


def _best_threshold(scores: np.ndarray[Any, np.dtype[Any]], active: np.ndarray[Any, np.dtype[Any]]) -> float:
    if not active.any():
        return float("inf")
    values, inverse = np.unique(-scores, return_inverse=True)  # falling
    hits = np.cumsum(np.bincount(inverse, active))
    f1 = 2 * hits / (np.cumsum(np.bincount(inverse)) + active.sum())
    best = int(np.argmax(f1))
    return -float(values[best : best + 2].mean())


def _run_network(
    network: Network, folder: Path, windows: Sequence[float], batch_size: int, advance: Callable[[int], None]
) -> _Outputs:
    clips, truth = read_soundscapes(folder), true_events(folder)
    engine = TorchEngine(network)
    curves: dict[float, list[ScoredRecording]] = {window: [] for window in windows}
    logits, spots = [], []
    for clip, waveform, segments in _encode(network, clips.clips, batch_size):
        duration, events = samples_to_seconds(len(waveform), engine.sample_rate), truth.get(clip.id, [])
        for window in windows:
            scores = sigmoid(SlidingWindows(engine, window, HOP).finish(segments, duration))
            onsets = np.arange(len(scores)) * HOP
            timeline = Timeline(onsets, scores, engine.labels.names, window, HOP, duration)
            curves[window].append(_curve(timeline, network.labels, events))
        logits.append(engine.classify(segments[None])[0])
        if len(events) == 1:
            label = network.labels.index(events[0].label)
            borders = np.minimum(np.arange(len(segments) + 1) * seconds_per_segment(engine), duration)
            weights = without_each(engine, segments, label, np.random.default_rng(0))
            event = (events[0].onset, events[0].offset)
            spots.append(_Spot(event, borders, weights, engine.attention(segments, label)))
        advance(len(logits))
    target = np.stack([network.labels.encode(clip.labels) for clip in clips])
    return _Outputs(curves, np.stack(logits), target, spots, clips.clip_ids_sha256())


def _encode(network: Network, clips: Sequence[Clip], batch_size: int) -> Iterator[tuple[Clip, Waveform, Segments]]:
    """Yields each clip with its waveform and its segments."""
    if batch_size < 1:
        raise ConfigError(f"batch_size: 1 or more was expected, not {batch_size}")
    for start in range(0, len(clips), batch_size):
        batch = clips[start : start + batch_size]
        waveforms = [clip.load(network.config.frontend.sample_rate).waveform for clip in batch]
        n_samples = [len(waveform) for waveform in waveforms]
        padded = np.stack([np.pad(waveform, (0, max(n_samples) - len(waveform))) for waveform in waveforms])
        lengths = torch.tensor(n_samples, device=network.device)
        with torch.inference_mode():
            segments = network.encode(torch.from_numpy(padded).to(network.device), lengths).float().cpu().numpy()
        n_segments = network.backbone.n_segments(network.frontend.n_frames(lengths)).tolist()
        for clip, waveform, own, n in zip(batch, waveforms, segments, n_segments, strict=True):
            yield clip, waveform, own[:n]


def _curve(timeline: Timeline, labels: LabelSet, events: Sequence[TruthEvent]) -> ScoredRecording:
    starts, stops = timeline.cells()  # no window is shorter than the hop: no gaps
    true = (TrueEvent(labels.index(event.label), event.onset, event.offset) for event in events)
    return ScoredRecording(np.append(starts, stops[-1]), timeline.scores, tuple(true))


def _pointing(valid: Sequence[_Spot], test: Sequence[_Spot]) -> dict[str, Any]:
    if not test:
        return {"n_clips": 0}
    by_evidence = _point(test, [spot.weights for spot in test])
    result: dict[str, Any] = {
        "n_clips": by_evidence.n_recordings,
        "chance": by_evidence.chance,
        "evidence": by_evidence.accuracy,
    }
    if not (attention := _attention(test)):
        return result
    heads = _heads(test)
    result |= {"attention": _point(test, [each.mean(axis=0) for each in attention]).accuracy, "heads": heads}
    if valid and len(heads) > 1:
        before = _heads(valid)
        best, worst = int(np.argmax(before)), int(np.argmin(before))
        result |= {name: {"head": head, "accuracy": heads[head]} for name, head in (("best", best), ("worst", worst))}
    return result


def _heads(spots: Sequence[_Spot]) -> list[float]:
    """Pointing accuracy of each head."""
    attention = _attention(spots)
    return [_point(spots, [each[head] for each in attention]).accuracy for head in range(len(attention[0]))]


def _attention(spots: Sequence[_Spot]) -> list[Float[np.ndarray, "head segment"]]:
    """Attention weights of each soundscape; none for a pooling without attention."""
    return [spot.attention for spot in spots if spot.attention is not None]


def _point(spots: Sequence[_Spot], weights: Sequence[Float[np.ndarray, " segment"]]) -> Pointing:
    return pointing(weights, [spot.borders for spot in spots], [spot.event for spot in spots])
