"""Soundscapes with known events, encoded once by a network; their segments are kept in a file."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earmark import hub
from earmark.data import FileAudio, open_data
from earmark.data.clips import Clip
from earmark.evaluation.localisation import TrueEvent
from earmark.inference.tagger import Tagger
from earmark.inference.windows import seconds_per_segment
from earmark.labels import LabelSet
from earmark.storage.files import atomic_write, sha256_of
from experiments.esc50_labels import in_esc50
from experiments.steps import earmark
from experiments.table1.soundscapes import true_events

LABELS = LabelSet.esc50()


@dataclass(eq=False)
class Scene:
    """A soundscape, encoded."""

    segments: np.ndarray
    duration: float
    """Seconds."""
    events: tuple[TrueEvent, ...]
    """Labels are positions in `LABELS`."""
    pooled: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    """Logits of ranges of segments that were pooled before."""


@dataclass(eq=False)
class Scenes:
    """The soundscapes of a folder, encoded by one network."""

    tagger: Tagger
    scenes: list[Scene]

    @property
    def step(self) -> float:
        """Seconds of a segment."""
        return seconds_per_segment(self.tagger.engine)

    @property
    def clip_seconds(self) -> float:
        """Seconds of a training clip."""
        return self.tagger.engine.clip_duration or 10.0

    def pool(self, scene: Scene, ranges: Sequence[tuple[int, int]]) -> np.ndarray:
        """Logits (range, label of `LABELS`) of ranges of segments, each pooled once."""
        todo: dict[int, list[int]] = defaultdict(list)
        for first, end in {*ranges} - {*scene.pooled}:
            todo[end - first].append(first)
        for length, firsts in todo.items():
            bags = np.stack([scene.segments[first : first + length] for first in firsts])
            for first, row in zip(firsts, known_logits(self.tagger, self.tagger.engine.classify(bags)), strict=True):
                scene.pooled[first, first + length] = row
        return np.stack([scene.pooled[each] for each in ranges])


def known_logits(tagger: Tagger, logits: np.ndarray) -> np.ndarray:
    """Logits of ESC-50's classes, in the order of `LABELS`."""
    if set(tagger.labels.names) >= set(LABELS.names):
        return logits[..., [tagger.labels.names.index(name) for name in LABELS.names]]
    return in_esc50(logits, tagger.labels)


def known_thresholds(tagger: Tagger) -> list[float] | None:
    """The checkpoint's thresholds in the order of `LABELS`; None where it has none for them."""
    if tagger.thresholds is None or not set(tagger.labels.names) >= set(LABELS.names):
        return None
    return [tagger.thresholds[tagger.labels.names.index(name)] for name in LABELS.names]


def mix(bank: Path, work: Path, name: str, folds: int | str, *words: object) -> Path:
    """Mixes soundscapes of a fold, or of several joined by commas, unless that is done, and returns their folder."""
    earmark("soundscapes", f"esc50:{bank}", name, "--split", folds, *words, "--jobs", 1, "--quiet", folder=work)
    return work / name


def encode(model: str, folder: Path, work: Path) -> Scenes:
    """The soundscapes of a folder with the segments of a model, from `work` if they are there."""
    tagger = hub.load(model)
    path = work / f"{Path(model).stem}-{sha256_of(hub.find_checkpoint(model))[:12]}-{folder.name}.npz"
    clips = open_data(f"soundscapes:{folder}")
    truth = true_events(folder)
    if not path.exists():
        files = {clip.id: str(clip.audio.path) for clip in clips if isinstance(clip.audio, FileAudio)}
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{name: tagger.encode(file).segments for name, file in files.items()})
    kept = np.load(path)
    step, scenes = seconds_per_segment(tagger.engine), []
    for clip in clips:
        events = sorted(TrueEvent(LABELS.index(e.label), e.onset, e.offset) for e in truth.get(clip.id, []))
        segments = kept[clip.id]
        # the soundscapes last whole seconds, and a last partial segment counts as one
        scenes.append(Scene(segments, float(np.floor(len(segments) * step + 1e-6)), tuple(events)))
    return Scenes(tagger, scenes)


def soundscape_rows(mixed: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Rows of soundscapes, with the split `train`."""
    for clip in open_data(f"soundscapes:{mixed}"):
        yield path_of(clip), ";".join(clip.labels), "train", f"mixed {clip.id}"


def path_of(clip: Clip) -> Path:
    """The file of a clip.

    Raises:
        TypeError: The clip is not in a file of its own.
    """
    if not isinstance(clip.audio, FileAudio):
        raise TypeError(f"{clip.id}: a clip in a file was expected")
    return clip.audio.path.resolve()
