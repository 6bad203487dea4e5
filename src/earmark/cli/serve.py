"""`earmark serve`: a page and an HTTP interface."""

import os
import socket
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import uvicorn
from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.audio.time_limit import set_time_limit
from earmark.cli import screen
from earmark.cli.flags import DecodeTimeout, Device, Engine, Model, Overlap, Quiet
from earmark.errors import ConfigError, EarmarkWarning
from earmark.parallel.interrupts import sigterm_as_interrupt
from earmark.parallel.processors import n_processors
from earmark.serve.access import check_open, is_local
from earmark.serve.application import application
from earmark.serve.settings import ServeSettings

_DEFAULTS: Final = ServeSettings()
_LARGEST_MESSAGE: Final = 1 << 20
"""Bytes of a WebSocket message."""
_SECONDS_TO_STOP: Final = 5


def serve(
    *,
    model: Annotated[Sequence[Model] | None, Parameter(negative="")] = None,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: Annotated[str | None, Parameter(env_var="EARMARK_TOKEN", show_env_var=True)] = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    keep: Path | None = None,
    cors: Annotated[Sequence[str] | None, Parameter(negative="")] = None,
    settings: Annotated[ServeSettings, Parameter(name="*")] = _DEFAULTS,
    decode_timeout: DecodeTimeout = None,
    quiet: Quiet = False,
) -> None:
    """Open a page and an HTTP interface.

    Args:
        model: A model; may be repeated, and requests then choose by name. By default earmark-esc50.
        host: Address to listen at; 0.0.0.0 for all addresses of this machine.
        port: Port to listen at; 0 for a free one.
        token: Word that requests must send as `Authorization: Bearer TOKEN`; the page asks for it.
        insecure: Let other machines use the server without a token.
        keep: Keep a copy of every upload in this folder.
        cors: Site whose pages may call the interface, such as https://example.org; may be repeated.
    """
    with screen.usage_errors():
        check_open(host, token, insecure)
    if keep is not None:
        _check_keep(keep)
    set_time_limit(decode_timeout)
    n_threads = max(1, n_processors() // (settings.jobs or n_processors()))
    taggers = {}
    for name_or_path in model or [hub.DEFAULT_MODEL]:
        name = _name(str(name_or_path))
        if name in taggers:
            raise CycloptsError(f"--model {name_or_path}: another model is named {name}; rename the file")
        with screen.usage_errors():
            taggers[name] = hub.load(name_or_path, n_threads, engine=engine, overlap=overlap, device=device)
    warnings.simplefilter("ignore", EarmarkWarning)  # notes about the recordings of others
    app = application(taggers, settings, token=token, local=is_local(host), keep=keep, origins=cors or ())
    with _listening(host, port) as listener:
        address = f"http://{_shown(host)}:{listener.getsockname()[1]}"
        screen.note(f"{', '.join(taggers)} at {address} (Ctrl-C stops)", quiet)
        _run(app, listener, settings)


def _name(name_or_path: str) -> str:
    """The name of a model in the interface: that of its file without suffix, for a path says where files lie."""
    path = Path(name_or_path)
    return path.stem if path.is_file() else name_or_path


def _check_keep(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"{folder}: a folder to write to was expected ({error.strerror or error})"
        raise ConfigError(text, "keep") from error


def _shown(host: str) -> str:
    if is_local(host):
        return "localhost"
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # clients may connect as soon as the address is printed
    except (OSError, OverflowError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"cannot listen at {host}:{port}: {text}; choose another --port", "port") from error
    return listener


def _run(app: Any, listener: socket.socket, settings: ServeSettings) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        limit_concurrency=settings.connections,
        ws="websockets-sansio",
        ws_max_size=_LARGEST_MESSAGE,
        ws_per_message_deflate=False,  # a short message could unpack to the largest, hundreds of them at a time
        timeout_graceful_shutdown=_SECONDS_TO_STOP,
        server_header=False,
    )
    # Ctrl-C and SIGTERM end a server without failure
    try:
        with sigterm_as_interrupt():
            uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return
