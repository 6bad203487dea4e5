"""Live sound over a WebSocket: samples in, final events out, equal to those of the whole recording.

The client sends a JSON object with the settings first, then samples in binary messages of any size, and
`{"type": "finish"}` at the end. The server answers with JSON objects whose `type` is ready, event, scores (on request),
error or finished.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

import numpy as np
from starlette.datastructures import QueryParams
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from earmark.errors import EarmarkError, Limit, check_settings
from earmark.inference.events import EventSettings
from earmark.inference.stream import Stream
from earmark.inference.tagger import Tagger
from earmark.serve.access import is_token
from earmark.serve.queries import TimelineQuery, read
from earmark.serve.routes import Server, event_values

INVALID: Final = 1008
"""Close code for messages that are not as described."""
BUSY: Final = 1013
"""Close code when too many streams are open, or no samples arrive."""
FAULT: Final = 1011
"""Close code when the server fails."""
_LOG: Final = logging.getLogger(__name__)
_TYPES: Final = {"int16": "<i2", "float32": "<f4"}
_LONGEST_REASON: Final = 120
"""Bytes of a reason in a close frame."""
_SCORES_EVERY: Final = 0.2
"""Minimum seconds between messages with scores, however fast the samples arrive."""


@dataclass(frozen=True)
class StreamQuery:
    """Settings of a stream: its samples, model and messages."""

    sample_rate: Annotated[int, Limit(at_least=1000, at_most=384_000)]
    """Hz."""
    format: Literal["int16", "float32"] = "int16"
    """Little-endian samples: 16-bit integers, or floats of full scale 1."""
    n_channels: Annotated[int, Limit(at_least=1, at_most=16)] = 1
    """Channels, interleaved; their mean is analysed."""
    model: str | None = None
    """Name of a model; by default the first."""
    scores: Annotated[int, Limit(at_least=0)] = 0
    """Number of labels, the best ones, whose latest scores are sent; 0 sends no scores."""
    token: str | None = None
    """The token, which a page cannot send as a header."""

    def __post_init__(self) -> None:
        check_settings(self)


class _NoRoom(Exception):
    """Too many streams are open."""


class Streams:
    """The live streams of a server.

    Args:
        server: Models, settings and counters.
        token: The token; None for none.
    """

    def __init__(self, server: Server, token: str | None) -> None:
        self._server, self._token = server, token
        self._pool = ThreadPoolExecutor(server.settings.streams, "stream")
        self.n_open = 0
        """Number of open streams."""
        self._n_sockets = 0

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def serve(self, socket: WebSocket) -> None:
        """Serves one stream."""
        if self._n_sockets >= self._server.settings.connections:
            error = {"error": f"no more than {self._n_sockets} connections were expected; try again later"}
            await socket.send_denial_response(JSONResponse(error, 503))
            return
        self._n_sockets += 1
        try:
            await socket.accept()
            await self._serve(socket)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._refuse(socket, BUSY, f"no samples for {self._server.settings.stream_timeout:g} s")
        except _NoRoom as error:
            await self._refuse(socket, BUSY, str(error))
        except (EarmarkError, ValueError) as error:
            await self._refuse(socket, INVALID, " ".join(str(error).split()))
        except Exception:
            _LOG.exception("a stream cannot be analysed")
            await self._refuse(socket, FAULT, "the server failed; its log says why")
        finally:
            self._n_sockets -= 1

    async def _serve(self, socket: WebSocket) -> None:
        values = None
        if self._token is not None and "authorization" not in socket.headers:
            # before the token is known, a client takes no room for a stream
            values = await self._first(socket)
            if not is_token(self._token, values.get("token")):
                raise ValueError("the token is wrong or missing in the first message")
        if self.n_open >= self._server.settings.streams:
            raise _NoRoom(f"no more than {self.n_open} open streams were expected; try again later")
        self.n_open += 1
        try:
            await self._analyse(socket, await self._first(socket) if values is None else values)
        finally:
            self.n_open -= 1

    async def _analyse(self, socket: WebSocket, values: Mapping[str, Any]) -> None:
        query, stream, tagger = await self._begin(socket, values)
        frame = np.dtype(_TYPES[query.format]).itemsize * query.n_channels
        rest, sent_at, loop = b"", 0.0, asyncio.get_running_loop()
        while True:
            message = await self._receive(socket)
            if (data := message.get("bytes")) is None:
                _check_finish(message.get("text"))
                break
            data = rest + data
            whole = len(data) // frame * frame
            data, rest = data[:whole], data[whole:]
            events = await loop.run_in_executor(self._pool, stream.push, _samples(data, query))
            for event in events:
                await self._send(socket, {"type": "event", **event_values(event)})
            self._server.measures.events.inc(len(events))
            if query.scores and time.monotonic() - sent_at >= _SCORES_EVERY:
                sent_at = time.monotonic()
                await self._send(socket, _scores(stream, tagger, query.scores))
        for event in await loop.run_in_executor(self._pool, stream.finish):
            await self._send(socket, {"type": "event", **event_values(event)})
        self._server.measures.audio.inc(stream.duration)
        await self._send(socket, {"type": "finished", "duration": round(stream.duration, 6)})
        await socket.close()

    async def _first(self, socket: WebSocket) -> Mapping[str, Any]:
        """The settings in the first message.

        Raises:
            ValueError: The message is no JSON object.
        """
        values = _json_object((await self._receive(socket)).get("text"))
        if values is None:
            raise ValueError("a JSON object with the settings was expected first")
        return values

    async def _begin(self, socket: WebSocket, values: Mapping[str, Any]) -> tuple[StreamQuery, Stream, Tagger]:
        """Makes a stream with these settings; returns it with its parameters and the model.

        Raises:
            EarmarkError: A setting is invalid.
        """
        query, windows, rules = read(_as_parameters(values), StreamQuery, TimelineQuery, EventSettings)
        model, tagger = self._server.tagger(query.model)
        stream = tagger.stream(
            query.sample_rate,
            n_channels=query.n_channels,
            **asdict(windows),
            settings=rules,
        )
        await self._send(
            socket,
            {
                "type": "ready",
                "model": model,
                "labels": list(tagger.labels.names),
                "window": windows.window,
                "hop": windows.hop,
                "latency": round(stream.latency + rules.delay, 6),
            },
        )
        return query, stream, tagger

    async def _receive(self, socket: WebSocket) -> Mapping[str, Any]:
        async with asyncio.timeout(self._server.settings.stream_timeout):
            message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        return message

    async def _send(self, socket: WebSocket, value: Mapping[str, Any]) -> None:
        """Sends an object.

        Raises:
            WebSocketDisconnect: The client has left, or reads nothing.
        """
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        try:
            async with asyncio.timeout(self._server.settings.stream_timeout):
                await socket.send_text(text)
        except (RuntimeError, TimeoutError) as error:
            raise WebSocketDisconnect(1006) from error

    async def _refuse(self, socket: WebSocket, code: int, reason: str) -> None:
        # the client may have left already
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            await self._send(socket, {"type": "error", "error": reason})
            async with asyncio.timeout(self._server.settings.stream_timeout):
                await socket.close(code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))


def _as_parameters(values: Mapping[str, Any]) -> QueryParams:
    """The first message as parameters: a list repeats a parameter, an object becomes LABEL:SCORE."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += [(name, f"{key}:{score}") for key, score in value.items()]
        elif isinstance(value, list):
            pairs += [(name, str(entry)) for entry in value]
        elif value is not None:
            pairs.append((name, str(value)))
    return QueryParams(pairs)


def _json_object(text: str | None) -> dict[str, Any] | None:
    """The object in a message; None if the message is something else."""
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _check_finish(text: str | None) -> None:
    """Raises ValueError unless the message ends the stream."""
    if (_json_object(text) or {}).get("type") != "finish":
        raise ValueError('samples in a binary message, or {"type": "finish"}, were expected')


def _samples(data: bytes, query: StreamQuery) -> np.ndarray:
    samples = np.frombuffer(data, _TYPES[query.format]).astype(query.format, copy=False)
    return samples if query.n_channels == 1 else samples.reshape(-1, query.n_channels).T


def _scores(stream: Stream, tagger: Tagger, n: int) -> dict[str, Any]:
    scores = stream.scores
    best = [] if scores is None else np.argsort(-scores, kind="stable")[:n].tolist()
    return {
        "type": "scores",
        "duration": round(stream.duration, 6),
        "scores": [] if scores is None else [[tagger.labels.names[i], round(float(scores[i]), 6)] for i in best],
        "sounding": [event_values(event) for event in stream.sounding],
    }
