"""A whole job: what is left of it is done, and summed up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np

from earmark import hub
from earmark.audio.recording import Audio
from earmark.bulk.cluster import Fleet, check_installed, do_parts
from earmark.bulk.job import Done, Job, Settings, finished
from earmark.bulk.parts import ROWS_PER_PART, read_input
from earmark.errors import DataError
from earmark.storage.remote import RemotePath


@dataclass(frozen=True)
class Outcome:
    """How far a job is, while it runs and when it has ended."""

    n_parts: int
    done: tuple[Done, ...]
    """Parts that are there, those of earlier calls first."""
    n_before: int
    """How many of them were there when this call began."""
    failed: tuple[tuple[str, str], ...]
    """Names of parts that this call could not do, and why."""
    seconds: float
    """That this call has taken since the workers were called for."""

    @property
    def n_files(self) -> int:
        """Recordings in the parts that are there."""
        return sum(done.n_files for done in self.done)

    @property
    def n_failed(self) -> int:
        """Recordings of which nothing could be heard."""
        return sum(done.n_failed for done in self.done)

    @property
    def seconds_of_audio(self) -> float:
        """Of all recordings that were heard."""
        return sum((done.seconds for done in self.done), 0.0)

    @property
    def first_error(self) -> str | None:
        """Why nothing could be heard of one of the recordings."""
        return next((done.first_error for done in self.done if done.first_error is not None), None)

    @property
    def files_per_second(self) -> float:
        """By this call."""
        return sum(done.n_files for done in self.done[self.n_before :]) / max(self.seconds, 1e-9)

    @property
    def hours_per_hour(self) -> float:
        """Hours of sound that this call hears in an hour."""
        return sum(done.seconds for done in self.done[self.n_before :]) / max(self.seconds, 1e-9)


def make_job(
    source: str,
    *,
    model: str = hub.DEFAULT_MODEL,
    top: int | None = None,
    threshold: float | Literal["auto"] | None = None,
    embed: bool = False,
    rows_per_part: int = ROWS_PER_PART,
) -> Job:
    """What there is to do; nothing is begun.

    Args:
        source: As `parts.read_input` takes it.
        model: A name or a path.
        top: As many tags of each recording, whatever their scores; 5 unless a threshold is given.
        threshold: All tags that score this or more; `auto` for each label's own threshold.
        embed: Whether the results have embeddings too.
        rows_per_part: Recordings of a part.

    Raises:
        DataError: The input is none.
        CheckpointError: The model cannot be read.
        ConfigError: A setting outside what it can be.
        ModuleNotFoundError: Ray, fsspec or pyarrow is not installed.
    """
    check_installed()
    tagger = hub.load(model)
    # asked for nothing, to be told now of what cannot be
    silence = Audio(np.zeros(tagger.sample_rate, np.float32), tagger.sample_rate)
    tagger.score(silence).tags(top=top, threshold=threshold)
    settings = Settings(top, threshold, len(tagger.embed(silence)) if embed else None)
    fingerprint = sha256(hub.find_checkpoint(model).read_bytes()).hexdigest()
    return Job(read_input(source, rows_per_part), model, fingerprint, settings, rows_per_part)


def run(
    job: Job,
    out: str,
    fleet: Fleet | None = None,
    tell: Callable[[Outcome], None] = lambda outcome: None,
    complain: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Does all parts of a job that `out` has no results of yet.

    The results of a part are there at once when it is done. Interrupted at any time, the same call goes on.

    Args:
        job: What there is to do.
        out: Folder of the results, a path or a URL, new or begun by the same job.
        fleet: Who does it; as many workers as there are processors when None.
        tell: Told how far the job is, when the workers are called for and after each part.
        complain: Told a line when a part has failed; the others go on.

    Raises:
        DataError: A folder cannot be read or written.
        ConfigError: `out` holds another job, or there is no room for so many workers.
        KeyboardInterrupt: Ctrl-C; the parts that are done stay.
    """
    place = RemotePath(out).absolute
    job.claim(place)
    before = finished(place, job)
    left = [part for part in job.input.parts if part.name not in before]
    done, failed, start = list(before.values()), list[tuple[str, str]](), time.perf_counter()

    def outcome() -> Outcome:
        seconds = time.perf_counter() - start
        return Outcome(len(job.input.parts), tuple(done), len(before), tuple(failed), seconds)

    def note(name: str, result: Done | str) -> None:
        if isinstance(result, Done):
            done.append(result)
        else:
            failed.append((name, result))
            complain(f"{name}: {result}")
        tell(outcome())

    if left:
        tell(outcome())
        try:
            do_parts(job, left, hub.find_checkpoint(job.model), place, fleet or Fleet(), note)
        except KeyboardInterrupt:
            text = f"stopped, and the parts that are done are in {out}: the same command goes on"
            raise KeyboardInterrupt(text) from None
        _check_there(place, done[len(before) :])
    return outcome()


def _check_there(out: RemotePath, done: list[Done]) -> None:
    names = out.names()
    if missing := [part.part for part in done if part.part not in names]:
        raise DataError(
            f"{out.url}: {missing[0]} and {len(missing) - 1} others were written, but on another machine; "
            "a cluster needs a folder that all its machines share, such as s3://BUCKET/FOLDER"
        )
