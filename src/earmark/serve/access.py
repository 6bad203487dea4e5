"""Access: the token, the names of this machine, and the pages that may call."""

import re
import secrets
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from earmark.errors import ConfigError

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PROTECTED: Final = re.compile(r"/(api|metrics)(/|$)")
_BY_ID: Final = re.compile(r"/api/recordings/[^/]+/audio")
"""A player cannot send the token. Whoever knows the random id of a recording may listen to it."""


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that listens at this address."""
    return host.strip("[]") in _LOCAL


def check_open(host: str, token: str | None, insecure: bool) -> None:
    """Checks the token, and that a server without one serves this machine alone or is marked as insecure.

    Raises:
        ConfigError: A header cannot hold the token, or other machines could use the server.
    """
    # a header has no other characters, and loses blanks at its ends
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise ConfigError("a word of ASCII letters, digits and punctuation, without blanks, was expected", "token")
    if not (is_local(host) or token or insecure):
        raise ConfigError(
            f"other machines could use a server at {host} without a token; give --token, or --insecure if the network "
            "is trusted",
            "host",
        )


class Access:
    """Middleware that refuses requests without the token (401) and from pages of other sites (403).

    Without a token, a server for this machine alone also refuses requests whose header `Host` names another machine:
    a site could give its own name the address 127.0.0.1 (DNS rebinding).

    Args:
        app: The application.
        token: The token; None for none.
        local: Whether the server listens to this machine alone.
        origins: Sites whose pages may call, such as `https://example.org`.
    """

    def __init__(self, app: ASGIApp, token: str | None, local: bool, origins: Collection[str]) -> None:
        self._app, self._token, self._local, self._origins = app, token, local, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, text = refusal
        more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        await JSONResponse({"error": text}, status, {**more, "Connection": "close"})(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._local and self._token is None and _host_name(host) not in _LOCAL:
            return 403, "a request to localhost was expected; to use another name, start the server with --token"
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host and origin not in self._origins:
            return 403, "pages of other sites may not call this server; its --cors names those that may"
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and not self._may_call(scope["path"], headers):
            return 401, "the token was expected in the header `Authorization: Bearer TOKEN`"
        # a page cannot set headers of a WebSocket; its first message has the token
        if scope["type"] == "websocket" and "authorization" in headers and not is_token(self._token, _bearer(headers)):
            return 401, "the token is wrong"
        return None

    def _may_call(self, path: str, headers: Headers) -> bool:
        if not _PROTECTED.match(path):
            return True
        if "authorization" not in headers and _BY_ID.fullmatch(path):
            return True
        return is_token(self._token, _bearer(headers))


def is_token(token: str | None, given: object) -> bool:
    """Whether `given` is the token, or none is needed."""
    if token is None:
        return True
    return isinstance(given, str) and secrets.compare_digest(given.encode(), token.encode())


def _bearer(headers: Headers) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
