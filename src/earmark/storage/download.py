"""Downloads of published files: fetched once, resumed, checked and kept in the user's cache folder."""

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Final
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from earmark.errors import CheckpointError
from earmark.storage.cache_folder import CACHE_VARIABLE, PublishedFile, cached_path
from earmark.storage.files import atomic_write
from earmark.storage.locks import lock_file

_TIMEOUT: Final = 30.0
"""Seconds to wait for a connection or for more data."""
_CHUNK_BYTES: Final = 1 << 18
_WAIT: Final = 0.2
"""Seconds between two looks at a download of another process."""
_SCHEME: Final = "https"


def fetch(published: PublishedFile) -> Path:
    """The path of the file in the cache folder; downloads the file if it is not there.

    An interrupted download continues where it stopped. The checksum is verified in both cases; where none is published,
    that of the first download is kept beside the file. On a terminal, standard error shows a progress bar.

    Raises:
        CheckpointError: The download fails, the file cannot be written, or its checksum is wrong.
    """
    path = cached_path(published)
    try:
        while not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = _beside(path, ".part")
            with part.open("ab") as sink:
                # one process downloads; the others find its file, or continue where it stopped
                if not lock_file(sink):
                    time.sleep(_WAIT)
                elif _is_there(sink, part):
                    try:
                        _fill(sink, part, published)
                        part.replace(path)
                    finally:
                        if not sink.tell() or not _is_there(sink, part):  # nothing to continue with
                            part.unlink(missing_ok=True)
                            _beside(part, ".etag").unlink(missing_ok=True)
        _check(path, published)
    except _DownloadError as error:
        by_hand = f"download it by other means and save it as {path}, or give the path of your copy as the model"
        raise CheckpointError(f"{published.url} {error}; {by_hand}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"{path} cannot be written ({reason}); set {CACHE_VARIABLE} to use another folder"
        ) from error
    return path


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _is_there(file: IO[bytes], path: Path) -> bool:
    """Whether an open file has still this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _check(path: Path, published: PublishedFile) -> None:
    """Compares the file with the published checksum, or with that of the first download, which is kept."""
    kept = _beside(path, ".sha256")
    if published.checksum is None and not kept.is_file():
        with atomic_write(kept) as temporary:
            temporary.write_text(f"{_digest(path, 'sha256')}\n")
        return
    expected = published.checksum or f"sha256:{kept.read_text().strip()}"
    method, _, digest = expected.partition(":")
    if _digest(path, method) != digest:
        origin = "published file" if published.checksum else "file of the first download"
        also = "" if published.checksum else f" and {kept.name}"
        raise CheckpointError(
            f"{path}: not the {origin} (expected {_shown(method)} {digest}); remove it{also} to download it again"
        )


def _fill(sink: IO[bytes], part: Path, published: PublishedFile) -> None:
    """Downloads what the partial file lacks, and verifies the whole."""
    with _progress_bar(published) as bar:
        for chunk in _download(sink, part, published, bar):
            sink.write(chunk)
    sink.flush()
    os.fsync(sink.fileno())
    method, _, expected = (published.checksum or "").partition(":")
    if expected and (digest := _digest(part, method)) != expected:
        part.unlink()
        raise _DownloadError(f"is damaged: expected {_shown(method)} {expected}, got {digest}; try again")


def _digest(path: Path, method: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(method, usedforsecurity=False)).hexdigest()


def _shown(method: str) -> str:
    return {"md5": "MD5", "sha256": "SHA-256"}[method]


class _DownloadError(Exception):
    """The fault of a URL, in a few words that follow it."""


def _failed(reason: str) -> _DownloadError:
    return _DownloadError(f"cannot be downloaded ({reason})")


class _HttpsOnly(HTTPRedirectHandler):
    """Follows redirections to https only."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if not newurl.startswith(f"{_SCHEME}://"):
            raise _failed(f"it redirects to {newurl}, which is not {_SCHEME}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _request(sink: IO[bytes], tag: Path, published: PublishedFile) -> Request:
    """The request for what the partial file lacks; the partial file is emptied if nothing could detect a mixture."""
    # some servers refuse requests without a User-Agent
    request = Request(published.url, headers={"User-Agent": "earmark"})
    etag = tag.read_text() if tag.is_file() else None
    if sink.tell() and (published.checksum or etag):
        request.add_header("Range", f"bytes={sink.tell()}-")
        if etag:
            request.add_header("If-Range", etag)
    else:
        sink.truncate(0)
    return request


def _download(sink: IO[bytes], part: Path, published: PublishedFile, bar: "_Bar") -> Iterator[bytes]:
    """Yields the bytes after those of the partial file, which is emptied where the server starts from the beginning."""
    if not published.url.startswith(f"{_SCHEME}://"):
        raise _failed(f"not {_SCHEME}")
    tag = _beside(part, ".etag")
    try:
        if published.n_bytes is not None and sink.tell() >= published.n_bytes:
            sink.truncate(0)  # whole and yet not accepted
        sink.seek(0, os.SEEK_END)
        with build_opener(_HttpsOnly()).open(_request(sink, tag, published), timeout=_TIMEOUT) as response:
            if response.status != 206:
                sink.truncate(0)
            if etag := response.headers.get("ETag"):
                tag.write_text(etag)
            n_before = sink.seek(0, os.SEEK_END)
            length = response.headers.get("Content-Length")
            total = published.n_bytes or (None if length is None else n_before + int(length))
            n_left = None if total is None else total - n_before
            bar.start(total, n_before)
            while chunk := response.read(_CHUNK_BYTES if n_left is None else min(_CHUNK_BYTES, n_left + 1)):
                n_left = None if n_left is None else n_left - len(chunk)
                if n_left is not None and n_left < 0:
                    part.unlink()
                    raise _failed(f"it is longer than the expected {total} bytes")
                bar.advance(len(chunk))
                yield chunk
    except HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after the partial file, which is therefore no part of this file
            sink.truncate(0)
        raise _failed(f"{error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _failed(_first_line(error)) from error
    if n_left:
        raise _failed(f"it ended {n_left} bytes early; the next try continues")


def _first_line(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = (getattr(reason, "strerror", None) or str(reason)).strip()
    return text.splitlines()[0] if text else type(error).__name__


class _Bar:
    """A progress bar on standard error, which only a terminal shows."""

    def __init__(self, bar: Any, name: str) -> None:
        self._bar, self._name = bar, name

    def start(self, total: int | None, n_before: int) -> None:
        """Shows the bar with what is there already."""
        self._task = self._bar.add_task(f"downloading {self._name}", total=total, completed=n_before)

    def advance(self, n_bytes: int) -> None:
        self._bar.advance(self._task, n_bytes)


@contextmanager
def _progress_bar(published: PublishedFile) -> Iterator[_Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        yield _Bar(bar, published.name)
