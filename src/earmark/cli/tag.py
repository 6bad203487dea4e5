"""`earmark tag`: tags of many recordings."""

import errno
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib import import_module
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.audio.recording import find_audio
from earmark.audio.time_limit import set_time_limit
from earmark.audio.tracks import Track
from earmark.cli import screen
from earmark.cli.flags import (
    DecodeTimeout,
    Device,
    Engine,
    FormatJson,
    Model,
    OutFile,
    Overlap,
    Quiet,
    SoundTrack,
    Threshold,
    Top,
)
from earmark.cli.results import FORMS, FileResult, ResultsJournal, read, text, write
from earmark.errors import AudioError, EarmarkError, Limit, counted
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import label_thresholds
from earmark.parallel.processors import n_processors
from earmark.storage.files import in_either_form, is_stream
from earmark.storage.remote import url_of


def tag(
    files: list[Path],
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    top: Top = None,
    threshold: Threshold = None,
    format: Literal["table", "json", "csv", "parquet"] | None = None,
    out: OutFile = None,
    precision: Literal["float32", "bf16"] = "float32",
    jobs: Annotated[int | None, Limit(at_least=1)] = None,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> int:
    """Tag recordings.

    Args:
        files: Recordings, folders of recordings, and - for standard input.
        format: Table for people, JSON with one object a line, CSV or Parquet; by default the suffix of --out decides.
        precision: bf16 needs PyTorch and is faster on processors with instructions for it; the third digit changes.
        jobs: Number of files tagged at the same time; they share the processors. Default: the number of processors.
        resume: Continue a stopped command with the same settings: skip the files whose results OUT already has.
    """
    form = screen.chosen_form(format, json, out, FORMS)
    _check(form, out, resume)
    set_time_limit(decode_timeout)
    found = list(chain.from_iterable(map(_recordings, files)))
    screen.refuse_overwriting(out, [model, *(file for file in found if isinstance(file, Path))])
    settings = {"precision": precision, "top": top, "threshold": threshold, "track": track, "overlap": overlap}
    journal = _journal(out, model, engine, settings)
    names = [text(file.file if isinstance(file, FileResult) else str(file)) for file in found]
    known = _known(out, journal, names) if resume and out is not None else {}
    todo = [file for file, name in zip(found, names, strict=True) if name not in known]
    n_jobs = max(1, min(jobs or n_processors(), len(todo)))
    with screen.usage_errors():
        tagger = hub.load(model, max(1, n_processors() // n_jobs), precision, engine, overlap, device)
    label_thresholds(threshold, tagger.thresholds, len(tagger.labels))  # fails before the work
    tally, one_at_a_time = _Tally(len(todo)), threading.Lock()

    hidden = quiet or (out is None and sys.stdout.isatty())
    appending = nullcontext(lambda result: None) if journal is None else journal.appending(known.values())
    with screen.progress("tagging", hidden) as show, appending as keep:

        def score(file: Path | FileResult, cancel: threading.Event) -> FileResult:
            result = file if isinstance(file, FileResult) else _score(tagger, file, top, threshold, track, cancel)
            with one_at_a_time:
                keep(result)
            return result

        write(_in_order(names, known, tally.counted(_in_parallel(score, todo, n_jobs), show)), form, out)
    screen.note(tally.summary(len(found) - len(todo)), quiet)
    return 1 if tally.n_failed else 0


def _journal(
    out: Path | None, model: str, engine: hub.EngineName, settings: Mapping[str, Any]
) -> ResultsJournal | None:
    """The journal of results beside the output file; None where the results go into a stream."""
    if out is None or is_stream(out):
        return None
    fingerprint = _fingerprint(model, engine if settings["precision"] == "float32" else "torch")
    return ResultsJournal(out, {"model": fingerprint, **settings})


def _fingerprint(model: str, engine: hub.EngineName) -> str:
    with hub.find_checkpoint(model, engine).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(form: str, out: Path | None, resume: bool) -> None:
    if form == "parquet" and out is None:
        raise CycloptsError("--format parquet is for files: name one by --out")
    if form == "parquet":
        import_module("pyarrow.parquet")  # a missing package is an error before the work
    if out is not None and out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if resume and out is None:
        raise CycloptsError("--resume needs --out, which is missing")
    if resume and form == "table":
        raise CycloptsError("--resume cannot read a table again: choose another --format")


def _recordings(path: Path) -> list[Path | FileResult]:
    """The recordings of a folder, or the file itself; a folder that holds none or cannot be read gives an error."""
    if (url := url_of(path)) is not None:
        return [FileResult(url, error=f"{url}: {screen.NO_URL}")]
    path = in_either_form(path)
    if not path.is_dir():
        return [path]  # a missing file is reported in its turn
    unreadable: list[FileResult] = []
    try:
        found = find_audio(
            path, lambda error: unreadable.append(FileResult(error.filename, error=screen.one_line(error)))
        )
        return [*found, *unreadable]
    except (EarmarkError, OSError) as error:
        return [*unreadable, FileResult(str(path), error=screen.one_line(error))]


def _known(out: Path, journal: ResultsJournal | None, names: Sequence[str]) -> dict[str, FileResult]:
    """Earlier results by file. Unreadable files are tried again; standard input has other contents each time."""
    wanted = set(names)
    earlier = [*(read(out) if out.is_file() else []), *(journal.read() if journal is not None else [])]
    by_name = {text(result.file): result for result in earlier}
    return {
        name: result for name, result in by_name.items() if name not in wanted or (result.error is None and name != "-")
    }


def _in_order(
    names: Sequence[str], known: Mapping[str, FileResult], scored: Iterator[FileResult]
) -> Iterator[FileResult]:
    """Earlier results of other files, then all results in the order of the files."""
    wanted = set(names)
    yield from (result for name, result in known.items() if name not in wanted)
    for name in names:
        yield known[name] if name in known else next(scored)


def _in_parallel(
    score: Callable[[Path | FileResult, threading.Event], FileResult], files: Sequence[Path | FileResult], n_jobs: int
) -> Iterator[FileResult]:
    """Results in the order of the files, `n_jobs` of which are scored at the same time.

    When the caller stops early, the files that have begun are cancelled by the event that `score` gets.
    """
    cancel = threading.Event()
    if n_jobs == 1:
        yield from (score(file, cancel) for file in files)
        return
    with ThreadPoolExecutor(n_jobs) as pool:
        try:
            yield from pool.map(score, files, repeat(cancel))
        finally:
            cancel.set()


def _score(
    tagger: Tagger,
    file: Path,
    top: int | None,
    threshold: float | Literal["auto"] | None,
    track: Track,
    cancel: threading.Event,
) -> FileResult:
    try:
        with screen.recording(file) as path:
            scores = tagger.score(path, track=track, cancel=cancel)
    except (AudioError, OSError) as error:
        named = "" if str(file) in str(error) or str(file) == "-" else f"{file}: "
        return FileResult(str(file), error=screen.one_line(f"{named}{screen.one_line(error)}"))
    except MemoryError:
        return FileResult(str(file), error=screen.one_line(f"{file}: out of memory; fewer --jobs need less"))
    return FileResult(str(file), scores.duration, tuple(scores.tags(top=top, threshold=threshold)))


class _Tally:
    """Counts of a run."""

    def __init__(self, n_files: int) -> None:
        self._n_files = n_files
        self._n_done = 0
        self.n_failed = 0
        self._seconds = 0.0
        self._start = time.perf_counter()

    def counted(self, results: Iterable[FileResult], show: Callable[[int, int], None]) -> Iterator[FileResult]:
        """The same results; counts each and reports its error."""
        for result in results:
            self._n_done += 1
            self._seconds += result.duration
            if result.error is not None:
                self.n_failed += 1
                screen.report_error(AudioError(result.error))
            yield result
            show(self._n_done, self._n_files)

    def summary(self, n_before: int) -> str:
        """One line; `n_before` files had results before this run."""
        took = time.perf_counter() - self._start
        failed = f", {self.n_failed} could not be read" if self.n_failed else ""
        before = f"; {n_before} had results already" if n_before else ""
        return (
            f"tagged {self._n_done - self.n_failed} of {counted(self._n_files, 'file')}, "
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
