"""A whole job: its unfinished parts are done, and its outcome is summed up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np

from earmark import hub
from earmark.audio.recording import Audio
from earmark.audio.tracks import Track, check_track
from earmark.bulk.cluster import Fleet, do_parts
from earmark.bulk.job import Done, Job, Settings, finished
from earmark.bulk.parts import ROWS_PER_PART, read_input
from earmark.errors import DataError
from earmark.storage.files import sha256_of
from earmark.storage.remote import RemotePath


@dataclass(frozen=True)
class Outcome:
    """State of a job, while it runs and at its end."""

    n_parts: int
    done: tuple[Done, ...]
    """Finished parts, those of earlier calls first."""
    n_before: int
    """Number of parts that earlier calls finished."""
    failed: tuple[tuple[str, str], ...]
    """Names of parts that failed in this call, with the reasons."""
    seconds: float
    """Time since this call began to start workers."""

    @property
    def n_files(self) -> int:
        """Number of recordings in finished parts."""
        return sum(done.n_files for done in self.done)

    @property
    def n_failed(self) -> int:
        """Number of recordings that could not be scored."""
        return sum(done.n_failed for done in self.done)

    @property
    def seconds_of_audio(self) -> float:
        """Duration of all scored recordings."""
        return sum((done.seconds for done in self.done), 0.0)

    @property
    def first_error(self) -> str | None:
        """Reason why one of the recordings could not be scored."""
        return next((done.first_error for done in self.done if done.first_error is not None), None)

    @property
    def files_per_second(self) -> float:
        """Recordings that this call finishes in a second."""
        return sum(done.n_files for done in self.done[self.n_before :]) / max(self.seconds, 1e-9)

    @property
    def hours_per_hour(self) -> float:
        """Hours of sound that this call finishes in an hour."""
        return sum(done.seconds for done in self.done[self.n_before :]) / max(self.seconds, 1e-9)


def make_job(
    source: str,
    *,
    model: str = hub.DEFAULT_MODEL,
    top: int | None = None,
    threshold: float | Literal["auto"] | None = None,
    overlap: float | None = None,
    embed: bool = False,
    track: Track = None,
    rows_per_part: int = ROWS_PER_PART,
) -> Job:
    """Makes the description of a job; no part is begun.

    Args:
        source: Path or URL of the input, as in `parts.read_input`.
        model: Name or path of the model.
        top: As in `Settings`; 5 unless a threshold is given.
        threshold: As in `Settings`.
        overlap: As in `Settings`.
        embed: Whether the results have embeddings.
        track: As in `Settings`.
        rows_per_part: As in `parts.read_input`.

    Raises:
        DataError: The input has no recordings or cannot be read.
        CheckpointError: The model cannot be read.
        ConfigError: A setting is invalid.
        ModuleNotFoundError: Ray, fsspec or pyarrow is not installed.
    """
    if find_spec("ray") is None:  # an error before any work
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    check_track(track)
    tagger = hub.load(model, overlap=overlap, device="cpu")
    # a trial, so that invalid settings are errors before any work is done
    silence = Audio(np.zeros(tagger.sample_rate, np.float32), tagger.sample_rate)
    tagger.score(silence).tags(top=top, threshold=threshold)
    settings = Settings(top, threshold, len(tagger.embed(silence)) if embed else None, track, overlap)
    fingerprint = sha256_of(hub.find_checkpoint(model))
    return Job(read_input(source, rows_per_part), model, fingerprint, settings, rows_per_part)


def run_job(
    job: Job,
    out: str,
    fleet: Fleet | None = None,
    progress: Callable[[Outcome], None] = lambda outcome: None,
    report_failure: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Does the unfinished parts of a job.

    Results of a part exist as soon as it is finished. After an interruption the same call continues.

    Args:
        job: Input, model and settings, as `make_job` returns them.
        out: Folder of the results, a path or a URL: new, or begun by the same job.
        fleet: The workers; one for each processor when None.
        progress: Called with the state of the job before the workers start and after each part.
        report_failure: Called with a line when a part fails; the job continues with the others.

    Raises:
        DataError: A folder cannot be read or written.
        ConfigError: `out` holds another job, or the workers need more processors than there are.
        KeyboardInterrupt: Ctrl-C; finished parts are kept.
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
            report_failure(f"{name}: {result}")
        progress(outcome())

    if left:
        progress(outcome())
        try:
            do_parts(job, left, hub.find_checkpoint(job.model), place, fleet or Fleet(), note)
        except KeyboardInterrupt:
            text = f"stopped; finished parts are kept in {out}, and the same command continues"
            raise KeyboardInterrupt(text) from None
        _check_there(place, done[len(before) :])
    return outcome()


def _check_there(out: RemotePath, done: list[Done]) -> None:
    names = out.names()
    if missing := [part.part for part in done if part.part not in names]:
        raise DataError(
            f"{out.url}: {len(missing)} parts were written on another machine, the first is {missing[0]}; "
            "a cluster needs a folder that all machines share, such as s3://BUCKET/FOLDER"
        )
