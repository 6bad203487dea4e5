"""Detection metrics: a tagger's timeline compared with strong labels."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark.audio.recording import Audio
from earmark.data.audioset import StrongEvent, split_segment_id
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.data.manifest import stated_seconds
from earmark.errors import AudioError, DataError, EarmarkError
from earmark.evaluation.localisation import (
    PSDS1,
    PSDS2,
    ScoredRecording,
    TrueEvent,
    event_f1,
    psds,
    segment_f1,
)
from earmark.inference.events import EventSettings, label_thresholds
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import HOP, WINDOW, Timeline
from earmark.labels import LabelSet
from earmark.parallel.prefetch import in_threads
from earmark.storage.json_files import json_value, write_json

_LONG: Final = 60.0
"""Seconds from which a recording is decoded block by block."""


@dataclass(frozen=True)
class Detection:
    """Result of `detect`, over the labels that the tagger knows and that have an event."""

    PSDS1: float
    """Polyphonic sound detection score, scenario 1 of DCASE task 4: rewards exact times."""
    PSDS2: float
    """Polyphonic sound detection score, scenario 2: rewards distinguishing labels."""
    F1: float
    """Segment-based F1 with segments of 1 s, mean over labels; at the checkpoint's thresholds or 0.5."""
    F1_micro: float
    """Segment-based F1 of all labels together."""
    F1_events: float
    """Event-based F1 of the events that `Timeline.events` finds, with a collar of 0.2 s, all labels together."""
    n_clips: int
    """Clips measured."""
    n_clips_without_events: int
    """Clips of the data set that the table of events lacks; they were skipped."""
    n_labels: int
    """Labels measured."""
    n_events: int
    n_detected: int
    """Events that `Timeline.events` finds, of the labels measured."""
    n_events_of_other_labels: int
    """Events of labels that the tagger does not know; they were skipped."""
    window: float
    """Window of the timeline in seconds."""
    hop: float
    """Hop of the timeline in seconds."""
    context: float
    """Context of the timeline in seconds."""
    failed: tuple[str, ...] = ()
    """Clips with events that could not be measured, with the reason."""

    def to_json(self) -> dict[str, Any]:
        """The metrics as JSON values; a value that is not finite is None."""
        return dict(json_value(asdict(self)))

    def save(self, out_dir: Path | str) -> None:
        """Writes `detection.json` into a folder.

        Raises:
            OSError: The folder cannot be written.
        """
        write_json(Path(out_dir) / "detection.json", self.to_json())


def detect(
    tagger: Tagger,
    dataset: Dataset,
    events: Mapping[str, Sequence[StrongEvent]],
    *,
    window: float = WINDOW,
    hop: float = HOP,
    context: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Detection:
    """Compares a tagger's timelines, and the events in them, with strong labels.

    Args:
        tagger: May know labels without events.
        dataset: Clips named as in `events`, or by the video ids of its segments.
        events: Events by the ids of clips or segments (`read_recordings`, `read_strong_labels`).
        window: Window of the timeline in seconds.
        hop: Hop of the timeline in seconds.
        context: Context of the timeline in seconds, as in `Tagger.timeline`.
        progress: Called with the number of clips scored so far and their total.

    Raises:
        DataError: No clip has events of a label that the tagger knows, or no such clip can be read.
        ConfigError: The window or the hop is not positive.
    """
    truth, failed = _truth(dataset.clips, events)
    labels, columns = _measured_labels(tagger, dataset, truth, failed)
    clips, n_unclear = [clip for clip in dataset.clips if clip.id in truth], len(failed)
    pairs: list[tuple[ScoredRecording, list[TrueEvent]]] = []
    with closing(_timelines(tagger, clips, window, hop, context)) as timelines:
        for number, (clip, timeline) in enumerate(timelines, 1):
            if isinstance(timeline, str):
                failed.append(f"{clip.id}: {timeline}")
            else:
                context = timeline.context
                pairs.append((_scored(timeline, columns, truth[clip.id], labels), _found(timeline, labels)))
            if progress is not None:
                progress(number, len(clips))
    if not pairs:
        raise DataError(f"{dataset.name}: none of the {len(clips)} clips with strong labels can be read; {failed[0]}")
    recordings = [recording for recording, _ in pairs]
    f1 = segment_f1(recordings, label_thresholds(None, tagger.thresholds, tagger.labels)[columns])
    by_event = event_f1((recording.events, found) for recording, found in pairs)
    return Detection(
        PSDS1=psds(recordings, PSDS1),
        PSDS2=psds(recordings, PSDS2),
        F1=f1.macro,
        F1_micro=f1.micro,
        F1_events=by_event.micro,
        n_clips=len(recordings),
        n_clips_without_events=len(dataset) - len(clips) - n_unclear,
        n_labels=len({event.label for recording in recordings for event in recording.events}),
        n_events=by_event.n_events,
        n_detected=by_event.n_detected,
        n_events_of_other_labels=sum(e.label_id not in tagger.labels for own in truth.values() for e in own),
        window=window,
        hop=hop,
        context=context or 0.0,
        failed=tuple(failed),
    )


def _truth(
    clips: Sequence[Clip], events: Mapping[str, Sequence[StrongEvent]]
) -> tuple[dict[str, Sequence[StrongEvent]], list[str]]:
    """Events by clip id, and messages about clips with several possible segments."""
    segments: dict[str, list[str]] = {}
    if any(clip.id not in events for clip in clips):  # named by their video
        for segment_id in events:
            segments.setdefault(split_segment_id(segment_id)[0], []).append(segment_id)
    truth: dict[str, Sequence[StrongEvent]] = {}
    unclear: list[str] = []
    for clip in clips:
        fitting = [clip.id] if clip.id in events else segments.get(clip.id, [])
        if len(fitting) > 1:
            unclear.append(f"{clip.id}: expected one segment of the video, got {', '.join(fitting)}")
        elif fitting:
            truth[clip.id] = events[fitting[0]]
    return truth, unclear


def _measured_labels(
    tagger: Tagger, dataset: Dataset, truth: Mapping[str, Sequence[StrongEvent]], failed: Sequence[str]
) -> tuple[LabelSet, list[int]]:
    """The labels that the tagger knows and that have an event, and their positions among the tagger's."""
    known = {event.label_id for own in truth.values() for event in own if event.label_id in tagger.labels}
    if not known:
        why = failed[0] if failed else "check that clip ids match"
        raise DataError(
            f"{dataset.name}: none of its {len(dataset)} clips has strong labels that the model knows; {why}"
        )
    labels = tagger.labels.subset(known)
    return labels, [tagger.labels.index(name) for name in labels]


def _found(timeline: Timeline, labels: LabelSet) -> list[TrueEvent]:
    """The events of these labels in a timeline."""
    found = timeline.events(settings=EventSettings(labels=labels.ids))
    return [TrueEvent(labels.index(event.label), event.onset, event.offset) for event in found]


def _timelines(
    tagger: Tagger, clips: Sequence[Clip], window: float, hop: float, context: float | None
) -> Generator[tuple[Clip, Timeline | str]]:
    """Each clip with its timeline, or with the error text if it cannot be read."""
    with closing(_sounds(clips, tagger.sample_rate)) as sounds:
        for clip, sound in sounds:
            if isinstance(sound, str):
                yield clip, sound
                continue
            try:
                yield clip, tagger.timeline(sound, window=window, hop=hop, context=context)
            except AudioError as error:  # of a file that is decoded only now
                yield clip, str(error)


def _sounds(clips: Sequence[Clip], sample_rate: int) -> Generator[tuple[Clip, Audio | Path | str]]:
    """Each clip with its sound, or with the error text; the next clip is read in the background.

    The sound of a long recording is its file, so that memory does not grow with its length.
    """

    def read(clip: Clip) -> tuple[Clip, Audio | Path | str]:
        audio = clip.audio
        try:
            if isinstance(audio, FileAudio) and audio == FileAudio(audio.file) and stated_seconds(audio.path) > _LONG:
                return clip, audio.path
            return clip, clip.load(sample_rate)
        except EarmarkError as error:
            return clip, str(error)

    return in_threads(read, clips, 1, 2)


def _scored(
    timeline: Timeline, columns: Sequence[int], events: Sequence[StrongEvent], labels: LabelSet
) -> ScoredRecording:
    starts, stops = timeline.cells()
    end = float(stops[-1])
    # cut files can be slightly shorter than their segment, so events may exceed the end
    true = tuple(
        TrueEvent(labels.index(event.label_id), event.onset, min(event.offset, end))
        for event in events
        if event.label_id in labels and event.onset < min(event.offset, end)
    )
    return ScoredRecording(np.append(starts, end), timeline.scores[:, columns], true)
