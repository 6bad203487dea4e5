"""Output of `earmark detect`: one table of all recordings, or a file for each."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cyclopts import CycloptsError

from earmark.annotations.formats import FORMATS
from earmark.annotations.start_times import StartTimes
from earmark.cli import screen
from earmark.cli.detections import READ_AGAIN, FileDetections, write_detections
from earmark.cli.recordings import DAMAGE, GivenRecording, Keep, ResultsJournal, damaged, in_order, known_results, text
from earmark.errors import counted
from earmark.storage.files import is_stream

_ENDS: Final = tuple(end for form in FORMATS.values() for end in form.suffixes)
_INTERRUPTED: Final = "interrupted; the files so far are kept, the same command with --resume continues"


@dataclass(frozen=True)
class Style:
    """Format and times of day of the written events."""

    form: str
    times: StartTimes
    with_time: bool
    """Whether events get a time of day."""


class OneTable:
    """A table of all recordings, which appears when it is complete; until then a journal keeps the results.

    Args:
        found: The recordings.
        style: Format and times of day.
        out: The file; standard output when None.
        journal: Journal of the file.
        resume: Whether earlier results are used.
        quiet: Whether notes are left out.

    Raises:
        CycloptsError: The file exists, and its format cannot be read again.
        ConfigError: The journal has other settings.
        DataError: The file or the journal is damaged.
    """

    def __init__(
        self,
        found: Sequence[GivenRecording],
        style: Style,
        out: Path | None,
        journal: ResultsJournal[FileDetections] | None,
        resume: bool,
        quiet: bool = False,
    ) -> None:
        self._found, self._style, self._out, self._journal = found, style, out, journal
        self.known: dict[str, FileDetections] = {}
        """Earlier results by file."""
        if resume and out is not None and journal is not None:
            complete = _read(out, style.form) if out.is_file() else []
            self.known = known_results(found, [*complete, *journal.read()])
            if complete:
                n = counted(len(complete), "file")
                screen.note(f"note: {out} keeps its events of {n}, whatever the settings were that found them", quiet)

    def keeping(self) -> AbstractContextManager[Keep]:
        """Yields a function that keeps each result as it comes."""
        return (
            nullcontext(lambda result: None) if self._journal is None else self._journal.appending(self.known.values())
        )

    def write(self, results: Iterator[FileDetections]) -> None:
        """Writes the results to come, which have the order of the recordings, among the earlier ones."""
        style = self._style
        write_detections(
            in_order(self._found, self.known, results), style.form, self._out, style.times, style.with_time
        )


class FilePerRecording:
    """A file for each recording, beside it or in a folder whose sub-folders are those of the recordings.

    Args:
        found: The recordings.
        style: Format and times of day.
        out: The folder; None for files beside the recordings.
        resume: Whether files that exist are kept.

    Raises:
        CycloptsError: Files exist without `resume`, two recordings have the same file, or a recording has none.
    """

    def __init__(self, found: Sequence[GivenRecording], style: Style, out: Path | None, resume: bool) -> None:
        self._style = style
        if out is not None and out.exists() and not out.is_dir():
            raise CycloptsError(f"--out {out}: a folder was expected with --per-file")
        if out is not None and not out.exists() and any(out.name.endswith(end) for end in _ENDS):
            raise CycloptsError(f"--out {out}: a folder was expected with --per-file, not the name of a table")
        self._targets = _targets(found, FORMATS[style.form].suffixes[0], out)
        existing = {file: target for file, target in self._targets.items() if target.exists()}
        if existing and not resume:
            raise CycloptsError(
                f"--per-file: {next(iter(existing.values()))} exists already ({counted(len(existing), 'such file')}); "
                "--resume keeps these files and adds the others, another --out leaves them alone"
            )
        self.known = {file: FileDetections(file) for file in existing}
        """Recordings that have a file, by name."""

    @contextmanager
    def keeping(self) -> Iterator[Keep]:
        """Yields a function that writes the file of a result as it comes."""
        try:
            yield self._keep
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_INTERRUPTED) from None

    def _keep(self, result: FileDetections) -> None:
        if result.error is None:
            annotations = [result.to_annotations(self._style.times)]
            FORMATS[self._style.form].write(self._targets[text(result.file)], annotations, self._style.with_time)

    def write(self, results: Iterator[FileDetections]) -> None:
        """Waits for the results, which were written when they came."""
        deque(results, maxlen=0)


def table_journal(out: Path | None, settings: dict[str, object]) -> ResultsJournal[FileDetections] | None:
    """The journal of a table; None where the events go into a stream."""
    if out is None or is_stream(out):
        return None
    return ResultsJournal(out, "detect", settings, FileDetections.from_json)


def _read(out: Path, form: str) -> list[FileDetections]:
    if form not in READ_AGAIN:
        raise CycloptsError(
            f"--resume: {out} is complete, and only {', '.join(READ_AGAIN)} can be read again; name another --out"
        )
    try:
        return [*map(FileDetections.from_annotations, FORMATS[form].read(out))]
    except DAMAGE as error:
        raise damaged(out, "detect", error) from error


def _targets(found: Sequence[GivenRecording], suffix: str, out: Path | None) -> dict[str, Path]:
    """The file of each recording, by the recording's name."""
    targets: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for recording in found:
        if recording.error is not None:
            continue
        if recording.file == "-":
            raise CycloptsError("--per-file needs recordings in files, not standard input")
        base = Path(recording.file) if out is None else out / recording.within
        target = base.with_name(base.stem + suffix)
        if target in taken:
            raise CycloptsError(
                f"--per-file: {taken[target]} and {recording.file} would both be written to {target}; run them apart"
            )
        taken[target] = recording.file
        targets[text(recording.file)] = target
    return targets
