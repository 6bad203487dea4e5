"""Local paths, and URLs of every file system that fsspec or Arrow supports. Only this module imports fsspec."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from earmark.errors import DataError, EarmarkError
from earmark.storage.files import atomic_write, in_either_form, walk

# two letters at least: C: is a Windows drive
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COLLAPSED: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)//?([^/].*)", re.DOTALL)
_HTTP_MISSING: Final = (404, 410)
_GLOB: Final = re.compile(r"[*?\[]")


def is_url(text: str) -> bool:
    """Whether the text is a URL, not a local path."""
    return _URL.match(text) is not None


def url_of(path: str | os.PathLike[str]) -> str | None:
    """The URL that a path was made of; None if it is a path. A `Path` keeps one slash of two.

    >>> url_of(Path("https://host/a.wav")), url_of("a.wav"), url_of("C:/a.wav")
    ('https://host/a.wav', None, None)
    """
    text = os.fspath(path)
    found = _COLLAPSED.match(text)
    return None if found is None or os.path.exists(text) else f"{found[1]}//{found[2]}"  # noqa: PTH110


def join_path(folder: str, name: str) -> str:
    """The path or URL of a name relative to a folder; an absolute name stays as it is.

    >>> join_path("s3://bucket/a/", "b.wav"), join_path("/a", "/b.wav"), join_path("/a", "https://host/b.wav")
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


def _parent_url(url: str) -> str:
    """The folder of a URL; the parent of a root is the root."""
    end = url.rindex("/")
    return url[:end] if end > len(_scheme(url)) else url[: max(end + 1, len(_scheme(url)))]


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turns every exception of a remote file system into an OSError; each library raises its own."""
    try:
        yield
    except (EarmarkError, OSError):
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split()) or type(error).__name__) from error


@dataclass(frozen=True)
class RemotePath:
    """The path or URL of a file or a folder, which may not exist.

    Raises:
        DataError: On first use of the file system: its scheme is unknown, or its library is not installed.
        OSError: The file system cannot be reached or refuses access.
    """

    url: str
    """A local path or a URL."""

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return not is_url(self.url) or self.url.startswith(("file://", "local://"))

    @property
    def path(self) -> str:
        """The path within the file system; absolute for local files."""
        return self._system_and_path[1]

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path or URL of the parent folder; absolute for local files."""
        return _parent_url(self.url) if is_url(self.url) else str(Path(self.path).parent)

    @property
    def absolute(self) -> "RemotePath":
        """The same path, independent of the working directory."""
        return self if is_url(self.url) else RemotePath(self.path)

    @_os_errors()
    def size(self) -> int:
        """Size in bytes; 0 if the file system does not state it."""
        return int(self._system.info(self.path).get("size") or 0)

    @property
    @_os_errors()
    def has_wildcards(self) -> bool:
        """Whether the path is a pattern with `*`, `?` or `[`; the path of an existing file is not a pattern."""
        return _GLOB.search(self.url) is not None and not self._system.exists(self.path)

    @_os_errors()
    def is_file(self) -> bool:
        """Whether the file exists."""
        if self.is_local:
            return os.path.isfile(self.path)  # noqa: PTH113
        try:  # fsspec's own isfile answers False if the file system cannot be reached
            return bool(self._system.info(self.path)["type"] == "file")
        except (FileNotFoundError, NotADirectoryError) as error:
            cause = error.__cause__
            if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in _HTTP_MISSING:
                return False
            raise OSError(" ".join(str(cause).split())) from error

    @_os_errors()
    def is_folder(self) -> bool:
        """Whether the folder exists; object stores have no empty folders."""
        return bool(self._system.isdir(self.path))

    def child(self, name: str) -> "RemotePath":
        """A file in this folder."""
        return RemotePath(join_path(self.url, name))

    @_os_errors()
    def names(self) -> set[str]:
        """Names of the files and folders in this folder; empty if there is no such folder."""
        try:
            entries = self._system.ls(self.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {str(entry).rstrip("/").rpartition("/")[2] for entry in entries} - {""}

    @_os_errors()
    def files(self, onerror: Callable[[OSError], object] | None = None) -> dict[str, int]:
        """Sizes in bytes by name, sorted: all files below this folder, or those that match the wildcards.

        Names are relative to `root`. Hidden files are skipped; links on local disks are followed.

        Args:
            onerror: Called with the error of each local folder that cannot be read, which is then skipped.
        """
        if self.is_local:
            found = dict(self._local_files(onerror))
        else:
            system = self._system
            listed = (system.glob if self.has_wildcards else system.find)(self.path, detail=True)
            root = self._strip_protocol(self.root.path).rstrip("/") + "/"
            found = {
                self._strip_protocol(path).removeprefix(root): int(info.get("size") or 0)
                for path, info in listed.items()
                if info["type"] == "file"
            }
        visible = (name for name in found if not any(part.startswith(".") for part in name.split("/")))
        return {name: found[name] for name in sorted(visible)}

    def _local_files(self, onerror: Callable[[OSError], object] | None) -> Iterator[tuple[str, int]]:
        root = self.root.path
        if not os.path.isdir(root):  # noqa: PTH112
            return
        if self.has_wildcards:
            paths = (path for path in self._local_matches(root, onerror) if not os.path.isdir(path))  # noqa: PTH112
        else:
            paths = (file.path for _, files in walk(root, onerror) for file in files)
        for path in paths:
            exists = os.path.exists(path)  # noqa: PTH110 (a dangling link fails when it is read)
            name = path.removeprefix(root).lstrip(os.sep).replace(os.sep, "/")
            yield name, os.path.getsize(path) if exists else 0  # noqa: PTH202

    def _local_matches(self, root: str, onerror: Callable[[OSError], object] | None) -> Iterator[str]:
        """Local paths that match the wildcards."""
        from fsspec.utils import glob_translate

        parts = self.path.replace(os.sep, "/").split("/")
        if "**" not in parts:
            yield from glob(self.path)  # noqa: PTH207
            return
        # `walk` follows links at any depth and stops at circles; glob does not
        pattern = "/".join(part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in parts)
        matches = re.compile(glob_translate(pattern)).match
        paths = (file.path for _, files in walk(root, onerror) for file in files)
        yield from (path for path in paths if matches(path.replace(os.sep, "/")))

    @property
    def root(self) -> "RemotePath":
        """The folder to which the names of `files` are relative: this one, or the one before the first wildcard."""
        wildcard = _GLOB.search(self.url) if self.has_wildcards else None
        if wildcard is None:
            return self
        before = self.url[: wildcard.start()]
        return RemotePath(_parent_url(before) if is_url(before) else os.path.dirname(before) or ".")  # noqa: PTH120

    @_os_errors()
    def read(self, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes from `start` to before `stop`, all by default, in one request."""
        return self._system.cat_file(self.path, start=start, end=stop)

    @_os_errors()
    def open(self, read_ahead: bool = True) -> Any:
        """A seekable binary stream of this file; reading ahead by megabytes is faster from start to end."""
        return self._system.open(self.path, "rb", **({} if read_ahead else {"cache_type": "none"}))

    @_os_errors()
    def write(self, data: bytes) -> None:
        """Writes the file atomically: locally by renaming, in object stores because an upload appears when complete."""
        if self.is_local:
            with atomic_write(self.path) as temporary:
                temporary.write_bytes(data)
            return
        self._system.makedirs(self._system._parent(self.path), exist_ok=True)
        self._system.pipe_file(self.path, data)

    @contextmanager
    def local_file(self) -> Iterator[Path]:
        """A local path of this file: its own, or a temporary copy with the same suffix."""
        if self.is_local:
            yield in_either_form(Path(self.path))
            return
        with TemporaryDirectory(prefix="earmark-") as folder:
            suffix = Path(self.url.partition("?")[0].rpartition("/")[2]).suffix
            copy = Path(folder, f"recording{suffix}")
            with _os_errors():
                self._system.get_file(self.path, str(copy))
            yield copy

    @property
    def _system(self) -> Any:
        return self._system_and_path[0]

    @cached_property
    def _system_and_path(self) -> tuple[Any, str]:
        import fsspec

        if not is_url(self.url):  # fsspec would parse some names as URLs, for example a::b
            return fsspec.filesystem("file"), os.path.normpath(Path(self.url).absolute())
        try:
            return fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            return self._arrow_system_and_path(error)
        except ValueError as error:
            raise DataError(f"{self.url}: expected a path or a URL that can be read: {error}") from error

    def _arrow_system_and_path(self, error: ImportError) -> tuple[Any, str]:
        # Arrow has the large clouds built in
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self.url)
        except ValueError:
            raise DataError(f"{self.url}: cannot be reached: {error}") from error
        return ArrowFSWrapper(system), path

    def _strip_protocol(self, path: str) -> str:
        return str(self._system._strip_protocol(path))
