"""`earmark tag`: many recordings to their tags."""

import csv
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO

from cyclopts import Group, Parameter
from cyclopts.validators import Number, mutually_exclusive
from rich.table import Table

from earmark import hub
from earmark.audio import Audio, find_audio, load_audio
from earmark.cli.screen import (
    AsJson,
    Quiet,
    bar,
    chosen_form,
    destination,
    note,
    one_line,
    paper,
    progress,
    refuse_overwriting,
    report_error,
    rounded,
    write_json,
)
from earmark.errors import AudioError, EarmarkError
from earmark.tagger import Tag, Tagger

_WHICH = Group(validator=mutually_exclusive, show=False)


@dataclass(frozen=True)
class Tagged:
    """What came out for one file: its tags, or why there are none."""

    file: str
    duration: float = 0.0
    tags: tuple[Tag, ...] = ()
    error: str | None = None


def tag(
    files: list[Path],
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    top: Annotated[int | None, Parameter(group=_WHICH, validator=Number(gte=1))] = None,
    threshold: Annotated[float | None, Parameter(group=_WHICH, validator=Number(gte=0, lte=1))] = None,
    format: Literal["table", "json", "csv"] | None = None,
    out: Path | None = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Tag recordings.

    Args:
        files: Recordings, and folders of recordings.
        model: A .safetensors checkpoint.
        top: Print this many tags of each file; 5 unless a threshold is given.
        threshold: Print all tags that score this or more.
        format: A table for people, JSON with one object a line, or CSV; what --out ends in says it too.
        out: Write to this file instead of standard output.
        json: Short for --format json.
        quiet: Nothing but errors on standard error.
    """
    form = chosen_form(format, json, out, _WRITERS)
    found = list(chain.from_iterable(map(_recordings, files)))
    refuse_overwriting(out, [model, *(file for file in found if isinstance(file, Path))])
    tagger = hub.load(model)
    start, n_failed = time.perf_counter(), 0

    def reported(results: Iterable[Tagged], show: Callable[[int, int], None]) -> Iterator[Tagged]:
        nonlocal n_failed
        for done, result in enumerate(results, 1):
            if result.error is not None:
                n_failed += 1
                report_error(result.error)
            yield result
            show(done, len(found))

    with destination(out) as stream, progress("tagging", quiet or stream.isatty()) as show:
        _WRITERS[form](reported(_tag_all(tagger, found, top, threshold), show), stream)
    seconds = time.perf_counter() - start
    failed = f", {n_failed} could not be read" if n_failed else ""
    note(f"tagged {len(found) - n_failed} of {len(found)} files in {seconds:.1f} s{failed}", quiet)
    return 1 if n_failed else 0


def _recordings(path: Path) -> list[Path | Tagged]:
    """The recordings of a folder, or the file itself; a folder without any is a failure of its own."""
    if not path.is_dir():
        return [path]  # there or not: that is told in its turn
    try:
        return list(find_audio(path))
    except (EarmarkError, OSError) as error:
        return [Tagged(str(path), error=one_line(error))]


def _tag_all(tagger: Tagger, files: list[Path | Tagged], top: int | None, threshold: float | None) -> Iterator[Tagged]:
    """Tags in the order of the files; a thread decodes the next one while the network hears this one."""
    with ThreadPoolExecutor(max_workers=1) as decoder:
        following = decoder.submit(_decode, files[0], tagger.sample_rate)
        for position, file in enumerate(files, 1):
            decoded = following.result()
            if position < len(files):
                following = decoder.submit(_decode, files[position], tagger.sample_rate)
            if isinstance(decoded, Audio):
                tags = tagger.tag(decoded, top=top, threshold=threshold)
                decoded = Tagged(str(file), decoded.duration, tuple(tags))
            yield decoded


def _decode(file: Path | Tagged, sample_rate: int) -> Audio | Tagged:
    if isinstance(file, Tagged):
        return file
    try:
        return load_audio(file, sample_rate)
    except (AudioError, OSError) as error:
        named = "" if str(file) in str(error) else f"{file}: "
        return Tagged(str(file), error=one_line(f"{named}{one_line(error)}"))


def _write_table(results: Iterable[Tagged], stream: TextIO) -> None:
    console = paper(stream)
    for result in results:
        if result.error is not None:
            continue
        console.print(f"{result.file}  {result.duration:.1f} s", style="bold", soft_wrap=True)
        table = Table.grid(padding=(0, 2))
        for tag in result.tags:
            table.add_row("", f"{tag.score:.3f}", bar(tag.score), tag.label)
        console.print(table if result.tags else "      nothing reaches the threshold")


def _write_json(results: Iterable[Tagged], stream: TextIO) -> None:
    for result in results:
        if result.error is not None:
            write_json({"file": result.file, "error": result.error}, stream)
            continue
        tags = [{"label": tag.label, "score": rounded(tag.score)} for tag in result.tags]
        write_json({"file": result.file, "duration": rounded(result.duration), "tags": tags}, stream)


def _write_csv(results: Iterable[Tagged], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("file", "label", "score", "error"))
    for result in results:
        writer.writerows((result.file, tag.label, rounded(tag.score), "") for tag in result.tags)
        if result.error is not None:
            writer.writerow((result.file, "", "", result.error))
        stream.flush()


_WRITERS: Final[dict[str, Callable[[Iterable[Tagged], TextIO], None]]] = {
    "table": _write_table,
    "json": _write_json,
    "csv": _write_csv,
}
