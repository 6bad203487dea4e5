"""Alerts about events by commands and webhooks; each kind has a thread, so that the sound never waits for alerts."""

import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from queue import Full, Queue
from threading import Thread
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from earmark.errors import ConfigError
from earmark.listening.listener import Message

_QUEUED: Final = 100
"""Maximum alerts that wait."""
_WEBHOOK_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 60.0
_SECONDS_TO_END: Final = 10.0
"""Seconds left for the remaining alerts at the end."""


class Alerts:
    """Delivers messages in a thread; reports once when too many wait or deliveries fail, and again after a success.

    Args:
        name: The kind of alert, in lines about it.
        deliver: Delivers one message; any exception is a failure.
        report: Takes a line.
    """

    def __init__(self, name: str, deliver: Callable[[Message], object], report: Callable[[str], object]) -> None:
        self._name, self._deliver, self._report = name, deliver, report
        self._queue: Queue[Message | None] = Queue(_QUEUED)
        self._is_failing = self._is_full = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, message: Message) -> None:
        """Queues a message, or drops it when too many wait."""
        try:
            self._queue.put_nowait(message)
            self._is_full = False
        except Full:
            if not self._is_full:
                self._report(f"{self._name}: {_QUEUED} alerts wait already; new ones are dropped")
            self._is_full = True

    def close(self) -> None:
        """Ends the thread after the waiting messages, or after some seconds."""
        until = time.monotonic() + _SECONDS_TO_END
        with suppress(Full):
            self._queue.put(None, timeout=_SECONDS_TO_END)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._report(f"{self._name}: some alerts were not sent before the end")

    def _run(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                self._deliver(message)
                self._is_failing = False
            except Exception as error:  # also a malformed reply; the thread delivers later alerts
                if not self._is_failing:
                    self._report(f"{self._name}: an alert failed ({_reason(error)}); later ones are tried")
                self._is_failing = True


def _reason(error: Exception) -> str:
    """The reason in one line, without the address or the words of the command, which may hold secrets."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no end after {error.timeout:g} s"
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code}"
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__)


def webhook(url: str) -> Callable[[Message], object]:
    """A function that posts a message as JSON; a user and a password in the address become a header.

    Raises:
        ConfigError: The address is no http or https URL.
    """
    parts = _web_address(url)
    headers = {"Content-Type": "application/json"}
    user, at, host = parts.netloc.rpartition("@")
    if at:
        headers["Authorization"] = f"Basic {b64encode(unquote(user).encode()).decode()}"
    address = urlunsplit(parts._replace(netloc=host))
    opener = urllib.request.build_opener(_NoRedirects)

    def post(message: Message) -> None:
        body = json.dumps(message.to_json()).encode()
        request = urllib.request.Request(address, body, headers)
        with opener.open(request, timeout=_WEBHOOK_SECONDS):
            pass

    return post


def _web_address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # its text may hold a part of the password
    raise ConfigError("an address that begins with http:// or https:// was expected", "webhook")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirection a failure: the request that follows it would be a GET without the event."""

    def redirect_request(self, *_: object) -> None:
        return None


def command(words: str) -> Callable[[Message], object]:
    """A function that runs a command without a shell, with label, onset, offset, score, time and clip as arguments.

    Unknown values are empty arguments. The output of the command is discarded.

    Raises:
        ConfigError: The command is empty, or a quote in it is not closed.
    """
    try:
        split = shlex.split(words)
    except ValueError as error:
        raise ConfigError(f"a command was expected, not {words!r} ({error})", "exec") from error
    if not split:
        raise ConfigError("a command was expected, not an empty text", "exec")

    def run(message: Message) -> None:
        values = message.to_json()
        named = [str(values.get(name, "")) for name in ("label", "onset", "offset", "score", "time", "clip")]
        silent = subprocess.DEVNULL
        subprocess.run(
            [*split, *named], stdin=silent, stdout=silent, stderr=silent, timeout=_COMMAND_SECONDS, check=True
        )

    return run
