"""The origin of a run, for `run.json`: its data, the versions of its packages, the commit."""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from earmark.data.clips import Dataset, FileAudio

_PACKAGES: Final = ("earmark", "torch", "numpy", "soundfile", "soxr", "safetensors")


def data_facts(data: Dataset | None) -> dict[str, Any] | None:
    """The entry of a data set in `run.json`."""
    if data is None:
        return None
    return {
        "name": data.name,
        "n_clips": len(data),
        "n_labels": len(data.labels),
        "labels_without_clips": list(data.labels_without_clips()),
        "fingerprint": data.fingerprint(),
        "clip_ids_sha256": data.clip_ids_sha256(),
        "exact_sha256": exact_sha256(data),
    }


def exact_sha256(data: Dataset) -> str:
    """SHA-256 of everything in a data set that the steps of a run depend on, except the sound itself.

    That is: the labels in order, and the clips in order with id, labels, known labels and reader. Files count by their
    path below their common folder, so that a data set may move between the start of a run and its resumption.
    """
    root = _shared_folder([clip.audio.path for clip in data if isinstance(clip.audio, FileAudio)])
    digest = hashlib.sha256(repr(tuple(zip(data.labels.ids, data.labels.names, strict=True))).encode())
    for clip in data:
        if isinstance(clip.audio, FileAudio):
            path = clip.audio.path.absolute()
            path = path.relative_to(root) if root else path
            reader = repr((path.as_posix(), clip.audio.onset, clip.audio.duration))
        else:
            # the memory address in the default text of a reader says nothing about it
            reader = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(clip.audio))
            reader = reader.replace(f"{root.as_posix()}/", "") if root else reader
        known = () if clip.known is None else (tuple(sorted(clip.known)),)
        facts = (clip.id, tuple(sorted(clip.labels)), reader, *known)
        digest.update(repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _shared_folder(files: Sequence[Path]) -> Path | None:
    try:
        return Path(os.path.commonpath([file.absolute().parent for file in files]))
    except ValueError:  # no files, or on several drives
        return None


def versions() -> dict[str, str]:
    """Versions of the packages that take part in a run."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of earmark's source, `-dirty` if edited since; None where it is not under version control."""
    here = Path(__file__).resolve()
    try:
        tracked = ["git", "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
        if subprocess.run(tracked, capture_output=True, timeout=10, check=False).returncode:
            return None
        describe = ["git", "-C", str(here.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        answer = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
