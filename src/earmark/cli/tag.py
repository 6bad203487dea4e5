"""`earmark tag`: many recordings to their tags."""

import errno
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import CycloptsError, Group, Parameter
from cyclopts.validators import Number, mutually_exclusive

from earmark import hub
from earmark.audio.recording import find_audio
from earmark.cli.screen import (
    AsJson,
    Quiet,
    Score,
    chosen_form,
    note,
    one_line,
    progress,
    recording,
    refuse_overwriting,
    report_error,
)
from earmark.cli.tagged import FORMS, Journal, Tagged, read, text, write
from earmark.errors import AudioError, ConfigError, EarmarkError
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import NO_THRESHOLDS
from earmark.parallel.processors import n_processors
from earmark.storage.files import is_stream

_WHICH = Group(validator=mutually_exclusive, show=False)


def tag(
    files: list[Path],
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    top: Annotated[int | None, Parameter(group=_WHICH, validator=Number(gte=1))] = None,
    threshold: Annotated[Score, Parameter(group=_WHICH)] = None,
    format: Literal["table", "json", "csv", "parquet"] | None = None,
    out: Path | None = None,
    precision: Literal["float32", "bf16"] = "float32",
    jobs: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Tag recordings.

    Args:
        files: Recordings, folders of recordings, and - for standard input.
        model: earmark-esc50, panns-cnn10, or a .safetensors checkpoint, an exported .onnx, a .pth of PANNs' Cnn10.
        top: Print this many tags of each file; 5 unless a threshold is given, with which it does not go.
        threshold: Print all tags that score this or more; auto takes the model's own threshold of each label.
        format: A table for people, JSON with one object a line, CSV or Parquet; what --out ends in says it too.
        out: Write to this file instead of standard output.
        precision: bf16 is faster where the processor has instructions for it; scores change in the third digit.
        jobs: Files heard side by side, which share the processors; as many as there are processors when not given.
        resume: Go on where a stopped command was, and skip what OUT has already, which the same settings made.
        json: Short for --format json.
        quiet: Nothing but errors on standard error.
    """
    form = chosen_form(format, json, out, FORMS)
    _check(form, out, resume)
    found = list(chain.from_iterable(map(_recordings, files)))
    refuse_overwriting(out, [model, *(file for file in found if isinstance(file, Path))])
    journal = None
    if out is not None and not is_stream(out):
        settings = {"precision": precision, "top": top, "threshold": threshold}
        journal = Journal(out, {"model": _fingerprint(model), **settings})
    known = _known(out, journal, found) if resume and out is not None else {}
    todo = [file for file in found if text(_name(file)) not in known]
    n_jobs = max(1, min(jobs or n_processors(), len(todo)))
    tagger = hub.load(model, n_threads=max(1, n_processors() // n_jobs), precision=precision)
    if threshold == "auto" and tagger.thresholds is None:
        raise ConfigError(NO_THRESHOLDS, "threshold")
    tally, one_at_a_time = _Tally(len(todo)), threading.Lock()

    with progress("tagging", quiet or (out is None and sys.stdout.isatty())) as show, _kept(journal, known) as keep:

        def hear(file: Path | Tagged, stopped: Callable[[float], None]) -> Tagged:
            result = file if isinstance(file, Tagged) else _hear(tagger, file, top, threshold, stopped)
            with one_at_a_time:
                keep(result)
            return result

        write(_in_order(found, known, tally.counted(_side_by_side(hear, todo, n_jobs), show)), form, out)
    note(tally.summary(len(found) - len(todo)), quiet)
    return 1 if tally.n_failed else 0


def _fingerprint(model: str) -> str:
    with hub.find_checkpoint(model).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(form: str, out: Path | None, resume: bool) -> None:
    if form == "parquet" and out is None:
        raise CycloptsError("--format parquet is for files: name one by --out")
    if out is not None and out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if resume and out is None:
        raise CycloptsError("--resume goes on with --out, which is missing")
    if resume and form == "table":
        raise CycloptsError("--resume reads what is in --out, and nobody can read a table again: take another --format")


def _recordings(path: Path) -> list[Path | Tagged]:
    """The recordings of a folder, or the file itself; a folder without any is a failure of its own."""
    if not path.is_dir():
        return [path]  # there or not: that is told in its turn
    try:
        return list(find_audio(path))
    except (EarmarkError, OSError) as error:
        return [Tagged(str(path), error=one_line(error))]


def _name(file: Path | Tagged) -> str:
    return file.file if isinstance(file, Tagged) else str(file)


def _known(out: Path, journal: Journal | None, found: Sequence[Path | Tagged]) -> dict[str, Tagged]:
    """What is there already, by file; what could not be read before is tried again, and standard input is another."""
    wanted = {text(_name(file)) for file in found}
    there = [*(read(out) if out.is_file() else []), *(journal.read() if journal is not None else [])]
    by_name = {text(result.file): result for result in there}
    return {
        name: result for name, result in by_name.items() if name not in wanted or (result.error is None and name != "-")
    }


@contextmanager
def _kept(journal: Journal | None, known: Mapping[str, Tagged]) -> Iterator[Callable[[Tagged], None]]:
    if journal is None:
        yield lambda result: None
        return
    try:
        with journal.kept(known.values()) as keep:
            yield keep
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; what is done is kept, the same command with --resume goes on") from None


def _in_order(found: Sequence[Path | Tagged], known: Mapping[str, Tagged], heard: Iterator[Tagged]) -> Iterator[Tagged]:
    """What was there of other files, then the results in the order of the files."""
    names = [text(_name(file)) for file in found]
    wanted = set(names)
    yield from (result for name, result in known.items() if name not in wanted)
    for name in names:
        yield known[name] if name in known else next(heard)


class _Stopped(Exception):
    """Nobody waits for this result any more."""


def _side_by_side(
    hear: Callable[[Path | Tagged, Callable[[float], None]], Tagged], files: Sequence[Path | Tagged], n_jobs: int
) -> Iterator[Tagged]:
    """Results in the order of the files, `n_jobs` of which are heard at a time."""
    stop = threading.Event()

    def stopped(seconds: float) -> None:
        if stop.is_set():
            raise _Stopped

    if n_jobs == 1:
        yield from (hear(file, stopped) for file in files)
        return
    following = enumerate(files)
    with ThreadPoolExecutor(n_jobs) as pool:

        def submit(n: int) -> dict[Future[Tagged], int]:
            return {pool.submit(hear, file, stopped): place for place, file in islice(following, n)}

        running, waiting, turn = submit(2 * n_jobs), dict[int, Tagged](), 0
        try:
            while running:
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                waiting |= {running.pop(each): each.result() for each in ended}
                running |= submit(len(ended))
                while turn in waiting:  # a long recording holds up the order, not the work
                    yield waiting.pop(turn)
                    turn += 1
        finally:
            stop.set()
            for each in running:
                each.cancel()


def _hear(
    tagger: Tagger,
    file: Path,
    top: int | None,
    threshold: float | Literal["auto"] | None,
    stopped: Callable[[float], None],
) -> Tagged:
    try:
        with recording(file) as path:
            heard = tagger.hear(path, progress=stopped)
    except (AudioError, OSError) as error:
        named = "" if str(file) in str(error) or str(file) == "-" else f"{file}: "
        return Tagged(str(file), error=one_line(f"{named}{one_line(error)}"))
    except MemoryError:
        return Tagged(str(file), error=one_line(f"{file}: too little memory; fewer --jobs need less"))
    return Tagged(str(file), heard.duration, tuple(heard.tags(top=top, threshold=threshold)))


class _Tally:
    """What a run comes to."""

    def __init__(self, n_files: int) -> None:
        self._n_files = n_files
        self._n_done = 0
        self.n_failed = 0
        self._seconds = 0.0
        self._start = time.perf_counter()

    def counted(self, results: Iterable[Tagged], show: Callable[[int, int], None]) -> Iterator[Tagged]:
        """The same results, each counted and, where it is a failure, told."""
        for result in results:
            self._n_done += 1
            self._seconds += result.duration
            if result.error is not None:
                self.n_failed += 1
                report_error(AudioError(result.error))
            yield result
            show(self._n_done, self._n_files)

    def summary(self, n_before: int) -> str:
        """One line; `n_before` files were done already."""
        took = time.perf_counter() - self._start
        failed = f", {self.n_failed} could not be read" if self.n_failed else ""
        before = f"; {n_before} were there already" if n_before else ""
        return (
            f"tagged {self._n_done - self.n_failed} of {self._n_files} files, {_duration(self._seconds)} of sound, "
            f"in {took:.1f} s{failed}{before}"
        )


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> _duration(5400.0)
    '1.5 h'
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
