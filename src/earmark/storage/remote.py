"""Files wherever they are: local paths, and URLs of all that fsspec or Arrow knows. The only door to fsspec."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from earmark.errors import DataError, EarmarkError
from earmark.storage.files import atomic_write, walk

# one letter before a colon is a drive of Windows
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_GONE: Final = (404, 410)
"""What HTTP says of what is not there."""
_GLOB: Final = re.compile(r"[*?\[]")

_P = ParamSpec("_P")
_T = TypeVar("_T")


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
    if not is_url(folder):
        return str(Path(folder, name))
    is_root = len(folder.rstrip("/")) < len(_scheme(folder))
    return f"{folder if is_root else folder.rstrip('/') + '/'}{name.lstrip('/')}"


def _scheme(url: str) -> str:
    match = _URL.match(url)
    return "" if match is None else match.group()


def _above(url: str) -> str:
    """The folder of a URL; that of a file system's root is the root."""
    end = url.rindex("/")
    return url[:end] if end > len(_scheme(url)) else url[: max(end + 1, len(_scheme(url)))]


def _reaching(method: Callable[Concatenate["Place", _P], _T]) -> Callable[Concatenate["Place", _P], _T]:
    """Has what a far file system raises be an OSError; they raise what they like."""

    @wraps(method)
    def told(self: "Place", /, *args: _P.args, **options: _P.kwargs) -> _T:
        try:
            return method(self, *args, **options)
        except (EarmarkError, OSError):
            raise
        except Exception as error:
            raise OSError(" ".join(str(error).split()) or type(error).__name__) from error

    return told


@dataclass(frozen=True)
class Place:
    """A file or a folder, there or not.

    Raises:
        DataError: Where its file system is needed: there is none of that name, or its library is missing.
        OSError: The file system cannot be reached, or refuses.
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
        return _above(self.url) if is_url(self.url) else str(Path(self.path).parent)

    @property
    def absolute(self) -> "Place":
        """The same, wherever a process may stand."""
        return self if is_url(self.url) else Place(self.path)

    @_reaching
    def size(self) -> int:
        """Bytes of this file; 0 where nobody says."""
        return int(self._system.info(self.path).get("size") or 0)

    @property
    @_reaching
    def has_wildcards(self) -> bool:
        """Whether it names several files at once."""
        return _GLOB.search(self.url) is not None and not self._system.exists(self.path)

    @_reaching
    def is_file(self) -> bool:
        """Whether there is such a file."""
        if self.is_local:
            return os.path.isfile(self.path)  # noqa: PTH113
        try:  # their own `isfile` takes what cannot be reached for what is not there
            return bool(self._system.info(self.path)["type"] == "file")
        except (FileNotFoundError, NotADirectoryError) as error:
            cause = error.__cause__
            if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in _GONE:
                return False
            raise OSError(" ".join(str(cause).split())) from error

    @_reaching
    def is_folder(self) -> bool:
        """Whether there is such a folder; object stores have none that is empty."""
        return bool(self._system.isdir(self.path))

    def child(self, name: str) -> "Place":
        """A file in this folder."""
        return Place(joined(self.url, name))

    @_reaching
    def names(self) -> set[str]:
        """What is in this folder; nothing where there is none."""
        try:
            entries = self._system.ls(self.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {str(entry).rstrip("/").rpartition("/")[2] for entry in entries} - {""}

    @_reaching
    def files(self) -> dict[str, int]:
        """The files of this folder and its sub-folders, or those that the wildcards fit, sorted, with their bytes.

        Hidden ones are passed over, links on local disks are followed. Their names are relative to the folder, or to
        the folder before the first wildcard.
        """
        if self.is_local:
            found = dict(self._local_files())
        else:
            system = self._system
            listed = (system.glob if self.has_wildcards else system.find)(self.path, detail=True)
            root = self._plain(self.root.path).rstrip("/") + "/"
            of_files = {path: info for path, info in listed.items() if info["type"] == "file"}
            found = {self._plain(path).removeprefix(root): int(i.get("size") or 0) for path, i in of_files.items()}
        visible = (name for name in found if not any(word.startswith(".") for word in name.split("/")))
        return {name: found[name] for name in sorted(visible)}

    def _local_files(self) -> Iterator[tuple[str, int]]:
        root = self.root.path
        if self.has_wildcards:
            paths = (path for path in self._fitting(root) if not os.path.isdir(path))  # noqa: PTH112
        else:
            paths = (file.path for _, files in walk(root) for file in files)
        for path in paths:
            is_there = os.path.exists(path)  # noqa: PTH110 (a link that leads nowhere is told when it is read)
            name = path.removeprefix(root).lstrip(os.sep).replace(os.sep, "/")
            yield name, os.path.getsize(path) if is_there else 0  # noqa: PTH202

    def _fitting(self, root: str) -> Iterator[str]:
        """Local paths that the wildcards fit."""
        from fsspec.utils import glob_translate

        words = self.path.replace(os.sep, "/").split("/")
        if "**" not in words:
            yield from glob(self.path)  # noqa: PTH207
            return
        # links are followed at any depth, which only `walk` does without going round in circles
        pattern = "/".join(word if word == "**" else re.sub(r"\*{2,}", "*", word) for word in words)
        fits = re.compile(glob_translate(pattern)).match
        yield from (file.path for _, files in walk(root) for file in files if fits(file.path.replace(os.sep, "/")))

    @property
    def root(self) -> "Place":
        """The folder that the names of `files` are relative to."""
        wildcard = _GLOB.search(self.url) if self.has_wildcards else None
        if wildcard is None:
            return self
        before = self.url[: wildcard.start()]
        return Place(_above(before) if is_url(before) else os.path.dirname(before) or ".")  # noqa: PTH120

    @_reaching
    def read(self, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of this file from `start` to before `stop`, all of them when not given, at one request."""
        data: bytes = self._system.cat_file(self.path, start=start, end=stop)
        return data

    @_reaching
    def open(self, ahead: bool = True) -> Any:
        """This file as a stream of bytes, to be read in any order.

        Args:
            ahead: Fetch megabytes more than what is asked for, which suits who goes through it from end to end.
        """
        return self._system.open(self.path, "rb", **({} if ahead else {"cache_type": "none"}))

    @_reaching
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
            self._fetch(copy)
            yield copy

    @_reaching
    def _fetch(self, copy: Path) -> None:
        self._system.get_file(self.path, str(copy))

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
