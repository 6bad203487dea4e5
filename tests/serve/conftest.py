"""Servers with a network of a few lines of NumPy."""

import socket
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.testclient import TestClient

from earmark.audio.recording import Audio, save_audio
from earmark.inference.tagger import Tagger
from earmark.serve.application import application
from earmark.serve.settings import ServeSettings

RATE = 1000


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory, levels: Callable[..., Audio]) -> bytes:
    """A WAV file: quiet, loud from 1.2 to 2.4 s, quiet again; `low` scores high where it is loud."""
    path = tmp_path_factory.mktemp("sound") / "sound.wav"
    save_audio(path, levels(0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0, 0), "FLOAT")
    return path.read_bytes()


@pytest.fixture
def open_client(mean_engine: type) -> Iterator[Callable[..., TestClient]]:
    """Opens clients of servers with these settings; `engine`, `token`, `keep`, `origins` and `local` as named."""
    opened: list[TestClient] = []

    def client(engine: Any = None, **options: Any) -> TestClient:
        more = {name: options.pop(name) for name in ("token", "keep", "origins", "local") if name in options}
        taggers = {"mean": Tagger(engine or mean_engine())}
        settings = ServeSettings(**{"jobs": 2, **options})
        opened.append(TestClient(application(taggers, settings, **more), base_url="http://localhost"))
        opened[-1].__enter__()
        return opened[-1]

    yield client
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(mean_engine: type) -> Iterator[TestClient]:
    """A client of a server with default settings, for the tests of a module."""
    app = application({"mean": Tagger(mean_engine())}, ServeSettings(jobs=2))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


@pytest.fixture
def serve(mean_engine: type) -> Iterator[Callable[..., Any]]:
    """Starts servers on real sockets; returns their address, as `host` and `port`."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(engine: Any = None, tagger: Tagger | None = None, **options: Any) -> Any:
        more = {name: options.pop(name) for name in ("token", "keep", "origins") if name in options}
        app = application({"mean": tagger or Tagger(engine or mean_engine())}, ServeSettings(**options), **more)
        listener = socket.create_server(("127.0.0.1", 0))
        # connections get this size too: a client that reads nothing blocks the server after less data
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        config = uvicorn.Config(
            app,
            log_config=None,
            ws="websockets-sansio",
            ws_max_size=1 << 20,
            ws_ping_interval=None,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        host, port = listener.getsockname()
        return SimpleNamespace(host=host, port=port, app=app, address=f"{host}:{port}")

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join()


@pytest.fixture
def tone() -> Callable[[float], np.ndarray]:
    """Makes samples in which loud and quiet parts take turns."""

    def made(seconds: float) -> np.ndarray:
        rng = np.random.default_rng(0)
        parts = np.repeat(rng.uniform(-0.6, 0.6, int(seconds / 0.7) + 1), round(0.7 * RATE))
        return parts[: round(seconds * RATE)].astype(np.float32)

    return made
