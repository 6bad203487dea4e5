"""Commands and webhooks about events."""

import json
import socket
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from earmark.errors import ConfigError
from earmark.listening import alerts
from earmark.listening.alerts import Alerts, command, webhook
from earmark.listening.listener import Message

PATIENCE = 600.0
EVENT = Message("event", 12.5, 14.0, "$(touch x); dog", 0.75)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with other work may need long to deliver the last alerts."""
    monkeypatch.setattr(alerts, "_SECONDS_TO_END", PATIENCE)
    monkeypatch.setattr(alerts, "_WEBHOOK_SECONDS", PATIENCE)


keys: list[str | None] = []
"""The header Authorization of each request."""


@contextmanager
def receiver(status: int = 204) -> Iterator[tuple[str, list[tuple[str, object]]]]:
    """A web server, and what was posted to it."""
    received: list[tuple[str, object]] = []
    keys.clear()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.headers["Content-Type"], json.loads(body)))
            keys.append(self.headers["Authorization"])
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?key=secret", received
    finally:
        server.shutdown()
        server.server_close()


def test_a_command_gets_the_event_as_arguments_and_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = "import sys; open('said', 'w').write('|'.join(sys.argv[1:]))"
    with closing(Alerts("exec", command(f'{sys.executable} -c "{program}" a "b c"'), pytest.fail)) as sent:
        sent.offer(EVENT)
    assert (tmp_path / "said").read_text() == "a|b c|$(touch x); dog|12.5|14.0|0.75||"
    assert not (tmp_path / "x").exists()


def test_a_webhook_gets_the_event_as_json() -> None:
    with receiver() as (url, received), closing(Alerts("webhook", webhook(url), pytest.fail)) as sent:
        sent.offer(EVENT)
    assert received == [("application/json", EVENT.to_json())]


def test_a_user_and_a_password_in_the_address_are_a_header() -> None:
    with receiver() as (url, received):
        with closing(Alerts("webhook", webhook(url.replace("://", "://me:s%40fe@")), pytest.fail)) as sent:
            sent.offer(EVENT)
        assert (len(received), keys) == (1, [f"Basic {b64encode(b'me:s@fe').decode()}"])


def test_a_redirection_that_would_lose_the_event_is_a_failure() -> None:
    lines: list[str] = []
    with receiver(301) as (url, _), closing(Alerts("webhook", webhook(url), lines.append)) as sent:
        sent.offer(EVENT)
    assert lines == ["webhook: an alert failed (HTTP status 301); later ones are tried"]


def test_alerts_that_the_end_cuts_off_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "_SECONDS_TO_END", 0.01)
    go, lines = threading.Event(), []
    with closing(Alerts("slow", lambda message: go.wait(), lines.append)) as sent:
        sent.offer(EVENT)
    go.set()
    assert lines == ["slow: some alerts were not sent before the end"]


def test_failures_are_reported_once_without_secrets_and_later_alerts_are_tried() -> None:
    lines: list[str] = []
    with receiver(500) as (url, received), closing(Alerts("webhook", webhook(url), lines.append)) as sent:
        for _ in range(3):
            sent.offer(EVENT)
    assert len(received) == 3
    assert lines == ["webhook: an alert failed (HTTP status 500); later ones are tried"]
    lines.clear()
    with closing(Alerts("exec", command("/nowhere/program"), lines.append)) as sent:
        sent.offer(EVENT)
    assert lines == ["exec: an alert failed (No such file or directory); later ones are tried"]


def test_a_malformed_reply_is_a_failure_like_others() -> None:
    lines: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/hook"

        def answer() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"this is no HTTP\r\n\r\n")

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        with closing(Alerts("webhook", webhook(url), lines.append)) as sent:
            sent.offer(EVENT)
            sent.offer(EVENT)
        answering.join(PATIENCE)
        assert not answering.is_alive(), "the second alert was never sent"
    assert lines == ["webhook: an alert failed (BadStatusLine); later ones are tried"]


def test_too_many_alerts_are_dropped_with_a_note_and_nothing_waits() -> None:
    go, taken, delivered, lines = threading.Event(), threading.Event(), [], []

    def deliver(message: Message) -> None:
        taken.set()
        go.wait()
        delivered.append(message)

    with closing(Alerts("slow", deliver, lines.append)) as sent:
        sent.offer(EVENT)
        assert taken.wait(PATIENCE)
        for _ in range(alerts._QUEUED + 50):
            sent.offer(EVENT)
        assert lines == ["slow: 100 alerts wait already; new ones are dropped"]
        go.set()
    assert len(delivered) == 101


@pytest.mark.parametrize("words", ["", "say 'no"])
def test_invalid_commands_are_refused(words: str) -> None:
    with pytest.raises(ConfigError, match=r"exec: a command was expected"):
        command(words)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "example.org/hook", "http://", "http://[::1", "http://u:pa/ss@host"]
)
def test_invalid_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"webhook: .*http://") as error:
        webhook(url)
    assert "pa" not in str(error.value)
