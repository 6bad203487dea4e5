"""The check of a finished pack: each file is read and compared with its checksum."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from earmark.data.packs import JOURNAL, MANIFEST
from earmark.errors import DataError
from earmark.packing.ledger import read_manifest
from earmark.packing.plan import Packed
from earmark.parallel.processors import n_processors
from earmark.storage.remote import RemotePath, is_url

STRANGE: Final = "not of this pack"
"""Reason given for a Parquet file in the folder that is not of the pack."""


@dataclass(frozen=True)
class Check:
    """Outcome of a check."""

    n_shards: int
    n_bytes: int
    """Size of all files by `pack.json`."""
    damaged: tuple[tuple[str, str], ...]
    """Names of damaged, missing and foreign files, each with the reason."""


def check(out: str, jobs: int | None = None, progress: Callable[[int, int], None] | None = None) -> Check:
    """Reads every file of a finished pack and compares it with its checksum.

    Args:
        out: The folder, a path or a URL.
        jobs: Number of files read at a time; one for each processor when None.
        progress: Called with the number of files read and of all files.

    Raises:
        DataError: There is no pack, or it is not finished.
    """
    folder = RemotePath(out)
    try:
        text = folder.child(MANIFEST).read()
    except OSError as error:
        reason = f"no readable {MANIFEST} ({error.strerror or error})"
        is_begun = not is_url(str(out)) and Path(out, JOURNAL).exists()
        remedy = "the command that packs continues it" if is_begun else "download or pack it again"
        raise DataError(f"{out}: not a finished pack, {reason}; {remedy}") from error
    shards = [Packed.from_json(shard) for shard in read_manifest(Path(out, MANIFEST), text)["shards"]]
    damaged = []
    with ThreadPoolExecutor(jobs or n_processors()) as readers:
        for n_done, (shard, why) in enumerate(
            zip(shards, readers.map(lambda one: _damage(folder, one), shards), strict=True), 1
        ):
            if why is not None:
                damaged.append((shard.file, why))
            if progress is not None:
                progress(n_done, len(shards))
    named = {shard.file for shard in shards}
    others = sorted(name for name in folder.names() if name.endswith(".parquet") and name[0] not in "._")
    damaged.extend((name, STRANGE) for name in others if name not in named)
    return Check(len(shards), sum(shard.n_bytes for shard in shards), tuple(damaged))


def _damage(folder: RemotePath, shard: Packed) -> str | None:
    file = folder.child(shard.file)
    try:
        with file.open() as stream:
            digest = file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except Exception as error:  # remote file systems raise exceptions of any class
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if digest == shard.sha256:
        return None
    n_bytes = file.size()
    return "other bytes" if n_bytes == shard.n_bytes else f"{n_bytes} bytes where {shard.n_bytes} were expected"
