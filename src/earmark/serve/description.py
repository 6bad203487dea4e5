"""The OpenAPI description of the interface, made from the table of its operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from starlette.routing import Route

from earmark.inference.events import EventSettings
from earmark.serve import routes
from earmark.serve.exports import BODY, ExportQuery
from earmark.serve.queries import (
    EvidenceQuery,
    ScoresQuery,
    Source,
    TagQuery,
    TimelineQuery,
    describe,
)

_NUMBER: Final = {"type": "number"}
_TEXT: Final = {"type": "string"}
_NUMBERS: Final = {"type": "array", "items": _NUMBER}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_BINARY: Final = {"type": "string", "format": "binary"}
_RECORDING: Final = {
    "description": "The recording, in any audio format.",
    "content": {
        "application/octet-stream": {"schema": _BINARY},
        "audio/*": {"schema": _BINARY},
        "multipart/form-data": {"schema": _object(file=_BINARY)},
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "inputs": {"type": "string", "contentEncoding": "base64"},
                    "parameters": {"type": "object"},
                },
            }
        },
    },
}
_NAMED: Final = {"name": _TEXT, "model": _TEXT}
_EVENT: Final = _object(label=_TEXT, onset=_NUMBER, offset=_NUMBER, score=_NUMBER)
_STATE: Final = _object(
    id=_TEXT,
    name=_TEXT,
    state={"type": "string", "enum": ["decoding", "ready", "failed"]},
    error=_or_null(_TEXT),
    seconds=_object(decoded=_NUMBER, encoded=_NUMBER),
    duration=_or_null(_NUMBER),
    spectrogram=_or_null({"type": "object"}),
)
_MODEL: Final = _object(
    name=_TEXT,
    labels=_list(_TEXT),
    ids=_list(_TEXT),
    sample_rate={"type": "integer"},
    seconds_per_segment=_NUMBER,
    thresholds=_or_null(_NUMBERS),
)


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    summary: str
    function: Any
    result: Mapping[str, Any] | str | None
    """JSON schema of the answer, or its media type, or None for an empty one."""
    parameters: Sequence[type[Any]] = ()
    body: Mapping[str, Any] | None = None
    """Description of the request's body; None where there is none."""
    status: int = 200


OPERATIONS: Final = (
    Operation(
        "POST",
        "/api/tag",
        "Tags of a recording by falling score, in Hugging Face's audio-classification schema.",
        routes.tag,
        _list(_object(label=_TEXT, score=_NUMBER)),
        (Source, TagQuery),
        _RECORDING,
    ),
    Operation(
        "POST",
        "/api/timeline",
        "Scores over time.",
        routes.timeline,
        _object(
            **_NAMED,
            duration=_NUMBER,
            window=_NUMBER,
            hop=_NUMBER,
            labels=_list(_TEXT),
            onsets=_NUMBERS,
            scores=_list(_NUMBERS),
        ),
        (Source, TimelineQuery, ScoresQuery),
        _RECORDING,
    ),
    Operation(
        "POST",
        "/api/events",
        "Events with onset and offset in seconds.",
        routes.events,
        _object(**_NAMED, duration=_NUMBER, window=_NUMBER, hop=_NUMBER, events=_list(_EVENT)),
        (Source, TimelineQuery, EventSettings),
        _RECORDING,
    ),
    Operation(
        "POST",
        "/api/evidence",
        "How far each segment raises the logit of a label (Shapley value), and the attention of each head.",
        routes.evidence,
        _object(
            **_NAMED,
            label=_TEXT,
            score=_NUMBER,
            onsets=_NUMBERS,
            offsets=_NUMBERS,
            weights=_NUMBERS,
            attention=_or_null(_list(_NUMBERS)),
        ),
        (Source, EvidenceQuery),
        _RECORDING,
    ),
    Operation(
        "POST",
        "/api/embed",
        "Embedding of a recording: the pooled clip, the input of the classifier.",
        routes.embed,
        _object(**_NAMED, duration=_NUMBER, embedding=_NUMBERS),
        (Source,),
        _RECORDING,
    ),
    Operation(
        "POST",
        "/api/export",
        "Events, such as corrected ones, as a file in a format of annotations.",
        routes.export,
        "application/octet-stream",
        (ExportQuery,),
        BODY,
    ),
    Operation(
        "GET",
        "/api/models",
        "The models of this server, and its limits.",
        routes.models,
        _object(models=_list(_MODEL), limits=_object(max_size=_NUMBER, max_duration=_NUMBER), formats=_list(_TEXT)),
    ),
    Operation(
        "POST",
        "/api/recordings",
        "Hold a recording for a while, so that requests can name it by its id.",
        routes.hold,
        _STATE,
        (Source,),
        _RECORDING,
        201,
    ),
    Operation("GET", "/api/recordings/{id}", "State of a held recording.", routes.state, _STATE),
    Operation("DELETE", "/api/recordings/{id}", "Remove a held recording.", routes.drop, None, status=204),
    Operation("GET", "/api/recordings/{id}/audio", "A held recording as WAV.", routes.audio, "audio/wav"),
    Operation(
        "GET",
        "/api/recordings/{id}/spectrogram/{level}/{index}",
        "A tile of the spectrogram: a byte for each mel bin of each column.",
        routes.tile,
        "application/octet-stream",
    ),
    Operation("GET", "/healthz", "Whether the server answers.", routes.health, _object(status=_TEXT)),
    Operation("GET", "/metrics", "Metrics for Prometheus.", routes.metrics, "text/plain"),
)
"""All operations but the WebSocket `/api/stream`, which OpenAPI does not cover."""


def http_routes() -> list[Route]:
    """A route for each operation."""
    return [Route(entry.path, entry.function, methods=[entry.method]) for entry in OPERATIONS]


def openapi() -> dict[str, Any]:
    """The description in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for entry in OPERATIONS:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "earmark",
            "version": version("earmark"),
            "description": "Tags, events and evidence of recordings. Live sound: the WebSocket /api/stream.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _object(error=_TEXT)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(entry: Operation) -> dict[str, Any]:
    parameters = [parameter for kind in entry.parameters for parameter in describe(kind)]
    for name in ("id", "level", "index"):
        if f"{{{name}}}" in entry.path:
            schema = _TEXT if name == "id" else {"type": "integer"}
            parameters.append({"name": name, "in": "path", "required": True, "schema": schema})
    result: dict[str, Any] = {"description": "The result."}
    if isinstance(entry.result, str):
        result["content"] = {entry.result: {}}
    elif entry.result is not None:
        result["content"] = {"application/json": {"schema": entry.result}}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    described: dict[str, Any] = {
        "operationId": entry.function.__name__,
        "summary": entry.summary,
        "parameters": parameters,
        "responses": {str(entry.status): result, "default": {"description": "One line.", "content": error}},
    }
    if entry.body is not None:
        described["requestBody"] = entry.body
    return described
