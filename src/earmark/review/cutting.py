"""Detections cut out of their recordings, into one folder for each label."""

import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from earmark.annotations.events import FileEvents
from earmark.audio.recording import load_audio, probe, save_audio
from earmark.data.recording_names import RecordingNames
from earmark.errors import ConfigError, DataError, EarmarkError, Limit, check_settings, describe_error
from earmark.parallel.prefetch import in_threads
from earmark.parallel.processors import n_processors
from earmark.review.manifest import CutClip, read_manifest, relative_path, write_manifest
from earmark.review.names import clip_names, folder_of
from earmark.review.sampling import band_of, by_key, sample
from earmark.storage.differences import differences
from earmark.storage.files import in_either_form, leftovers, sha256_of
from earmark.storage.journal import Journal, open_journal
from earmark.storage.json_files import write_json

FORMAT: Final = 1
DESCRIPTION: Final = "clips.json"
"""Name of the file that describes a finished folder."""
JOURNAL: Final = "_clips.jsonl"
"""Name of the file that keeps what was cut, until all clips are there."""
_Result = dict[str, Any]
"""Entries of a row of the manifest that are known after the cutting; or `error`, the reason why there is no clip."""


@dataclass(frozen=True)
class ClipsConfig:
    """Settings of the clips."""

    format: Literal["flac", "wav"] = "flac"
    """Format of the clips: 16 bits at the sample rate of the recording, the mean of its channels."""
    pad: Annotated[float, Limit(at_least=0)] = 0.5
    """Seconds before and after each event."""
    max_duration: Annotated[float, Limit(above=0)] = 60.0
    """Longest clip in seconds; a longer event is cut from its beginning."""
    per_label: Annotated[int | None, Limit(at_least=1)] = None
    """Most clips of a label, evenly from the score bands 0.0-0.1, ... 0.9-1.0 (10 reach them all); by default all."""
    seed: Annotated[int, Limit(at_least=0)] = 0
    """Seed of the choice within a band."""

    def __post_init__(self) -> None:
        check_settings(self)


class FailedRecording(NamedTuple):
    """A recording some of whose clips could not be cut."""

    file: str
    error: str
    """The first reason."""
    n_clips: int
    """Clips that are missing."""


@dataclass(frozen=True)
class Clips:
    """The clips of a folder."""

    rows: tuple[CutClip, ...]
    """In the order of the table of events."""
    failed: tuple[FailedRecording, ...] = ()


def cut_clips(
    events: Sequence[FileEvents],
    out: Path,
    config: ClipsConfig | None = None,
    *,
    find: Callable[[str], Path] = Path,
    n_threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Clips:
    """Cuts events out of their recordings: `OUT/LABEL/RECORDING_ONSET_SCORE.flac`, listed in `OUT/manifest.csv`.

    Which clips are cut and their names depend on events and settings only. After an interruption or a kill the same
    call continues; after a failure of recordings it tries only the missing clips again. Clips that were cut stay as
    they are, whatever a person has moved.

    Args:
        events: Events of recordings.
        out: The folder: new, empty, or begun by the same call.
        config: Settings of the clips.
        find: Returns the path of a recording that the events name, such as `recordings_of(table)`; by default the name
            is the path.
        n_threads: Recordings that are read at a time; by default one per processor.
        progress: Called with the number of recordings done and their total.

    Raises:
        ConfigError: The folder holds other clips or other files, or an event is a point and `pad` is 0.
        DataError: There is no event, or another process is at work in the folder.
        AudioError: A clip cannot be written.
    """
    config = config or ClipsConfig()
    wanted = _wanted(events, config)
    plan = _plan(events, config)
    with _folder(out, plan) as journal:
        if journal is None:
            return Clips(tuple(read_manifest(out)))
        tasks = [list(rows) for _, rows in groupby(wanted, key=lambda row: row.file)]
        known: dict[int, Sequence[_Result]] = dict(journal.read(lambda line: (int(line[0]), list(line[1]))))
        todo = [number for number in range(len(tasks)) if number not in known or any(map(_is_error, known[number]))]
        n_threads = n_threads or n_processors()
        task = partial(_cut_recording, out, find)
        rows_and_earlier = [(tasks[number], known.get(number)) for number in todo]
        with closing(in_threads(task, rows_and_earlier, n_threads, 2 * n_threads)) as cut:
            for n_done, (number, results) in enumerate(zip(todo, cut, strict=True), len(tasks) - len(todo) + 1):
                known[number] = results
                journal.append([number, results])
                if progress is not None:
                    progress(n_done, len(tasks))
        clips = _clips(tasks, known)
        if clips.rows:
            write_manifest(out, clips.rows)
            write_json(out / DESCRIPTION, {**plan, "failed": [failed._asdict() for failed in clips.failed]})
        if not clips.failed:
            journal.remove()
    return clips


def _wanted(events: Sequence[FileEvents], config: ClipsConfig) -> list[CutClip]:
    """The clips to cut, in order, without what only the cutting shows."""
    found = [(recording.file, event) for recording in events for event in recording.events]
    if not found:
        raise DataError(f"no event in the table, which lists {len(events)} recordings")
    labels, bands = [event.label for _, event in found], [band_of(event.score) for _, event in found]
    n_in_band = Counter(zip(labels, bands, strict=True))
    chosen = sample(labels, bands, config.per_label, config.seed)
    names = clip_names(((found[i][0], found[i][1].onset, found[i][1].score) for i in chosen), f".{config.format}")
    folders = {label: folder_of(label) for label in by_key(labels)}
    rows = []
    for place, name in zip(chosen, names, strict=True):
        file, event = found[place]
        if event.offset == event.onset and not config.pad:
            raise ConfigError(f"a number above 0 was expected: {file} has a point at {event.onset:g} s", "pad")
        start = max(0.0, event.onset - config.pad)
        rows.append(
            CutClip(
                clip=f"{folders[event.label]}/{name}",
                file=file,
                onset=event.onset,
                offset=event.offset,
                label=event.label,
                score=event.score,
                time=event.time.isoformat() if event.time is not None else "",
                start=round(start, 6),
                end=round(min(event.offset + config.pad, start + config.max_duration), 6),
                band=bands[place],
                n_in_band=n_in_band[event.label, bands[place]],
                recording="",
                sha256="",
            )
        )
    return rows


def _plan(events: Sequence[FileEvents], config: ClipsConfig) -> dict[str, Any]:
    digest = hashlib.sha256()
    for recording in events:
        digest.update(recording.file.encode(errors="surrogateescape") + b"\n")
        for event in recording.events:
            score = float("nan") if event.score is None else event.score
            digest.update(struct.pack("<ddd", event.onset, event.offset, score) + event.label.encode() + b"\n")
    return {"kind": "clips", "format": FORMAT, "settings": asdict(config), "events_sha256": digest.hexdigest()}


@contextmanager
def _folder(out: Path, plan: dict[str, Any]) -> Iterator[Journal | None]:
    """The journal of the folder, which is locked meanwhile; None if the folder is finished."""
    out.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    if names and names.isdisjoint((DESCRIPTION, JOURNAL)):
        raise ConfigError(f"{out}: a new or empty folder was expected, or unfinished clips; this holds other files")
    if DESCRIPTION in names and JOURNAL not in names:
        _check_same(out, read_description(out), plan)
        yield None
        return
    with open_journal(out / JOURNAL, plan) as journal:
        _check_same(out, journal.head, plan)
        for folder in (path for path in out.iterdir() if path.is_dir()):
            for path in leftovers(folder):
                path.unlink(missing_ok=True)
        yield journal


def read_description(folder: Path) -> dict[str, Any]:
    """The settings with which the clips of a folder were cut, and the recordings that failed.

    Raises:
        DataError: The folder has none, or it is damaged.
    """
    try:
        about = json.loads((folder / DESCRIPTION).read_bytes())
        if about["kind"] != "clips" or about["format"] != FORMAT:
            raise DataError(f"{folder / DESCRIPTION}: clips of format {FORMAT} were expected")
        return dict(about)
    except FileNotFoundError:
        if (folder / JOURNAL).exists():
            text = "unfinished; run the same `earmark clips` command again to finish it"
            raise DataError(f"{folder}: {text}") from None
        raise DataError(f"{folder}: no folder of `earmark clips`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / DESCRIPTION}: damaged ({error!r}); cut the clips again") from error


def _check_same(out: Path, before: Any, now: dict[str, Any]) -> None:
    then = before if isinstance(before, dict) else {}
    flat = [{"events": about.get("events_sha256"), **(about.get("settings") or {})} for about in (then, now)]
    if differing := differences(*flat):
        raise ConfigError(f"{out}: holds other clips, these differ: {', '.join(differing)}; take another folder")


def _is_error(result: _Result) -> bool:
    return "error" in result


def _cut_recording(
    out: Path, find: Callable[[str], Path], rows_and_earlier: tuple[Sequence[CutClip], Sequence[_Result] | None]
) -> list[_Result]:
    """The result of each clip; clips with an earlier result are not cut again."""
    rows, earlier = rows_and_earlier
    before = earlier or [{"error": ""}] * len(rows)
    try:
        path = find(rows[0].file)
        sample_rate = probe(path).sample_rate
    except (EarmarkError, OSError) as error:
        return [{"error": describe_error(error)} if _is_error(result) else result for result in before]
    recording = relative_path(path, out)
    results: list[_Result] = []
    for row, result in zip(rows, before, strict=True):
        if not _is_error(result):
            results.append(result)
            continue
        try:
            audio = load_audio(path, sample_rate, row.start, row.end - row.start)
        except (EarmarkError, OSError) as error:
            results.append({"error": describe_error(error)})
            continue
        save_audio(out / row.clip, audio)  # a full disk ends the command, which then continues
        end = round(row.start + audio.duration, 6)
        results.append({"recording": recording, "end": end, "sha256": sha256_of(out / row.clip)})
    return results


def recordings_of(table: Path, root: Path | None = None) -> Callable[[str], Path]:
    """Returns a function that finds the recordings that a table of events names.

    Names count from the working folder, as `earmark detect` writes them; else `RecordingNames` searches the folder of
    the table.

    Args:
        table: The table.
        root: Folder of recordings that have moved, searched instead of both; absolute names that exist are taken.
    """
    names = RecordingNames(root or table.parent)

    def find(file: str) -> Path:
        path = in_either_form(Path(file))
        if root is None and os.path.isfile(path):  # noqa: PTH113 (never raises)
            return path
        try:
            return names.find(file, names.folder)
        except DataError as error:
            if root is not None:
                raise
            raise DataError(f"{error}; --audio-root names the folder of recordings that have moved") from error

    return find


def _clips(tasks: Sequence[Sequence[CutClip]], known: Mapping[int, Sequence[_Result]]) -> Clips:
    rows, failed = [], []
    for number, own in enumerate(tasks):
        for row, result in zip(own, known[number], strict=True):
            if not _is_error(result):
                rows.append(replace(row, **result))
        if errors := [result["error"] for result in known[number] if _is_error(result)]:
            failed.append(FailedRecording(own[0].file, errors[0], len(errors)))
    return Clips(tuple(rows), tuple(failed))
