"""Findings about a data set, from the facts about its clips; and the clean clips."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from earmark.data.clips import Clip, Dataset, RecordedAudio, sources
from earmark.doctor.facts import FactsTable
from earmark.doctor.kinds import Limits

_PROMISE_SLACK: Final = 0.1
"""Seconds by which a clip may be shorter than its table says: tables round times, encoders pad."""


@dataclass(frozen=True)
class Diagnosis:
    """Findings and the clips that they are about."""

    findings: dict[str, list[dict[str, Any]]]
    """Items of each kind of `KINDS`, in the order of the data set."""
    clips: dict[str, np.ndarray]
    """For kinds about clips: whether each clip is of that kind."""
    is_clean: np.ndarray
    """Whether each clip is clean."""


def diagnose(dataset: Dataset, facts: FactsTable, limits: Limits) -> Diagnosis:
    """The findings and the clean clips.

    A readable clip is clean unless it is of a kind that `limits` leave out. Of clips with the same sound, the first is
    clean; if their labels differ, none is, because the right labels are unknown. Silent clips are not compared: all
    silence is alike.
    """
    clips = _marks(dataset, facts, limits)
    is_clean = ~clips["unreadable"]
    for kind in limits.left_out & clips.keys():
        is_clean &= ~clips[kind]
    same = list(_same_sounds(facts, is_clean & ~clips["silent"]))
    sounds = {
        "duplicate": same,
        "contradicting": [group for group in same if len({frozenset(dataset[p].labels) for p in group}) > 1],
        "leaking": [group for group in same if len({dataset[p].split for p in group} - {None}) > 1],
    }
    for kind, groups in sounds.items():
        clips[kind] = _marked(len(dataset), (position for group in groups for position in group))
    if "duplicate" in limits.left_out:
        is_clean &= ~_marked(len(dataset), (position for group in same for position in group[1:]))
    if "contradicting" in limits.left_out:
        is_clean &= ~clips["contradicting"]
    findings = {
        "damaged": [{"part": part, "reason": reason} for part, reason in dataset.damaged],
        "missing": [{"id": id_} for id_ in dataset.missing],
        **_about_clips(dataset, facts, clips),
        **{
            kind: [{"clips": [_described(dataset[p]) for p in group]} for group in groups]
            for kind, groups in sounds.items()
        },
        "spanning": list(_spanning(dataset)),
        "rare": list(_rare(dataset, is_clean, limits.min_clips)),
    }
    return Diagnosis(findings, clips, is_clean)


def _about_clips(dataset: Dataset, facts: FactsTable, clips: dict[str, np.ndarray]) -> dict[str, list[dict[str, Any]]]:
    lost = dict(dataset.outside)
    promised = _promised(dataset)
    details: dict[str, Callable[[int], dict[str, Any]]] = {
        "unreadable": lambda p: {"reason": facts.errors[p]},
        "outside": lambda p: {"labels": list(lost[dataset[p].id])},
        "unlabelled": lambda p: {},
        "short": lambda p: {"seconds": rounded(facts[p].seconds)},
        "ends-early": lambda p: {"seconds": rounded(facts[p].seconds), "promised": rounded(promised[p])},
        "silent": lambda p: {"peak_dbfs": dbfs(facts[p].peak)},
        "clipped": lambda p: {"share": rounded(facts[p].clipped)},
        "warned": lambda p: {"warning": facts.warnings[p]},
    }
    return {
        kind: [{"id": dataset[p].id, **detail(p)} for p in np.flatnonzero(clips[kind]).tolist()]
        for kind, detail in details.items()
    }


def dbfs(peak: float) -> float | None:
    """Decibels, 0 at full scale; None for a peak of 0."""
    return round(20 * math.log10(peak), 2) if peak > 0 else None


def rounded(value: float) -> float:
    """The value rounded to six decimals."""
    return round(float(value), 6)


def _marks(dataset: Dataset, facts: FactsTable, limits: Limits) -> dict[str, np.ndarray]:
    n_clips = len(dataset)
    unreadable = _marked(n_clips, facts.errors)
    lost = {id_ for id_, _ in dataset.outside}
    seconds = facts.column("seconds")
    return {
        "unreadable": unreadable,
        "outside": np.fromiter((clip.id in lost for clip in dataset), bool, n_clips),
        "unlabelled": np.fromiter((clip.is_unlabelled for clip in dataset), bool, n_clips),
        "short": ~unreadable & (seconds < limits.min_seconds),
        "ends-early": ~unreadable & (seconds < _promised(dataset) - _PROMISE_SLACK),
        "silent": ~unreadable & (facts.column("peak") < 10 ** (limits.silent_dbfs / 20)),
        "clipped": ~unreadable & (facts.column("clipped") >= limits.clipped_share),
        "warned": _marked(n_clips, facts.warnings),
    }


def _promised(dataset: Dataset) -> np.ndarray:
    """Duration of each clip by its table in seconds; 0 if the table has none."""
    return np.fromiter((getattr(clip.audio, "duration", None) or 0.0 for clip in dataset), float, len(dataset))


def _marked(n_clips: int, positions: Iterable[int]) -> np.ndarray:
    marks = np.zeros(n_clips, bool)
    marks[np.fromiter(positions, np.intp)] = True
    return marks


def _same_sounds(facts: FactsTable, compared: np.ndarray) -> Iterator[list[int]]:
    """Positions of clips with the same sound, sorted by the first of each."""
    positions = np.flatnonzero(compared)
    digests = facts.column("sha256")[positions]
    order = np.argsort(digests, kind="stable")  # clips of one sound stay in the order of the data set
    is_first = np.ones(len(order), bool)
    is_first[1:] = digests[order][1:] != digests[order][:-1]
    starts = np.flatnonzero(is_first)
    stops = np.append(starts[1:], len(order))
    several = stops - starts > 1
    groups = (positions[order[a:b]].tolist() for a, b in zip(starts[several], stops[several], strict=True))
    yield from sorted(groups)


def _described(clip: Clip) -> dict[str, Any]:
    return {"id": clip.id, "labels": list(clip.labels), "split": clip.split}


def _spanning(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """Groups with clips in several splits; also files whose parts are clips of several splits."""
    first_split: dict[str, str] = {}
    spanning: dict[str, list[Clip]] = {}
    for clip in dataset:
        for source in _sources(clip):
            if first_split.setdefault(source, str(clip.split)) != clip.split:
                spanning[source] = []
    for clip in dataset:
        for source in _sources(clip):
            if source in spanning:
                spanning[source].append(clip)
    for source in sorted(spanning):
        members = spanning[source]
        n_clips = Counter(str(clip.split) for clip in members)
        # a file's path is not published
        yield {
            "group": None if members[0].group is None else source,
            "splits": {split: n_clips[split] for split in sorted(n_clips)},
            "clips": [clip.id for clip in members],
        }


def _sources(clip: Clip) -> Iterable[str]:
    """Sources of a clip of a split that other clips may share."""
    if clip.split is None:
        return ()
    if clip.group is not None:
        return sources(clip)
    audio = clip.audio
    is_part = isinstance(audio, RecordedAudio) and (audio.onset > 0 or audio.duration is not None)
    return sources(clip) if is_part else ()


def _rare(dataset: Dataset, is_clean: np.ndarray, min_clips: int) -> Iterator[dict[str, Any]]:
    n_clips = label_counts(dataset, is_clean)
    for label in dataset.labels:
        by_split = n_clips[label]
        total = by_split.pop("")
        if min([total, *by_split.values()]) < min_clips:
            yield {"label": label, "n_clips": total, "splits": by_split}


def label_counts(dataset: Dataset, is_clean: np.ndarray) -> dict[str, dict[str, int]]:
    """Number of clean clips of each label: by split, and in all under the name ""."""
    names = ("", *dataset.splits)
    n_clips = {label: dict.fromkeys(names, 0) for label in dataset.labels}
    for position in np.flatnonzero(is_clean).tolist():
        clip = dataset[position]
        for label in clip.labels:
            n_clips[label][""] += 1
            if clip.split is not None:
                n_clips[label][clip.split] += 1
    return n_clips
