"""Files that are either whole or not there, and those that a folder holds."""

import errno
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TEMPORARY: Final = re.compile(r"\..{1,40}-[0-9a-f]{12}(\.[^.]*)?")


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix, that takes its name when the block ends well.

    Parent folders are made. When the block raises (Ctrl-C included) nothing of `path` has changed and the
    temporary file is gone. A power cut leaves the old file or the new one. A symbolic link stays one, and the file that
    it leads to is written. What is no regular file (a pipe, a device) is never replaced: it receives the bytes when the
    block ends well.

    Raises:
        OSError: The file cannot be written; it names `path`, not the temporary file.
    """
    path = Path(path)
    if path.is_dir():  # told before the work, not after
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    write = _through if path.exists() and (not path.is_file() or is_stream(path)) else _replaced
    with write(path) as temporary:
        yield temporary


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    # what a link leads to; a replaced link would leave that file as it was
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(6)}{target.suffix}")
    try:
        _make_folder(target.parent)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        # some writers put a private file in its place; a result is as readable as any file that its user makes
        temporary.chmod(mode)
        _to_disk(temporary)
        temporary.replace(target)
    except OSError as error:
        # a full disk is told without a name, and the temporary file is none that its user knows
        is_full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_full or error.filename == str(temporary):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        # whatever kept it from being made must not hide behind what keeps it from being looked for
        if os.path.lexists(temporary):
            temporary.unlink()


def _to_disk(path: Path) -> None:
    """Has the system write a file out: else a power cut may leave the name with nothing behind it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def leftovers(folder: Path) -> list[Path]:
    """What `atomic_write` was writing in a folder when its process was killed, or is writing there now."""
    return [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]


def walk(
    folder: Path | str, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """The folder and its sub-folders, each with its files; without what is hidden in them.

    Links are followed, each folder is visited once, no file is asked anything. A link that leads nowhere is a file.

    Args:
        folder: Where to begin.
        onerror: Is given what keeps a folder from being read; by default such a folder is passed over.
    """
    visited: set[str] = set()
    ahead = [str(folder)]
    while ahead:
        place = ahead.pop()
        real = os.path.realpath(place)
        if real in visited:  # a link that leads back up
            continue
        visited.add(real)
        try:
            with os.scandir(place) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        folders = {entry.path for entry in visible if _is_folder(entry)}
        yield place, [entry for entry in visible if entry.path not in folders]
        ahead += sorted(folders, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_stream(path: Path) -> bool:
    """Whether the path is a name of an open file, such as /dev/stdout, whatever file that is."""
    return path.absolute().parts[:2] in (("/", "dev"), ("/", "proc"))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error


@contextmanager
def _through(path: Path) -> Iterator[Path]:
    # some writers rename a file of their own over the one that they are given: they never get to see a device
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        temporary = Path(folder, f"out{path.suffix}")
        temporary.touch()
        yield temporary
        # at its end: /dev/stdout may be someone's log
        with temporary.open("rb") as source, os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as sink:
            shutil.copyfileobj(source, sink)
