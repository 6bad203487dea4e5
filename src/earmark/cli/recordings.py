"""Commands on many recordings: found in folders, worked on in parallel, in order, and continued after a stop."""

import csv
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

from cyclopts import CycloptsError

from earmark import hub
from earmark.audio.recording import find_audio
from earmark.cli import screen
from earmark.errors import AudioError, ConfigError, DataError, EarmarkError, counted
from earmark.parallel.processors import n_processors
from earmark.storage.files import atomic_write, in_either_form, sha256_of
from earmark.storage.journal import open_journal, read_journal
from earmark.storage.remote import url_of

DAMAGE: Final = (DataError, ValueError, AttributeError, KeyError, TypeError, csv.Error)
"""Exceptions of reading a damaged file of results."""


@dataclass(frozen=True)
class GivenRecording:
    """A recording that a command was given, or an error in its place."""

    file: str
    """The name in results."""
    within: Path = Path()
    """Path below the folder that the command was given; the bare name of a single file."""
    error: str | None = None


@runtime_checkable
class Result(Protocol):
    """The result of one recording, or the error that prevented it."""

    @property
    def file(self) -> str: ...
    @property
    def duration(self) -> float: ...
    @property
    def error(self) -> str | None: ...
    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""


AnyResult = TypeVar("AnyResult", bound=Result)
Keep = Callable[[Any], None]
"""Keeps a result as it comes, for a command that may be stopped."""


def check_out(out: Path | None, resume: bool) -> None:
    """Checks the flags of the output before the work.

    Raises:
        IsADirectoryError: --out is a folder.
        CycloptsError: --resume has no --out.
    """
    if out is not None and out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if resume and out is None:
        raise CycloptsError("--resume needs --out, which is missing")


def text(name: str) -> str:
    """A file name as valid text: undecodable bytes become escapes, as in every format that is read again."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def find_recordings(paths: Iterable[Path]) -> list[GivenRecording]:
    """The recordings of folders, and single files, each once: the tags or events of a file must not count twice.

    A folder that holds none or cannot be read gives an error.
    """
    first: dict[str, GivenRecording] = {}
    for path in paths:
        for recording in _below(path):
            first.setdefault(recording.file, recording)
    return list(first.values())


def _below(path: Path) -> list[GivenRecording]:
    if (url := url_of(path)) is not None:
        return [GivenRecording(url, error=f"{url}: {screen.NO_URL}")]
    path = in_either_form(path)
    if not path.is_dir():
        return [GivenRecording(str(path), Path(path.name))]  # a missing file is reported in its turn
    unreadable: list[GivenRecording] = []

    def keep(error: OSError) -> None:
        unreadable.append(GivenRecording(error.filename, error=screen.one_line(error)))

    try:
        found = [GivenRecording(str(file), file.relative_to(path)) for file in find_audio(path, keep)]
        return [*found, *unreadable]
    except (EarmarkError, OSError) as error:
        return [*unreadable, GivenRecording(str(path), error=screen.one_line(error))]


def jobs_for(jobs: int | None, n_files: int) -> tuple[int, int]:
    """The number of files worked on at the same time, and the number of threads for each."""
    n_jobs = max(1, min(jobs or n_processors(), n_files))
    return n_jobs, max(1, n_processors() // n_jobs)


@dataclass(frozen=True)
class Work(Generic[AnyResult]):
    """The work of a command on each recording.

    Raises:
        KeyboardInterrupt: Ctrl-C; the results so far have been kept.
    """

    run: Callable[[Path, GivenRecording, threading.Event], AnyResult]
    """The result of a recording, which lies at the path; stops early when the event is set."""
    failed: Callable[[str, str], AnyResult]
    """The result of a file that an error prevented."""
    keep: Callable[[AnyResult], None] = lambda result: None
    """Called with each result as it comes, one at a time."""

    def results(self, recordings: Sequence[GivenRecording], n_jobs: int) -> Iterator[AnyResult]:
        """Results in the order of the recordings, `n_jobs` of which are worked on at the same time.

        When the caller stops early, the recordings that have begun are cancelled.
        """
        cancel, one_at_a_time = threading.Event(), threading.Lock()

        def work(recording: GivenRecording, cancel: threading.Event) -> AnyResult:
            result = self._result(recording, cancel)
            with one_at_a_time:
                self.keep(result)
            return result

        if n_jobs == 1:
            yield from (work(recording, cancel) for recording in recordings)
            return
        with ThreadPoolExecutor(n_jobs) as pool:
            try:
                yield from pool.map(work, recordings, repeat(cancel))
            finally:
                cancel.set()

    def _result(self, recording: GivenRecording, cancel: threading.Event) -> AnyResult:
        name = recording.file
        if recording.error is not None:
            return self.failed(name, recording.error)
        try:
            with screen.recording(Path(name)) as path:
                return self.run(path, recording, cancel)
        except (AudioError, OSError) as error:
            named = "" if name in str(error) or name == "-" else f"{name}: "
            return self.failed(name, screen.one_line(f"{named}{screen.one_line(error)}"))
        except MemoryError:
            return self.failed(name, screen.one_line(f"{name}: out of memory; fewer --jobs need less"))


def known_results(recordings: Iterable[GivenRecording], earlier: Iterable[AnyResult]) -> dict[str, AnyResult]:
    """Earlier results by file. Unreadable files are tried again; standard input has other contents each time.

    Names are as `text` gives them.
    """
    wanted = {text(recording.file) for recording in recordings}
    by_name = {text(result.file): result for result in earlier}
    return {
        name: result for name, result in by_name.items() if name not in wanted or (result.error is None and name != "-")
    }


def in_order(
    recordings: Sequence[GivenRecording], known: Mapping[str, AnyResult], results: Iterator[AnyResult]
) -> Iterator[AnyResult]:
    """Earlier results of other files, then all results in the order of the recordings."""
    names = [text(recording.file) for recording in recordings]
    wanted = set(names)
    yield from (result for name, result in known.items() if name not in wanted)
    for name in names:
        yield known[name] if name in known else next(results)


class Tally(Generic[AnyResult]):
    """Counts of a run.

    Args:
        done: Verb of the summary, for example `tagged`.
        n_files: Number of recordings.
        n_before: Number of recordings that had results before this run.
    """

    def __init__(self, done: str, n_files: int, n_before: int) -> None:
        self._done, self._n_files, self._n_before = done, n_files, n_before
        self._n_done = 0
        self.n_failed = 0
        self._seconds = 0.0
        self._start = time.perf_counter()

    def counted(self, results: Iterable[AnyResult], show: screen.Progress) -> Iterator[AnyResult]:
        """The same results; counts each and reports its error."""
        for result in results:
            self._n_done += 1
            self._seconds += result.duration
            if result.error is not None:
                self.n_failed += 1
                screen.report_error(AudioError(result.error))
            yield result
            show(self._n_done, self._n_files)

    def summary(self) -> str:
        """One line."""
        took = time.perf_counter() - self._start
        failed = f", {self.n_failed} could not be read" if self.n_failed else ""
        before = f"; {self._n_before} had results already" if self._n_before else ""
        return (
            f"{self._done} {self._n_done - self.n_failed} of {counted(self._n_files, 'file')}, "
            f"{_duration(self._seconds)} of sound, in {took:.1f} s{failed}{before}"
        )


def _duration(seconds: float) -> str:
    """Seconds in the largest fitting unit.

    >>> _duration(5400.0)
    '1.5 h'
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def fingerprint(model: str, precision: str, engine: hub.EngineName, device: str) -> str:
    """SHA-256 of the file that `hub.load` runs with these settings."""
    engine = hub.choose_engine(model, precision, engine, device)
    return sha256_of(hub.find_checkpoint(model, engine))


class ResultsJournal(Generic[AnyResult]):
    """Results in a file beside OUT, one per line as they come, so that a stopped command loses none.

    Args:
        out: The file that the results are for.
        command: The command, for example `tag`.
        settings: Its settings; a journal with other settings is refused.
        parse: The result that `to_json` converted; raises one of `DAMAGE` for other values.
    """

    def __init__(self, out: Path, command: str, settings: Mapping[str, Any], parse: Callable[[Any], AnyResult]) -> None:
        self._out = out
        self.path = out.with_name(f".{out.name}.part")
        self._settings = json.loads(json.dumps({"earmark": command, **settings}))  # as they are read again
        self._parse = parse

    def read(self) -> list[AnyResult]:
        """Results of a stopped command; none where there is no journal.

        Raises:
            ConfigError: The journal has other settings.
            DataError: The journal is damaged.
        """
        if not self.path.is_file():
            return []
        try:
            settings, *lines = read_journal(self.path, lambda value: value)
            results = [self._parse(line) for line in lines]
        except DAMAGE as error:
            raise damaged(self.path, self._settings["earmark"], error) from error
        if settings != self._settings:
            raise ConfigError(
                f"{self.path}: the interrupted command had another model or other settings; repeat them, or "
                "start again without --resume"
            )
        return results

    @contextmanager
    def appending(self, known: Iterable[AnyResult]) -> Iterator[Callable[[AnyResult], None]]:
        """Yields a function that adds a result after the known ones; deletes the journal when the block succeeds."""
        try:
            try:
                with atomic_write(self.path) as temporary, temporary.open("w", encoding="utf-8") as stream:
                    screen.write_json(self._settings, stream)
                    for result in known:
                        screen.write_json(result.to_json(), stream)
            except OSError as error:
                error.filename = str(self._out)  # the name that the user gave
                raise
            with open_journal(self.path, self._settings) as journal:
                yield lambda result: journal.append(result.to_json())
                journal.remove()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; results are kept, the same command with --resume continues") from None


def damaged(path: Path, command: str, error: Exception) -> DataError:
    """The error of a file that holds no results of the command."""
    return DataError(
        f"{path}: results of `earmark {command}` were expected, they cannot be read ({error}); move the file away, or "
        "leave out --resume"
    )
