"""Metrics of the server for Prometheus."""

import re
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS: Final = re.compile(
    r"/(api/(?:tag|timeline|events|evidence|embed|export|models|recordings|stream)|healthz)(?=/|$)"
)
_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Measures:
    """Counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("earmark_requests", "Answered requests.", ["path", "status"], registry=self._registry)
        self.seconds = Histogram(
            "earmark_request_seconds", "Seconds to an answer.", ["path"], buckets=_BUCKETS, registry=self._registry
        )
        self.audio = Counter("earmark_audio_seconds", "Seconds of sound analysed.", registry=self._registry)
        self.events = Counter("earmark_events", "Events returned.", registry=self._registry)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge whose value is read for each answer to Prometheus."""
        Gauge(f"earmark_{name}", text, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class Measured:
    """Middleware that counts requests and measures their times.

    Args:
        app: The application.
        measures: The counters.
    """

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), "none"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # a metric for every path that a client makes up would fill the memory
            found = _PATHS.match(scope["path"])
            path = found[1] if found else "page"
            self._measures.requests.labels(path, status).inc()
            self._measures.seconds.labels(path).observe(time.perf_counter() - begin)
