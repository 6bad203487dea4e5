"""Published files and their place in the user's cache folder."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "EARMARK_CACHE"
"""Environment variable that names the cache folder."""


@dataclass(frozen=True)
class PublishedFile:
    """A file that its publisher never changes."""

    url: str
    """An https URL; redirections to other https URLs are followed."""
    name: str
    """File name in the cache folder."""
    n_bytes: int | None = None
    """None: not published."""
    checksum: str | None = None
    """The publisher's, as `md5:...` or `sha256:...`; None: not published, the first download counts."""


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


def cached_path(published: PublishedFile) -> Path:
    """The path of the file in the cache folder, whether it is there or not."""
    return cache_folder() / published.name
