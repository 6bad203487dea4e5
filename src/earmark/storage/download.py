"""Published files that are fetched once, checked, and kept in the user's cache folder."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from earmark.errors import CheckpointError
from earmark.storage.files import atomic_write

FOLDER_VARIABLE: Final = "EARMARK_CACHE"
"""Environment variable that names the cache folder."""
_TIMEOUT: Final = 30.0
"""Seconds without an answer, or without more of it."""
_PIECE: Final = 1 << 18
_SCHEME: Final = "https"


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes and never changes."""

    url: str
    """https; what is behind it may lie behind others, of https too."""
    file: str
    """Its name in the cache folder."""
    n_bytes: int
    md5: str
    """As its publisher states it; with the number of bytes and https that is enough to know the file by."""


def cache_folder() -> Path:
    """Where fetched files are kept: `EARMARK_CACHE`, or a folder of ours where the system keeps such things."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "earmark"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "earmark"
    if sys.platform == "win32" and (chosen := os.environ.get("LOCALAPPDATA")):
        return Path(chosen) / "earmark" / "Cache"
    return Path.home() / ".cache" / "earmark"


def fetch(published: Published) -> Path:
    """The file in the cache folder, fetched if it is not there; its checksum is that of the publisher in any case.

    A bar on standard error shows how far it is, where a person sees it.

    Raises:
        CheckpointError: It can't be fetched or kept, or what is there or came is not the file.
    """
    path = cache_folder() / published.file
    by_hand = f"get it by other means and save it as {path}, or give the path of your copy as the model"
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, _md5).hexdigest() == published.md5:
                return path
        raise CheckpointError(
            f"{path}: not the published file (MD5 {published.md5} was expected); remove it, and it is fetched anew"
        )
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as sink:
            digest = _download(published, sink)
            if digest != published.md5:
                raise CheckpointError(
                    f"{published.url}: MD5 {published.md5} was expected, {digest} came; try again, or {by_hand}"
                )
    except _Failed as error:
        raise CheckpointError(f"{published.url} cannot be fetched ({error}); {by_hand}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path} cannot be written ({reason}); {FOLDER_VARIABLE} names another folder") from error
    return path


class _Failed(Exception):
    """What ended a download, in a few words."""


class _HttpsOnly(HTTPRedirectHandler):
    """Follows redirections to https alone."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.startswith(f"{_SCHEME}://"):
            raise _Failed(f"it leads on to {newurl}, which is not {_SCHEME}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _opener() -> OpenerDirector:
    return build_opener(_HttpsOnly())


def _download(published: Published, sink: IO[bytes]) -> str:
    """Writes what is behind the URL, at most as long as the file, and returns its MD5."""
    if not published.url.startswith(f"{_SCHEME}://"):
        raise _Failed(f"not {_SCHEME}")
    digest, n_left = _md5(), published.n_bytes
    with _answer(published.url) as answer, _bar(published) as advance:
        while piece := _read(answer, min(_PIECE, n_left + 1)):
            n_left -= len(piece)
            if n_left < 0:
                raise _Failed(f"more than its {published.n_bytes} bytes came")
            digest.update(piece)
            sink.write(piece)
            advance(len(piece))
    if n_left:
        raise _Failed(f"it ended {n_left} bytes early")
    return str(digest.hexdigest())


@contextmanager
def _answer(url: str) -> Iterator[HTTPResponse]:
    # some servers turn away what does not say who it is
    request = Request(url, headers={"User-Agent": "earmark"})
    try:
        answer: HTTPResponse = _opener().open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        raise _Failed(f"{error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _Failed(_brief(error)) from error
    with answer:
        yield answer


def _read(answer: HTTPResponse, n_bytes: int) -> bytes:
    try:
        return answer.read(n_bytes)
    except (OSError, HTTPException) as error:
        raise _Failed(_brief(error)) from error


def _brief(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = (getattr(reason, "strerror", None) or str(reason)).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def _bar(published: Published) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(f"fetching {published.file}", total=published.n_bytes)
        yield lambda n_bytes: bar.advance(task, n_bytes)
