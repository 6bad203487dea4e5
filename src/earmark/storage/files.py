"""Atomic writing of files, listing of folders, and names and texts in other encodings."""

import codecs
import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TEMPORARY: Final = re.compile(r"\..{1,40}-[0-9a-f]{12}(\.[^.]*)?")


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """A temporary path with the suffix of `path`; it is renamed to `path` when the block succeeds.

    Parent folders are created. If the block raises (Ctrl-C included), `path` is unchanged and the temporary file is
    removed. After a power cut, `path` is the old or the new file. A symbolic link stays and its target is written. A
    pipe or a device is never replaced: it receives the bytes when the block succeeds.

    Raises:
        OSError: The file cannot be written; the error names `path`, not the temporary file.
    """
    path = Path(path)
    if path.is_dir():  # fail before the work, not after it
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    is_special = path.exists() and (not path.is_file() or is_stream(path))
    with (_append_to_special if is_special else _replace_regular)(path) as temporary:
        yield temporary


@contextmanager
def _replace_regular(path: Path) -> Iterator[Path]:
    # replacing a link would leave its target as it was
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(6)}{target.suffix}")
    try:
        _make_folder(target.parent)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        # some writers replace it by a private file; a result has the permissions of any new file
        temporary.chmod(mode)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a power cut may leave an empty file after the rename
        temporary.replace(target)
    except OSError as error:
        # the error of a full disk has no file name, and users do not know the temporary file
        is_full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_full or error.filename == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        # lexists does not raise, so it cannot hide the first error
        if os.path.lexists(temporary):
            temporary.unlink()


@contextmanager
def _append_to_special(path: Path) -> Iterator[Path]:
    # some writers rename their own file over the given path, which would replace a device
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        temporary = Path(folder, f"out{path.suffix}")
        temporary.touch()
        yield temporary
        # append: /dev/stdout may be redirected to a log file
        with temporary.open("rb") as source, os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as sink:
            shutil.copyfileobj(source, sink)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_text(name: str) -> str:
    """The name, or a text with names in it, with escapes for undecodable bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def text_encoding(start: bytes) -> str:
    """The encoding of a text file that starts with these bytes: UTF-16 if they say so (PowerShell, Excel), else UTF-8.

    >>> text_encoding("a.wav".encode("utf-16")), text_encoding(b"a.wav")
    ('utf-16', 'utf-8-sig')
    """
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def in_either_form(path: Path) -> Path:
    """The path, or the existing one that has its names in another Unicode form: macOS and Linux write them differently.

    Names are compared in the forms NFC and NFD. If no such path exists, the result is `path`.
    """
    if str(path).isascii() or os.path.exists(path):  # noqa: PTH110 (never raises)
        return path
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        there = next((found / form for form in forms if os.path.exists(found / form)), None)  # noqa: PTH110
        if there is None:
            return path
        found = there
    return found


@contextmanager
def utf8_name(path: Path | str) -> Iterator[str]:
    """The path, or a link to it with a name in UTF-8, for libraries that open no other names."""
    name = os.fspath(path)
    if name == as_text(name):
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        link = Path(folder, f"file{as_text(Path(path).suffix)}")
        link.symlink_to(Path(path).absolute())
        yield str(link)


def is_stream(path: Path) -> bool:
    """Whether the path names an open stream, for example /dev/stdout."""
    return path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of `atomic_write` in a folder: left by a killed process, or being written."""
    return [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]


def walk(
    folder: Path | str, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """The folder and its sub-folders, each with its files; hidden ones are skipped.

    Links are followed and each folder is visited once. A dangling link counts as a file.

    Args:
        folder: The folder.
        onerror: Called with the error of each folder that cannot be read, which is then skipped.

    Raises:
        OSError: A folder cannot be read, without `onerror`.
    """
    visited: set[str] = set()
    pending = [str(folder)]
    while pending:
        current = pending.pop()
        real = os.path.realpath(current)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(current) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if onerror is None:
                raise
            onerror(error)
            continue
        folders = {entry.path for entry in visible if _is_folder(entry)}
        yield current, [entry for entry in visible if entry.path not in folders]
        pending += sorted(folders, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
