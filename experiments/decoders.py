"""Ways to turn encoded soundscapes into events, and their measures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from earmark.evaluation.localisation import PSDS1, PSDS2, ScoredRecording, TrueEvent, event_f1, psds
from earmark.inference.events import EventSettings, find_events, trim_of
from earmark.inference.timeline import CONTEXT_SHARE, HOP, WINDOW, Timeline
from earmark.inference.windows import SlidingWindows, sigmoid
from experiments.scenes import LABELS, Scene, Scenes, known_logits

CELL: Final = 0.1
"""Seconds of a cell of the F1 over cells."""
NOT_TRIMMED: Final = (
    "were measured before [events became shorter than their windows]"
    "(../docs/decisions/0101-events-end-with-the-sound.md)"
)
"""The end of a sentence about figures of events that were not measured again."""


@dataclass(frozen=True)
class Decoder:
    """A way to find events; lengths are in segments or in training clips, so that it fits every network."""

    window: int = 2
    """Segments of a row."""
    context: float = 0.0
    """Length of the context in training clips; 0 is none."""
    gate: str = "pooled"
    """Score of the context: pooled, or the mean of its three best windows of 2 s, as `tag` scores long recordings."""
    rule: str = "lower"
    """Logit of a row: the lower of window and context, or their mean."""
    margin: float = 0.0
    """Logits by which the context must exceed the threshold; without context, the window; a mean, too."""
    top: int | None = None
    """Only so many labels of a context may sound."""
    median: int = 1
    """Rows of a median filter."""
    release: float = EventSettings().release
    min_duration: float = 0.0
    max_gap: float = 0.0
    is_trimmed: bool = True
    """Whether half the overlap of neighbouring windows is cut off at each end of an event."""

    @property
    def settings(self) -> EventSettings:
        """The rules of the events."""
        return EventSettings(release=self.release, min_duration=self.min_duration, max_gap=self.max_gap)


@dataclass(frozen=True)
class Measures:
    """Figures of a decoder on soundscapes."""

    F1: float
    """Over cells of 0.1 s, all labels together."""
    event_F1: float
    """With a collar of 0.2 s, all labels together."""
    onset: float
    """Median absolute error of the onsets of events that overlap a detection, in seconds."""
    offset: float
    onset_bias: float
    """Median error; negative is early."""
    offset_bias: float
    n_detected: int
    n_events: int
    n_overlapped: int
    """True events that a detection of their label overlaps."""
    PSDS1: float
    PSDS2: float
    is_trimmed: bool
    """Whether the events were trimmed; PSDS counts cells, which are not."""


def decode(scenes: Scenes, decoder: Decoder, thresholds: Sequence[float] | None) -> list[Timeline]:
    """A timeline of each soundscape; its thresholds are those given."""
    return [_timeline(scenes, scene, decoder, thresholds) for scene in scenes.scenes]


def _timeline(scenes: Scenes, scene: Scene, decoder: Decoder, thresholds: Sequence[float] | None) -> Timeline:
    n, step = len(scene.segments), scenes.step
    logits = scenes.pool(scene, [(k, min(n, k + decoder.window)) for k in range(n)])
    if decoder.context:
        context = _context(scenes, scene, decoder)
        if decoder.top is not None:
            rank = (-context).argsort(axis=1).argsort(axis=1)
            context = np.where(rank < decoder.top, context, -50.0)
        context = context - decoder.margin
        logits = np.minimum(logits, context) if decoder.rule == "lower" else (logits + context - decoder.margin) / 2
    else:
        logits = logits - decoder.margin
    if decoder.median > 1:
        half = decoder.median // 2
        padded = np.pad(logits, ((half, half), (0, 0)), mode="edge")
        logits = np.median([padded[i : i + n] for i in range(decoder.median)], axis=0)
    known = None if thresholds is None else tuple(thresholds)
    onsets = np.arange(n) * step
    keep = onsets < scene.duration
    window = decoder.window * step
    return Timeline(onsets[keep], sigmoid(logits[keep]), LABELS.names, window, step, scene.duration, known)


def _context(scenes: Scenes, scene: Scene, decoder: Decoder) -> np.ndarray:
    n, length = len(scene.segments), max(1, round(decoder.context * scenes.clip_seconds / scenes.step))
    first = np.ceil(np.arange(n) + (decoder.window - length) / 2 - 1e-6).astype(int)
    ranges = [(max(0, a), min(n, a + length)) for a in first.tolist()]
    if decoder.gate == "pooled":
        return scenes.pool(scene, ranges)
    two = max(1, round(2.0 / scenes.step))
    rows = scenes.pool(scene, [(k, k + two) for k in range(n - two + 1)])
    best = []
    for a, b in ranges:
        last = min(max(b - two + 1, 3), len(rows))
        best.append(np.sort(rows[max(0, min(a, last - 3)) : last], axis=0)[-3:].mean(axis=0))
    return np.stack(best)


def product(scenes: Scenes, thresholds: Sequence[float] | None, **settings: float) -> list[Timeline]:
    """Timelines as `Tagger.timeline` makes them, of ESC-50's classes."""
    known = None if thresholds is None else tuple(thresholds)
    timelines = []
    for scene in scenes.scenes:
        windows = SlidingWindows(scenes.tagger.engine, settings["window"], settings["hop"], True, settings["context"])
        logits = known_logits(scenes.tagger, windows.finish(scene.segments, scene.duration))
        onsets = np.arange(len(logits)) * settings["hop"]
        row = Timeline(
            onsets, sigmoid(logits), LABELS.names, settings["window"], settings["hop"], scene.duration, known
        )
        timelines.append(row)
    return timelines


def measure_defaults(scenes: Scenes, thresholds: Sequence[float] | None, *, is_trimmed: bool = True) -> Measures:
    """The figures of the events that `earmark timeline` finds by its defaults, with these thresholds."""
    windows = {"window": WINDOW, "hop": HOP, "context": CONTEXT_SHARE * scenes.clip_seconds}
    return measure(scenes, product(scenes, thresholds, **windows), EventSettings(), is_trimmed=is_trimmed)


def measure(scenes: Scenes, timelines: Sequence[Timeline], settings: EventSettings, *, is_trimmed: bool) -> Measures:
    """The figures of timelines and of the events in them."""
    pairs = _pairs(scenes, timelines, settings, is_trimmed)
    errors = np.array([error for scene, found in pairs for error in _errors(scene.events, found)]).reshape(-1, 2)
    counts = event_f1((scene.events, found) for scene, found in pairs)
    recordings = [
        ScoredRecording(np.append(starts, stops[-1]), timeline.scores, scene.events)
        for scene, timeline in zip(scenes.scenes, timelines, strict=True)
        for starts, stops in [timeline.cells()]
    ]
    onset, offset = np.median(np.abs(errors), axis=0).tolist() if len(errors) else (np.nan, np.nan)
    biases = np.median(errors, axis=0).tolist() if len(errors) else (np.nan, np.nan)
    return Measures(
        _cell_f1(pairs),
        counts.micro,
        onset,
        offset,
        biases[0],
        biases[1],
        counts.n_detected,
        counts.n_events,
        len(errors),
        psds(recordings, PSDS1),
        psds(recordings, PSDS2),
        is_trimmed,
    )


def cell_f1(scenes: Scenes, timelines: Sequence[Timeline], decoder: Decoder) -> float:
    """F1 over cells alone, for a search."""
    return _cell_f1(_pairs(scenes, timelines, decoder.settings, decoder.is_trimmed))


def _pairs(
    scenes: Scenes, timelines: Sequence[Timeline], settings: EventSettings, is_trimmed: bool
) -> list[tuple[Scene, list[TrueEvent]]]:
    """Each soundscape with the events that are found in it."""
    pairs = []
    for scene, timeline in zip(scenes.scenes, timelines, strict=True):
        trim = trim_of(timeline.window, timeline.hop) if is_trimmed else 0.0
        known, cells = timeline.thresholds, timeline.cells()
        found = find_events(cells, timeline.scores, timeline.duration, settings, LABELS, known, trim)
        pairs.append((scene, [TrueEvent(LABELS.index(e.label), e.onset, e.offset) for e in found]))
    return pairs


def _cell_f1(pairs: Iterable[tuple[Scene, Sequence[TrueEvent]]]) -> float:
    hits = total = 0
    for scene, found in pairs:
        middles = (np.arange(round(scene.duration / CELL)) + 0.5) * CELL
        true, detected = (_active(events, middles) for events in (scene.events, found))
        hits += int((true & detected).sum())
        total += int(true.sum() + detected.sum())
    return 2 * hits / total


def _active(events: Iterable[TrueEvent], middles: np.ndarray) -> np.ndarray:
    active = np.zeros((len(middles), len(LABELS)), bool)
    for label, onset, offset in events:
        active[(middles >= onset) & (middles < offset), label] = True
    return active


def _errors(true: Iterable[TrueEvent], found: Sequence[TrueEvent]) -> list[tuple[float, float]]:
    """Errors of onset and offset of each true event that a detection overlaps, the one that overlaps it most."""
    errors = []
    for event in true:
        overlaps = [
            (min(event.offset, each.offset) - max(event.onset, each.onset), each)
            for each in found
            if each.label == event.label
        ]
        overlap, best = max(overlaps, default=(0.0, event))
        if overlap > 0:
            errors.append((best.onset - event.onset, best.offset - event.offset))
    return errors
