"""A data set examined from end to end, however often it takes."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from earmark.data.clips import AudioReader, Clip, Dataset
from earmark.data.listing import write_clips
from earmark.data.parquet_audio import PackedAudio, ParquetAudio
from earmark.doctor.facts import Facts, FactsTable
from earmark.doctor.findings import diagnose
from earmark.doctor.journal import NAME as JOURNAL
from earmark.doctor.journal import Journal, Stamp, Told, stamp_of
from earmark.doctor.kinds import Limits
from earmark.doctor.report import Report
from earmark.doctor.workers import examine_all
from earmark.errors import DataError
from earmark.parallel.processors import n_processors

CLEAN: Final = "clean.txt"
"""Name of the list of the clean clips."""
_MOST_AT_A_TIME: Final = 256
"""Clips that a worker is given at a time."""
_TURNS: Final = 8
"""That each worker is to have at least, so that all end at about the same time."""
_FILES: Final = frozenset({JOURNAL, "report.json", "clips.csv", CLEAN})


def doctor(
    dataset: Dataset,
    data: str,
    out: Path,
    limits: Limits | None = None,
    labels: Iterable[str] | None = None,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Decodes every clip and says what is wrong with the data set; writes `report.json`, `clips.csv` and `clean.txt`.

    What is found out about a clip is kept in `journal.jsonl` until the end: called again, be there more files or fewer,
    it goes on where it was stopped, and ends in the same bytes. A clip whose file has another size or time since is
    examined anew. Of files far away that is not looked at: with the same ones alone it goes on. Without a clean clip
    there is no `clean.txt`.

    Args:
        dataset: Opened leniently, so that what is wrong can be told.
        data: What `dataset` was opened by.
        out: A folder: new, empty, or of an earlier call.
        limits: From where on something is wrong.
        labels: Names of the labels to which the label set was narrowed, if it was.
        n_jobs: Processes that decode; as many as there are processors when None.
        progress: Called with the clips examined so far and their number.

    Raises:
        DataError: The folder holds other files, what was begun there was about other clips, or another process is at
            work there.
        EarmarkError: No process can be started to decode clips in.
        OSError: The folder cannot be written.
    """
    limits = limits or Limits()
    _claim(out)
    journal = Journal(out / JOURNAL)
    facts = FactsTable(len(dataset))
    digest = _digest(dataset)
    with _going_on(journal, dataset, digest, facts) as keep:
        for entry in out.iterdir():
            if _is_leftover(entry.name):
                entry.unlink()
        _examine(dataset, digest, facts, keep, n_jobs or n_processors(), progress or (lambda n, total: None))
        report = Report(dataset, facts, limits, diagnose(dataset, facts, limits))
        report.save(out)
        clean = report.clean_ids
        if clean:
            write_clips(out / CLEAN, data, clean, labels)
        else:
            (out / CLEAN).unlink(missing_ok=True)
        journal.remove()
    return report


@contextmanager
def _going_on(journal: Journal, dataset: Dataset, digest: str, facts: FactsTable) -> Iterator[Told]:
    """Adds what an earlier call has found out about these clips, if their files are as they were."""
    positions = {_key(clip, digest): place for place, clip in enumerate(dataset)} if journal.path.exists() else {}
    n_told = n_of_these = 0

    def known(key: str, found: Facts, then: Stamp | None) -> None:
        nonlocal n_told, n_of_these
        position = positions.get(key)
        n_told += 1
        n_of_these += position is not None
        if position is not None and stamp_of(dataset[position].audio) == then:
            facts.add(position, found)

    with journal.opened(known) as keep:
        if n_told and not n_of_these:
            raise DataError(
                f"{journal.path}: what was begun there is the examination of other clips; name another folder, or "
                "delete the file to begin anew"
            )
        positions.clear()  # of millions of clips they take hundreds of megabytes
        yield keep


def _examine(
    dataset: Dataset, digest: str, facts: FactsTable, keep: Told, n_jobs: int, progress: Callable[[int, int], None]
) -> None:
    """Adds the facts of all clips that are not known."""
    stamps: dict[int, Stamp | None] = {}

    def todo() -> Iterator[tuple[int, AudioReader]]:
        for position, clip in enumerate(dataset):
            if not facts.knows(position):
                stamps[position] = stamp_of(clip.audio)  # before it is read: what changes meanwhile is noticed
                yield position, clip.audio

    n_before = facts.n_known
    n_todo = len(dataset) - n_before
    n_workers = min(n_jobs, n_todo)
    n_at_a_time = max(1, min(_MOST_AT_A_TIME, n_todo // (_TURNS * max(1, n_workers))))
    with closing(examine_all(todo(), n_workers, n_at_a_time)) as examined:
        for n_done, (position, found) in enumerate(examined, n_before + 1):
            facts.add(position, found)
            keep(_key(dataset[position], digest), found, stamps.pop(position))
            progress(n_done, len(dataset))


def _claim(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    names = {entry.name for entry in out.iterdir() if not _is_leftover(entry.name)}
    if others := sorted(names - _FILES):
        raise DataError(
            f"{out}: a new or empty folder was expected, or that of an earlier report, not one of {others[0]}"
        )


def _is_leftover(name: str) -> bool:
    """Whether it is what a killed call was about to give one of the names."""
    return any(name.startswith(f".{Path(file).stem}-") and name.endswith(Path(file).suffix) for file in _FILES)


def _key(clip: Clip, digest: str) -> str:
    """What a clip is called in the journal: the same as long as its sound is, if its file is as it was.

    Of a sound that is in no file of this machine nobody knows whether it is: it is the same in the same data alone.
    """
    of = repr((_part(clip), digest if stamp_of(clip.audio) is None else ""))
    return f"{hashlib.sha256(of.encode(errors='surrogateescape')).hexdigest()[:16]} {clip.id}"


def _part(clip: Clip) -> tuple[object, ...]:
    part = (getattr(clip.audio, "onset", None), getattr(clip.audio, "duration", None))
    if isinstance(clip.audio, ParquetAudio | PackedAudio):  # which row is whose may change with the file
        return (*part, clip.audio.shard.name, clip.audio.row)
    return part


def _digest(dataset: Dataset) -> str:
    """A hash of all that decides what a report says, but for the sounds and the limits."""
    digest = hashlib.sha256()
    for clip in dataset:
        facts = (clip.id, clip.labels, clip.split, clip.group, _part(clip))
        digest.update(repr(facts).encode(errors="surrogateescape"))
    digest.update(repr((dataset.missing, dataset.outside, dataset.damaged)).encode(errors="surrogateescape"))
    return digest.hexdigest()
