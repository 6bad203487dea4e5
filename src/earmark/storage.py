"""Files wherever they are: local paths, and URLs of all that fsspec or Arrow knows. The only door to fsspec."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from earmark.errors import DataError
from earmark.files import atomic_write

# one letter before a colon is a drive of Windows
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GLOB: Final = re.compile(r"[*?\[]")


def is_url(text: str) -> bool:
    """Whether that is a URL, not the path of a local file."""
    return _URL.match(text) is not None


def joined(folder: str, name: str) -> str:
    """The place of a name that is relative to a folder, unless it is a place by itself.

    >>> joined("s3://bucket/a/", "b.wav"), joined("/a", "/b.wav"), joined("/a", "https://host/b.wav")
    ('s3://bucket/a/b.wav', '/b.wav', 'https://host/b.wav')
    """
    if is_url(name):
        return name
    return f"{folder.rstrip('/')}/{name.lstrip('/')}" if is_url(folder) else str(Path(folder, name))


@dataclass(frozen=True)
class Place:
    """A file or a folder, there or not.

    Raises:
        DataError: Where its file system is needed: there is none of that name, or its library is missing.
    """

    url: str
    """A local path or a URL."""

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine."""
        return not is_url(self.url) or self.url.startswith(("file://", "local://"))

    @property
    def path(self) -> str:
        """The path by itself, within its file system; absolute where it is local."""
        return self._opened[1]

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The place of the folder that a file is in, absolute where it is local."""
        return self.url.rpartition("/")[0] if is_url(self.url) else str(Path(self.path).parent)

    @property
    def absolute(self) -> "Place":
        """The same, wherever a process may stand."""
        return self if is_url(self.url) else Place(self.path)

    def size(self) -> int:
        """Bytes of this file; 0 where nobody says."""
        return int(self._system.info(self.path).get("size") or 0)

    @property
    def has_wildcards(self) -> bool:
        """Whether it names several files at once."""
        return _GLOB.search(self.url) is not None and not self._system.exists(self.path)

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return bool(self._system.isfile(self.path))

    def is_folder(self) -> bool:
        """Whether there is such a folder; object stores have none that is empty."""
        return bool(self._system.isdir(self.path))

    def child(self, name: str) -> "Place":
        """A file in this folder."""
        return Place(joined(self.url, name))

    def names(self) -> set[str]:
        """What is in this folder; nothing where there is none."""
        try:
            entries = self._system.ls(self.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {str(entry).rstrip("/").rpartition("/")[2] for entry in entries} - {""}

    def files(self) -> dict[str, int]:
        """The files of this folder and its sub-folders, or those that the wildcards fit, sorted, with their bytes.

        Their names are relative to the folder, or to the folder before the first wildcard.
        """
        if self.has_wildcards:
            found = self._system.glob(self.path, detail=True)
        else:
            found = self._system.find(self.path, detail=True)
        root = self._plain(self.root.path).rstrip("/") + "/"
        sizes = {self._plain(path).removeprefix(root): info for path, info in found.items() if info["type"] == "file"}
        return {name: int(sizes[name].get("size") or 0) for name in sorted(sizes)}

    @property
    def root(self) -> "Place":
        """The folder that the names of `files` are relative to."""
        wildcard = _GLOB.search(self.url) if self.has_wildcards else None
        return self if wildcard is None else Place(self.url[: wildcard.start()].rpartition("/")[0] or ".")

    def read(self, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of this file from `start` to before `stop`, all of them when not given, at one request."""
        data: bytes = self._system.cat_file(self.path, start=start, end=stop)
        return data

    def open(self, ahead: bool = True) -> Any:
        """This file as a stream of bytes, to be read in any order.

        Args:
            ahead: Fetch megabytes more than what is asked for, which suits who goes through it from end to end.
        """
        return self._system.open(self.path, "rb", **({} if ahead else {"cache_type": "none"}))

    def write(self, data: bytes) -> None:
        """Makes this file hold the data: it is whole or not there.

        A local file gets its name when it is whole; an object store shows an object when all of it has come.
        """
        if self.is_local:
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(data)
            return
        self._system.makedirs(self._system._parent(self.path), exist_ok=True)
        self._system.pipe_file(self.path, data)

    @contextmanager
    def local_file(self) -> Iterator[Path]:
        """This file on a local disk: itself, or a copy with its suffix while the block runs."""
        if self.is_local:
            yield Path(self.path)
            return
        with TemporaryDirectory(prefix="earmark-") as folder:
            suffix = Path(self.url.partition("?")[0].rpartition("/")[2]).suffix
            copy = Path(folder, f"recording{suffix}")
            self._system.get_file(self.path, str(copy))
            yield copy

    @property
    def _system(self) -> Any:
        return self._opened[0]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        if not is_url(self.url):  # fsspec would read more than a path into some names, such as a::b
            return fsspec.filesystem("file"), os.path.normpath(Path(self.url).absolute())
        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            return self._by_arrow(error)
        except ValueError as error:
            raise DataError(f"{self.url}: a path or a URL was expected that can be read: {error}") from error
        return system, path

    def _by_arrow(self, error: ImportError) -> tuple[Any, str]:
        """The file system by Arrow, which has the large clouds built in."""
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self.url)
        except ValueError:
            raise DataError(f"{self.url}: cannot be reached: {error}") from error
        return ArrowFSWrapper(system), path

    def _plain(self, path: str) -> str:
        return str(self._system._strip_protocol(path))
