"""Label Studio's JSON: a task a recording, with regions that people or a tagger labelled."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.rows import AnnotationError, Faulty, Located
from earmark.errors import DataError
from earmark.labels import normal_label
from earmark.storage.text_files import read_lines

_FROM_NAME: Final = "label"
_TO_NAME: Final = "audio"


def write_label_studio(files: Iterable[FileEvents], stream: IO[Any], with_time: bool) -> None:
    """Writes a task for each recording, with its events as predictions; times of day are left out.

    The project's `Audio` must be named `audio`, and its `Labels` `label`.
    """
    stream.write("[")
    for number, recording in enumerate(files):
        results = [_result(index, event, recording.duration) for index, event in enumerate(recording.events)]
        prediction = {"model_version": "earmark", "result": results}
        task = {"data": {"audio": recording.file}, "predictions": [prediction]}
        stream.write((",\n" if number else "\n") + json.dumps(task, allow_nan=False))
    stream.write("\n]\n")


def _result(index: int, event: Annotation, duration: float | None) -> dict[str, Any]:
    times = {"start": round(event.onset, 6), "end": round(event.offset, 6)}
    result: dict[str, Any] = {
        "id": str(index),
        "from_name": _FROM_NAME,
        "to_name": _TO_NAME,
        "type": "labels",
        "value": {**times, "labels": [event.label]},
    }
    if duration is not None:
        result["original_length"] = round(duration, 6)
    if event.score is not None:
        result["score"] = float(f"{event.score:.6g}")
    return result


def label_studio_rows(path: Path, faulty: Faulty) -> Iterator[Located]:
    """The events of an export (JSON or JSON-MIN), or of tasks to import.

    Annotations of a task count unless they are cancelled; where some are marked as ground truth, only these do.
    Overlapping regions of several annotators with the same label become one event. A task whose list of annotations is
    empty is skipped; in a task without such a list, the last prediction counts.

    Raises:
        DataError: The file is no such JSON.
    """
    try:
        tasks = json.loads("".join(read_lines(path)))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    tasks = tasks if isinstance(tasks, list) else [tasks]
    for number, task in enumerate(tasks, 1):
        place = f"task {number}"
        try:
            if not isinstance(task, Mapping):
                raise DataError(f"expected a task with data and annotations, got {str(task)[:40]!r}")
            place += f" (id {task['id']})" if "id" in task else ""
            events = _events(task)
            if events is not None:
                file = _file(task)
                yield from (Located(file, event, place, "data.audio") for event in (events or (None,)))
        except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error) if isinstance(error, DataError) else f"not a task of Label Studio ({error!r})"
            faulty(AnnotationError(path, place, reason))


def _events(task: Mapping[str, Any]) -> list[Annotation] | None:
    """The events of a task; None where the task has no annotation."""
    if "data" not in task:  # JSON-MIN: the regions stand beside the data, under the name of the control
        lists = [value for value in task.values() if isinstance(value, list)]
        regions = [region for value in lists for region in value if isinstance(region, Mapping) and "labels" in region]
        return [event for region in regions for event in _labelled(region, None)]
    if "annotations" not in task:
        predictions = task.get("predictions") or []
        return [event for result in _results(predictions[-1:]) for event in _labelled(result["value"], result)]
    done = [entry for entry in task["annotations"] if not entry.get("was_cancelled")]
    done = [entry for entry in done if entry.get("ground_truth")] or done
    if not done:
        return None
    events = [event for result in _results(done) for event in _labelled(result["value"], result)]
    return events if len(done) == 1 else _united(events)


def _results(entries: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for entry in entries:
        yield from (result for result in entry["result"] if result.get("type") == "labels")


def _labelled(value: Mapping[str, Any], result: Mapping[str, Any] | None) -> Iterator[Annotation]:
    if "start" not in value or "end" not in value:
        raise DataError("a region without start and end; expected regions of audio with labels")
    score = None if result is None else result.get("score")
    for label in value["labels"]:
        times = (float(value["start"]), float(value["end"]))
        yield Annotation(*times, normal_label(label), None if score is None else float(score))


def _united(events: Sequence[Annotation]) -> list[Annotation]:
    """The events, with overlapping ones of one label as one."""
    united: list[Annotation] = []
    last: dict[str, int] = {}
    for event in sorted(events, key=lambda event: event.onset):
        before = united[last[event.label]] if event.label in last else None
        if before is not None and event.onset <= before.offset:
            offset = max(before.offset, event.offset)
            united[last[event.label]] = Annotation(before.onset, offset, event.label, before.score)
        else:
            last[event.label] = len(united)
            united.append(event)
    return united


def _file(task: Mapping[str, Any]) -> str:
    data = task.get("data", task)
    audio = data.get("audio")
    if not isinstance(audio, str) or not audio:
        raise DataError(f"a recording was expected in data.audio, got the names {', '.join(map(str, data))}")
    return local_name(audio)


def local_name(audio: str) -> str:
    """The path in a URL that Label Studio serves a recording under; other texts are unchanged.

    >>> local_name("/data/local-files/?d=night/a%20b.wav"), local_name("https://host/x/a.wav?v=1"), local_name("a.wav")
    ('night/a b.wav', 'x/a.wav', 'a.wav')
    """
    url = urlsplit(audio)
    if url.path.rstrip("/").endswith("local-files") and "d" in parse_qs(url.query):
        return parse_qs(url.query)["d"][0]
    if url.scheme == "file" or audio.startswith("/data/upload/"):
        return unquote(url.path)
    return unquote(url.path).lstrip("/") if url.scheme and url.netloc else audio
