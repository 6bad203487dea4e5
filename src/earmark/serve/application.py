"""The application: paths, limits, errors in one line, and the page."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from earmark.errors import ConfigError, DataError, EarmarkError
from earmark.inference.tagger import Tagger
from earmark.parallel.processors import n_processors
from earmark.serve.access import Access
from earmark.serve.description import http_routes, openapi
from earmark.serve.live import Streams
from earmark.serve.measures import Measured, Measures
from earmark.serve.recordings import Shelf
from earmark.serve.routes import Server
from earmark.serve.settings import ServeSettings
from earmark.serve.uploads import LimitedBodies
from earmark.serve.work import Work

PAGE: Final = Path(__file__).with_name("page")
_TIDY_SECONDS: Final = 20.0
_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
        b"object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of every answer; they let the page load nothing from elsewhere."""


def application(
    taggers: Mapping[str, Tagger],
    settings: ServeSettings,
    *,
    token: str | None = None,
    local: bool = True,
    keep: Path | None = None,
    origins: Collection[str] = (),
) -> Starlette:
    """The ASGI application.

    Args:
        taggers: Models by name; the first is the default.
        settings: Limits.
        token: The token that requests must have; None for none.
        local: Whether the server listens to this machine alone.
        keep: Folder that receives a copy of every upload; None for none.
        origins: Sites whose pages may call.
    """
    measures = Measures()
    shelf = Shelf(settings.max_duration, settings.hold, settings.max_held, measures.audio.inc, keep)
    work = Work(settings.jobs or n_processors(), settings.queue, settings.time_limit)
    server = Server(taggers, settings, work, shelf, measures)
    streams = Streams(server, token)
    measures.watch("running", "Requests being computed.", lambda: work.n_running)
    measures.watch("waiting", "Requests that wait.", lambda: work.n_waiting)
    measures.watch("held_recordings", "Held recordings.", lambda: len(shelf))
    measures.watch("streams", "Open live streams.", lambda: streams.n_open)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tidying = asyncio.create_task(_tidy(shelf))
        try:
            yield
        finally:
            tidying.cancel()
            streams.close()
            work.close()
            shelf.close()

    app = Starlette(
        routes=_routes(streams),
        middleware=[
            Middleware(Measured, measures),
            Middleware(_Headers),
            *([_cors(origins)] if origins else []),
            Middleware(Access, token, local, origins),
            Middleware(LimitedBodies, settings),
        ],
        exception_handlers={
            HTTPException: _http_error,
            EarmarkError: _error,
            ClientDisconnect: _gone,
            Exception: _fault,
        },
        lifespan=lifespan,
    )
    app.state.server = server
    return app


def _routes(streams: Streams) -> list[BaseRoute]:
    described = json.dumps(openapi()).encode()
    return [
        *http_routes(),
        Route("/api/openapi.json", lambda _: Response(described, media_type="application/json")),
        WebSocketRoute("/api/stream", streams.serve),
        Mount("/api", _unknown),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]


def _cors(origins: Collection[str]) -> Middleware:
    return Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"])


async def _tidy(shelf: Shelf) -> None:
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        with suppress(OSError):
            await asyncio.to_thread(shelf.tidy)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    whole = {**scope, "root_path": ""}
    if any(route.matches(whole)[0] is Match.PARTIAL for route in http_routes()):
        raise HTTPException(405, f"{scope['method']} is no method of this path; /api/openapi.json lists its methods")
    raise HTTPException(404, "no such path; /api/openapi.json lists all paths")


def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _error(_: Request, error: Exception) -> Response:
    # an unreadable recording is no fault of the request's form
    status = 400 if isinstance(error, ConfigError | DataError) else 422
    return JSONResponse({"error": " ".join(str(error).split())}, status)


def _gone(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; measures count it


def _fault(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says why"}, 500)


class _Headers:
    """Middleware that adds `_HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self._app(scope, receive, adding if scope["type"] == "http" else send)
