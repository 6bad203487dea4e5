"""The examination of a whole data set, which continues after an interruption."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from earmark.data.clips import AudioReader, Clip, Dataset
from earmark.data.event_clips import EventClips
from earmark.data.listing import write_clips
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.doctor.examination import examine
from earmark.doctor.facts import Facts, FactsTable
from earmark.doctor.findings import diagnose
from earmark.doctor.journal import JOURNAL, Entry, Stamp, open_facts_journal, stamp_of
from earmark.doctor.kinds import Limits
from earmark.doctor.report import Report
from earmark.errors import DataError
from earmark.parallel.pool import Death, Pool, Reporter
from earmark.parallel.processors import n_processors
from earmark.storage.files import leftovers
from earmark.storage.journal import Journal

CLEAN: Final = "clean.txt"
"""File name of the list of clean clips."""
CRASHED: Final = "crashed the decoder"
"""Error of a clip that no worker process survives."""
_ATTEMPTS: Final = 2
"""Workers that a clip may kill: one death may have another cause, such as a lack of memory."""
_MOST_AT_A_TIME: Final = 256
"""Maximum number of clips sent to a worker at a time."""
_TURNS: Final = 8
"""Minimum number of times that each worker gets clips, so that all end at about the same time."""
_FILES: Final = frozenset({JOURNAL, "report.json", "clips.csv", CLEAN})


def doctor(
    dataset: Dataset,
    data: str,
    out: Path,
    limits: Limits | None = None,
    labels: Iterable[str] | None = None,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    label_separator: str | None = None,
    event_clips: EventClips | None = None,
) -> Report:
    """Decodes every clip and reports the findings; writes `report.json`, `clips.csv` and `clean.txt`.

    Facts about clips are kept in `journal.jsonl` until the end: after an interruption the same call continues and ends
    in the same bytes, also if clips were added or removed meanwhile. A clip whose local file has changed is examined
    again; remote files are not checked for changes, their clips are kept only if the data set is the same. If no clip
    is clean, there is no `clean.txt`.

    Args:
        dataset: A data set that was opened leniently, so that its faults can be reported.
        data: The source and path that `dataset` was opened by.
        out: A folder: new, empty, or of an earlier call.
        labels: Names of the labels to which the label set was narrowed, if it was.
        n_jobs: Number of processes; one for each processor when None.
        progress: Called with the number of examined clips and of all clips.
        label_separator: Text at which the labels of `dataset` were split, if they were.
        event_clips: How the annotations of `dataset` became clips, if they did.

    Raises:
        DataError: The folder holds other files or the examination of other clips, or another process is at work there.
        EarmarkError: No process can be started.
        OSError: The folder cannot be written.
    """
    limits = limits or Limits()
    out.mkdir(parents=True, exist_ok=True)
    if others := sorted({path.name for path in {*out.iterdir()}.difference(leftovers(out))} - _FILES):
        raise DataError(
            f"{out}: a new or empty folder was expected, or that of an earlier report; this one holds {others[0]}"
        )
    facts = FactsTable(len(dataset))
    digest = _digest(dataset)
    with open_facts_journal(out / JOURNAL) as journal:
        _add_known(journal, dataset, digest, facts)
        for path in leftovers(out):
            path.unlink()
        _examine(dataset, digest, facts, journal, n_jobs or n_processors(), progress or (lambda n, total: None))
        report = Report(dataset, facts, limits, diagnose(dataset, facts, limits))
        report.save(out)
        if clean := report.clean_ids:
            write_clips(out / CLEAN, data, clean, labels, label_separator, event_clips)
        else:
            (out / CLEAN).unlink(missing_ok=True)
        journal.remove()
    return report


def _add_known(journal: Journal, dataset: Dataset, digest: str, facts: FactsTable) -> None:
    """Adds the facts that earlier calls found about these clips, unless their files have changed since."""
    positions: dict[str, int] = {}
    n_entries = n_of_these = 0
    for entry in journal.read(Entry.from_json):
        # keys of millions of clips take hundreds of megabytes: a new examination does without them
        positions = positions or {_key(clip, digest): position for position, clip in enumerate(dataset)}
        position = positions.get(entry.clip)
        n_entries += 1
        n_of_these += position is not None
        if position is not None and stamp_of(dataset[position].audio) == entry.stamp:
            facts.add(position, entry.facts)
    if n_entries and not n_of_these:
        raise DataError(
            f"{journal.path}: this is the examination of other clips; name another folder, or delete the file to "
            "start again"
        )


def _examine(
    dataset: Dataset,
    digest: str,
    facts: FactsTable,
    journal: Journal,
    n_jobs: int,
    progress: Callable[[int, int], None],
) -> None:
    """Examines the clips whose facts are not known."""
    stamps: dict[int, Stamp | None] = {}

    def todo() -> Iterator[tuple[int, AudioReader]]:
        for position, clip in enumerate(dataset):
            if not facts.knows(position):
                stamps[position] = stamp_of(clip.audio)  # before it is read: a change meanwhile is noticed
                yield position, clip.audio

    n_before = facts.n_known
    n_todo = len(dataset) - n_before
    n_workers = min(n_jobs, n_todo)
    # clips that lie side by side, as in a Parquet file, are cheaper to read in one process
    n_at_a_time = max(1, min(_MOST_AT_A_TIME, n_todo // (_TURNS * max(1, n_workers))))
    pool = Pool(n_workers, n_at_a_time, n_attempts=_ATTEMPTS, is_silent=True)
    with closing(pool.run(_examine_clip, todo())) as examined:
        for n_done, ((position, _), result) in enumerate(examined, n_before + 1):
            found = Facts(error=CRASHED) if isinstance(result, Death) else result
            facts.add(position, found)
            journal.append(Entry(_key(dataset[position], digest), found, stamps.pop(position)).to_json())
            progress(n_done, len(dataset))


def _examine_clip(item: tuple[int, AudioReader], report: Reporter) -> Facts:
    return examine(item[1])


def _key(clip: Clip, digest: str) -> str:
    """The clip's key in the journal, which stays the same as long as its sound does, if its file does not change.

    A sound without a local file may change unnoticed: its key contains the hash of the whole data set.
    """
    place = repr((_part(clip), digest if stamp_of(clip.audio) is None else ""))
    return f"{hashlib.sha256(place.encode(errors='surrogateescape')).hexdigest()[:16]} {clip.id}"


def _part(clip: Clip) -> tuple[object, ...]:
    part = (getattr(clip.audio, "onset", None), getattr(clip.audio, "duration", None))
    if isinstance(clip.audio, ParquetAudio | PackedAudio):  # a row may hold another clip in another file
        return (*part, clip.audio.shard.name, clip.audio.row)
    return part


def _digest(dataset: Dataset) -> str:
    """A SHA-256 of all that a report depends on except the sounds and the limits."""
    digest = hashlib.sha256()
    for clip in dataset:
        facts = (clip.id, clip.labels, clip.split, clip.group, _part(clip))
        digest.update(repr(facts).encode(errors="surrogateescape"))
    digest.update(repr((dataset.missing, dataset.outside, dataset.damaged)).encode(errors="surrogateescape"))
    return digest.hexdigest()
