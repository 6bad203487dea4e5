"""Downloads of published files: fetched once, checked by checksum and kept in the user's cache folder."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from earmark.errors import CheckpointError
from earmark.storage.files import atomic_write

CACHE_VARIABLE: Final = "EARMARK_CACHE"
"""Environment variable that names the cache folder."""
_TIMEOUT: Final = 30.0
"""Seconds to wait for a connection or for more data."""
_CHUNK_BYTES: Final = 1 << 18
_SCHEME: Final = "https"


@dataclass(frozen=True)
class PublishedFile:
    """A file that its publisher never changes."""

    url: str
    """An https URL; redirections to other https URLs are followed."""
    name: str
    """File name in the cache folder."""
    n_bytes: int
    md5: str
    """The publisher's checksum."""


def cache_folder() -> Path:
    """The folder of downloads: `EARMARK_CACHE` if set, else a folder in the system's place for caches."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "earmark"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "earmark"
    if sys.platform == "win32" and (chosen := os.environ.get("LOCALAPPDATA")):
        return Path(chosen) / "earmark" / "Cache"
    return Path.home() / ".cache" / "earmark"


def fetch(published: PublishedFile) -> Path:
    """The path of the file in the cache folder; downloads the file if it is not there.

    The checksum is verified in both cases. On a terminal, standard error shows a progress bar.

    Raises:
        CheckpointError: The download fails, the file cannot be written, or its checksum is wrong.
    """
    path = cache_folder() / published.name
    by_hand = f"download it by other means and save it as {path}, or give the path of your copy as the model"
    if path.is_file():
        if _md5(path) != published.md5:
            raise CheckpointError(
                f"{path}: not the published file (expected MD5 {published.md5}); remove it to download it again"
            )
        return path
    try:
        with atomic_write(path) as temporary:
            with temporary.open("wb") as sink, _progress_bar(published) as advance:
                for chunk in _download(published):
                    sink.write(chunk)
                    advance(len(chunk))
            if (digest := _md5(temporary)) != published.md5:
                raise CheckpointError(
                    f"{published.url}: expected MD5 {published.md5}, got {digest}; try again, or {by_hand}"
                )
    except _DownloadError as error:
        raise CheckpointError(f"{published.url} cannot be downloaded ({error}); {by_hand}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"{path} cannot be written ({reason}); set {CACHE_VARIABLE} to use another folder"
        ) from error
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


class _DownloadError(Exception):
    """The reason why a download failed, in a few words."""


class _HttpsOnly(HTTPRedirectHandler):
    """Follows redirections to https only."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.startswith(f"{_SCHEME}://"):
            raise _DownloadError(f"it redirects to {newurl}, which is not {_SCHEME}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(published: PublishedFile) -> Iterator[bytes]:
    """Yields the response in chunks, which end after `n_bytes`."""
    if not published.url.startswith(f"{_SCHEME}://"):
        raise _DownloadError(f"not {_SCHEME}")
    # some servers refuse requests without a User-Agent
    request, n_left = Request(published.url, headers={"User-Agent": "earmark"}), published.n_bytes
    try:
        with build_opener(_HttpsOnly()).open(request, timeout=_TIMEOUT) as response:
            while chunk := response.read(min(_CHUNK_BYTES, n_left + 1)):
                n_left -= len(chunk)
                if n_left < 0:
                    raise _DownloadError(f"it is longer than the expected {published.n_bytes} bytes")
                yield chunk
    except HTTPError as error:
        error.close()
        raise _DownloadError(f"{error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _DownloadError(_first_line(error)) from error
    if n_left:
        raise _DownloadError(f"it ended {n_left} bytes early")


def _first_line(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = (getattr(reason, "strerror", None) or str(reason)).strip()
    return text.splitlines()[0] if text else type(error).__name__


@contextmanager
def _progress_bar(published: PublishedFile) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        task = bar.add_task(f"downloading {published.name}", total=published.n_bytes)
        yield lambda n_bytes: bar.advance(task, n_bytes)
