"""Uploads: the body of a request, in one of three forms, is written to a private file."""

import asyncio
import base64
import binascii
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, TypeVar

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from earmark.errors import AudioError
from earmark.serve.settings import ServeSettings

_Result = TypeVar("_Result")
MB: Final = 1_000_000
_SLOWEST: Final = 10_000
"""Bytes per second that an upload must reach on average."""
_LARGEST_JSON: Final = 16 * MB
"""Maximum bytes of a JSON body; its values fill up to some 30 times as much memory."""
_LARGEST_PARAMETERS: Final = 4000
"""Maximum characters of the parameters beside a recording, as JSON."""
_IN_MEMORY: Final = 1 << 16
"""Bytes up to which a JSON body stays in memory while it arrives; a larger one is on disk."""
_LONGEST_NAME: Final = 120


class LimitedBodies:
    """Middleware that refuses bodies which are too large (413) or too slow (408).

    Args:
        app: The application.
        settings: `max_size` and `upload_timeout`.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit, patience = self._settings.max_size * MB, self._settings.upload_timeout
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        clock = asyncio.get_running_loop().time
        begin, n_received, is_whole = clock(), 0, False

        async def limited() -> Message:
            nonlocal n_received, is_whole
            if is_whole:
                return await receive()
            if int(announced) > limit:
                raise _refusal(413, f"an upload of up to {limit / MB:g} MB was expected, not {int(announced) / MB:g}")
            try:
                # slow clients must also keep up on average, or a byte at a time would last forever
                latest = begin + patience + n_received / _SLOWEST
                async with asyncio.timeout_at(min(clock() + patience, max(latest, clock() + 0.001))):
                    message = await receive()
            except TimeoutError as error:
                text = f"the upload was too slow: {n_received} bytes in {clock() - begin:.0f} s"
                raise _refusal(408, text) from error
            n_received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if n_received > limit:
                raise _refusal(413, f"an upload of up to {limit / MB:g} MB was expected")
            return message

        await self._app(scope, limited, send)


def _refusal(status: int, text: str) -> HTTPException:
    # the rest of the body is not read
    return HTTPException(status, text, {"Connection": "close"})


async def save(request: Request, path: Path, parsing: asyncio.Lock) -> tuple[str, dict[str, Any]]:
    """Writes the recording in a body to a new file; returns the name that the client gives it, and its parameters.

    The body is the recording itself, a multipart form with one file, or JSON as Hugging Face's clients send it:
    `{"inputs": BASE64, "parameters": {...}}`.

    Args:
        request: The request.
        path: The new file.
        parsing: As for `parsed`.

    Raises:
        HTTPException: The body is none of these, empty, too large or too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    name, parameters = request.query_params.get("name", ""), {}
    if kind == "multipart/form-data":
        name = await _save_form(request, path) or name
    elif kind == "application/json":
        parameters = await parsed(request, parsing, partial(_save_json, path))
    else:
        with path.open("xb") as file:
            async for piece in request.stream():
                file.write(piece)
    if path.stat().st_size == 0:
        raise HTTPException(400, "a recording was expected as the body or in a multipart form, got 0 bytes")
    return label(name), parameters


async def _save_form(request: Request, path: Path) -> str:
    async with request.form(max_files=1, max_fields=8) as form:
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None:
            raise HTTPException(400, "a form with a file was expected, got one without")
        with path.open("xb") as copy:
            await asyncio.to_thread(shutil.copyfileobj, file.file, copy)
        return file.filename or ""


def _save_json(path: Path, value: Any) -> dict[str, Any]:
    inputs, parameters = (value.get("inputs"), value.get("parameters")) if isinstance(value, dict) else (None, None)
    if not isinstance(inputs, str) or not isinstance(parameters, dict | None):
        raise HTTPException(400, 'JSON of the form {"inputs": BASE64, "parameters": {...}} was expected')
    if len(json.dumps(parameters)) > _LARGEST_PARAMETERS:
        raise HTTPException(400, f"parameters: JSON of up to {_LARGEST_PARAMETERS} characters was expected")
    try:
        path.write_bytes(base64.b64decode(inputs, validate=True))
    except (binascii.Error, ValueError) as error:
        raise HTTPException(400, f"inputs: base64 was expected ({error})") from error
    return parameters or {}


async def parsed(request: Request, parsing: asyncio.Lock, use: Callable[[Any], _Result]) -> _Result:
    """The result of `use` for the value of a JSON body; a thread parses the body and calls `use`.

    Args:
        request: The request.
        parsing: Lock of the server, so that one value at a time is in memory.
        use: Function of the value; its result must not hold the value.

    Raises:
        HTTPException: The body is no JSON, or too large.
    """
    with SpooledTemporaryFile(_IN_MEMORY) as body:
        n_bytes = 0
        async for piece in request.stream():
            n_bytes += len(piece)
            if n_bytes > _LARGEST_JSON:
                raise _refusal(413, f"JSON of up to {_LARGEST_JSON // MB} MB was expected; send the bytes as the body")
            body.write(piece)
        body.seek(0)
        async with parsing:
            return await asyncio.to_thread(_used, body, use)


def _used(body: IO[bytes], use: Callable[[Any], _Result]) -> _Result:
    try:
        value = json.load(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"JSON was expected as the body ({error})") from error
    return use(value)


def label(name: str) -> str:
    r"""The last part of a file name from a client, without control characters; for people, never a path.

    >>> label("..\\..\\etc/passwd"), label("")
    ('passwd', 'recording')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(c for c in last if c.isprintable()).strip()[:_LONGEST_NAME]
    return shown if shown.strip(".") else "recording"


@contextmanager
def named(path: Path, name: str) -> Iterator[None]:
    """Context in which errors about the file give the client's name for it instead of the path."""
    try:
        yield
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), name)) from error
