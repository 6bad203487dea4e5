"""Answers of the interface: a function for each operation."""

import asyncio
import json
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from earmark.annotations.formats import FORMATS
from earmark.errors import ConfigError
from earmark.inference.engine import Engine
from earmark.inference.events import Event, EventSettings
from earmark.inference.tagger import Tagger
from earmark.serve.exports import ExportQuery, exported
from earmark.serve.measures import Measures
from earmark.serve.queries import EvidenceQuery, ScoresQuery, Source, TagQuery, TimelineQuery, read
from earmark.serve.recordings import Recording, Shelf
from earmark.serve.settings import ServeSettings
from earmark.serve.uploads import parsed, save
from earmark.serve.work import Work

_Value = TypeVar("_Value")
_MOST_SCORES: Final = 5_000_000
"""Maximum scores of a timeline whose hop is shorter than the default; more would fill the memory."""


@dataclass(frozen=True)
class Server:
    """Models, settings, recordings and counters, which all requests share."""

    taggers: Mapping[str, Tagger]
    """By name; the first is the default."""
    settings: ServeSettings
    work: Work
    shelf: Shelf
    measures: Measures
    parsing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lock that is held while a JSON body is parsed and used."""

    def tagger(self, name: str | None) -> tuple[str, Tagger]:
        """A model by name.

        Raises:
            ConfigError: The server has no such model.
        """
        chosen = next(iter(self.taggers)) if name is None else name
        if chosen not in self.taggers:
            raise ConfigError(f"one of {', '.join(self.taggers)} was expected", "model")
        return chosen, self.taggers[chosen]


@dataclass(frozen=True)
class _Analysis:
    """A recording with the model that analyses it."""

    recording: Recording
    model: str
    tagger: Tagger
    stop: threading.Event

    def encoded(self) -> Any:
        return self.recording.encoded(self.model, self.tagger, self.stop)

    def timeline(self, query: TimelineQuery) -> Any:
        seconds = self.encoded().duration * len(self.tagger.labels.names) / _MOST_SCORES
        if query.hop < min(seconds, TimelineQuery.hop):
            least = math.ceil(1000 * min(seconds, TimelineQuery.hop)) / 1000
            raise ConfigError(f"at least {least:g} s was expected for this recording, not {query.hop:g}", "hop")
        return self.recording.timeline(self.model, self.tagger, query, self.stop)


class _Stoppable:
    """An engine that calls `check` before each use; an error that `check` raises ends the work.

    Args:
        engine: The engine.
        check: Raises an error if the result is no longer wanted.
    """

    def __init__(self, engine: Engine, check: Callable[[], None]) -> None:
        self._engine, self._check = engine, check

    def __getattr__(self, name: str) -> Any:
        self._check()
        return getattr(self._engine, name)


async def tag(request: Request) -> Response:
    """Tags by falling score."""

    def analyse(analysis: _Analysis, query: TagQuery) -> list[dict[str, Any]]:
        scores = analysis.tagger.score(analysis.encoded())
        top = query.top_k
        if top is not None and query.threshold is not None:
            tags = scores.tags(threshold=query.threshold)[:top]
        else:
            tags = scores.tags(top=top, threshold=query.threshold)
        return [{"label": tag.label, "score": _rounded(tag.score)} for tag in tags]

    return await _analysed(request, analyse, TagQuery)


async def timeline(request: Request) -> Response:
    """Scores over time."""

    def analyse(analysis: _Analysis, windows: TimelineQuery, query: ScoresQuery) -> dict[str, Any]:
        result = analysis.timeline(windows)
        shown = np.flatnonzero((result.scores >= query.least).any(axis=0))
        return {
            "name": analysis.recording.name,
            "model": analysis.model,
            "duration": _rounded(result.duration),
            "window": result.window,
            "hop": result.hop,
            "labels": [result.labels[i] for i in shown.tolist()],
            "onsets": _rounded(result.onsets),
            "scores": _rounded(result.scores[:, shown]),
        }

    return await _analysed(request, analyse, TimelineQuery, ScoresQuery)


async def events(request: Request) -> Response:
    """Events by onset."""
    server = _server(request)

    def analyse(analysis: _Analysis, windows: TimelineQuery, rules: EventSettings) -> dict[str, Any]:
        result = analysis.timeline(windows)
        found = result.events(settings=rules)
        server.measures.events.inc(len(found))
        return {
            "name": analysis.recording.name,
            "model": analysis.model,
            "duration": _rounded(result.duration),
            "window": result.window,
            "hop": result.hop,
            "events": [event_values(event) for event in found],
        }

    return await _analysed(request, analyse, TimelineQuery, EventSettings)


async def evidence(request: Request) -> Response:
    """How far each segment raises the logit of a label."""

    def analyse(analysis: _Analysis, query: EvidenceQuery) -> dict[str, Any]:
        analysis.tagger.labels.index(query.label)  # refuse an unknown label before the work
        result = analysis.tagger.evidence(analysis.encoded(), query.label)
        return {
            "name": analysis.recording.name,
            "model": analysis.model,
            "label": result.label,
            "score": _rounded(result.score),
            "onsets": _rounded(result.onsets),
            "offsets": _rounded(result.offsets),
            "weights": _rounded(result.weights),
            "attention": None if result.attention is None else _rounded(result.attention),
        }

    return await _analysed(request, analyse, EvidenceQuery)


async def embed(request: Request) -> Response:
    """The pooled clip, the input of the classifier."""

    def analyse(analysis: _Analysis) -> dict[str, Any]:
        encoded = analysis.encoded()
        return {
            "name": analysis.recording.name,
            "model": analysis.model,
            "duration": _rounded(encoded.duration),
            "embedding": _rounded(analysis.tagger.embed(encoded)),
        }

    return await _analysed(request, analyse)


async def export(request: Request) -> Response:
    """Events as a file of annotations."""
    (query,) = read(request.query_params, ExportQuery)
    use = partial(exported, name=query.format)
    body, name, kind = await parsed(request, _server(request).parsing, use)
    return Response(body, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


async def models(request: Request) -> Response:
    """The models that the server has."""
    server = _server(request)
    settings = server.settings
    described = [
        {
            "name": name,
            "labels": list(tagger.labels.names),
            "ids": list(tagger.labels.ids),
            "sample_rate": tagger.sample_rate,
            "seconds_per_segment": tagger.seconds_per_segment,
            "thresholds": None if tagger.thresholds is None else list(tagger.thresholds),
        }
        for name, tagger in server.taggers.items()
    ]
    limits: dict[str, Any] = {"max_size": settings.max_size, "max_duration": settings.max_duration}
    value = {"models": described, "limits": limits, "formats": list(FORMATS)}
    return Response(_json(value), media_type="application/json")


async def hold(request: Request) -> Response:
    """State of a recording that the server holds from now on."""
    server = _server(request)
    read(request.query_params, Source)
    recording = await _received(request, server)
    try:
        server.work.start(recording.show)
        server.shelf.hold(recording)
    except BaseException:
        recording.remove()
        raise
    return Response(_json(_state(recording)), 201, media_type="application/json")


async def state(request: Request) -> Response:
    """Progress of a held recording, and how to draw it."""
    return Response(_json(_state(_held(request))), media_type="application/json")


async def drop(request: Request) -> Response:
    """Removes a held recording."""
    _server(request).shelf.drop(request.path_params["id"])
    return Response(status_code=204)


async def audio(request: Request) -> Response:
    """A held recording as WAV."""
    recording = _held(request)
    if recording.error:
        raise HTTPException(recording.error_status, recording.error)
    pyramid = recording.pyramid
    if pyramid is None:
        raise HTTPException(409, "the recording is not decoded yet; ask for its state until it is ready or failed")
    return FileResponse(pyramid.sound, media_type="audio/wav", headers={"Cache-Control": "private, max-age=3600"})


async def tile(request: Request) -> Response:
    """A piece of the spectrogram of a held recording."""
    pyramid = _held(request).pyramid
    level, index = request.path_params["level"], request.path_params["index"]
    is_number = all(re.fullmatch("[0-9]{1,9}", text) for text in (level, index))
    data = None if pyramid is None or not is_number else pyramid.tile(int(level), int(index))
    if data is None:
        raise HTTPException(404, "no such tile")
    return Response(data, media_type="application/octet-stream", headers={"Cache-Control": "private, max-age=3600"})


async def health(request: Request) -> Response:
    """Whether the server answers."""
    return Response(_json({"status": "ok"}), media_type="application/json")


async def metrics(request: Request) -> Response:
    """Measures for Prometheus."""
    return Response(_server(request).measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def event_values(event: Event) -> dict[str, Any]:
    """The values of an event in JSON."""
    return {
        "label": event.label,
        "onset": _rounded(event.onset),
        "offset": _rounded(event.offset),
        "score": _rounded(event.score),
    }


def _server(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


def _held(request: Request) -> Recording:
    return _server(request).shelf.held(request.path_params["id"])


def _state(recording: Recording) -> dict[str, Any]:
    pyramid = recording.pyramid
    return {
        "id": recording.id,
        "name": recording.name,
        "state": "failed" if recording.error else "ready" if pyramid else "decoding",
        "error": recording.error,
        "seconds": recording.seconds,
        "duration": None if pyramid is None else _rounded(pyramid.duration),
        "spectrogram": None if pyramid is None else pyramid.description(),
    }


async def _received(request: Request, server: Server) -> Recording:
    """The recording in the body; parameters in the body are added to those of the address."""
    recording = server.shelf.new()
    try:
        recording.name, parameters = await save(request, recording.path, server.parsing)
        request.state.parameters = parameters
        await asyncio.to_thread(server.shelf.keep, recording)
        return recording
    except BaseException:
        recording.remove()
        raise


@asynccontextmanager
async def _source(request: Request, server: Server, recording_id: str | None) -> AsyncIterator[Recording]:
    """The held recording, or the one in the body, which is removed after the block."""
    if recording_id is not None:
        yield server.shelf.held(recording_id)
        return
    recording = await _received(request, server)
    try:
        yield recording
    finally:
        recording.remove()


async def _analysed(request: Request, analyse: Callable[..., Any], *kinds: type[Any]) -> Response:
    """The answer with the result of `analyse` as JSON; it gets the recording and the parameters of these kinds."""
    server = _server(request)
    read(request.query_params, Source, *kinds)  # refuse invalid parameters before the body
    asked = request.query_params.get("recording")
    server.tagger(request.query_params.get("model"))
    async with _source(request, server, asked) as recording:
        source, *queries = read(_with_body(request), Source, *kinds)
        model, tagger = server.tagger(source.model)

        def task(stop: threading.Event) -> bytes:
            stoppable = Tagger(_Stoppable(tagger.engine, lambda: recording.check_goes_on(stop)))
            result = analyse(_Analysis(recording, model, stoppable, stop), *queries)
            return _json(result)

        return Response(await server.work.run(request, task), media_type="application/json")


def _with_body(request: Request) -> QueryParams:
    """The parameters of the address and of a JSON body; `function_to_apply` may only be sigmoid."""
    more = dict(getattr(request.state, "parameters", {}))
    applied = more.pop("function_to_apply", None)
    if applied not in (None, "sigmoid"):
        raise ConfigError("sigmoid was expected: a recording may have several sounds", "function_to_apply")
    if any(not isinstance(value, str | int | float) for value in more.values()):
        raise ConfigError("texts and numbers were expected", "parameters")
    return QueryParams([*request.query_params.multi_items(), *((name, str(more[name])) for name in more)])


def _rounded(values: Any) -> Any:
    """Numbers for JSON, rounded to six decimals."""
    return np.round(np.asarray(values, np.float64), 6).tolist()


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
