"""The description of a job, kept in `_earmark.json`, which every later call must match."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal

from earmark.audio.tracks import Track
from earmark.bulk.parts import Input, Part
from earmark.errors import ConfigError, DataError
from earmark.storage.differences import differences
from earmark.storage.remote import RemotePath

PLAN: Final = "_earmark.json"
_FORMAT: Final = 1
_READERS: Final = 16
"""Number of footers read at a time: object stores answer slowly but in parallel."""


@dataclass(frozen=True)
class Settings:
    """Settings of the results."""

    top: int | None = None
    """Number of tags of each recording, whatever their scores."""
    threshold: float | Literal["auto"] | None = None
    """Minimum score of tags; `auto` for each label's own threshold."""
    n_features: int | None = None
    """Length of the embedding; None for no embeddings."""
    track: Track = None
    """Sound track of videos that is read, or `mix`; None for the first."""
    overlap: float | None = None
    """As in `hub.load`; None for its default."""


@dataclass(frozen=True)
class Done:
    """A finished part."""

    part: str
    n_files: int
    n_failed: int
    """Number of recordings that could not be scored; the column `error` has the reasons."""
    seconds: float
    """Duration of the scored recordings."""
    first_error: str | None = None
    """Error of the first recording that could not be scored."""


@dataclass(frozen=True)
class Job:
    """All that the results depend on."""

    input: Input
    model: str
    """Name of the model for messages."""
    model_fingerprint: str
    """SHA-256 of the model's file."""
    settings: Settings
    rows_per_part: int

    def to_json(self) -> dict[str, Any]:
        """The job as plain JSON values."""
        return {
            "format": _FORMAT,
            "n_files": self.input.n_rows,
            "n_parts": len(self.input.parts),
            "input": self.input.fingerprint,
            "model_name": self.model,
            "model": self.model_fingerprint,
            "top": self.settings.top,
            "threshold": self.settings.threshold,
            "embedding": self.settings.n_features,
            "track": self.settings.track,
            "overlap": self.settings.overlap,
            "rows_per_part": self.rows_per_part,
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the results depend on; kept in each part."""
        return sha256(json.dumps(_decisive(self.to_json()), sort_keys=True).encode()).hexdigest()

    def claim(self, out: RemotePath) -> None:
        """Writes the plan to `out`, which is new or empty, or checks that it holds this job.

        Raises:
            ConfigError: The folder holds another job or other files.
            DataError: The folder cannot be written, or its `_earmark.json` is damaged.
        """
        plan = out.child(PLAN)
        try:
            names = out.names()
            if PLAN in names:
                self._check_same(out, plan)
            elif names:
                raise ConfigError(f"{out.url}: a new folder or one with {PLAN} was expected, this holds other files")
            else:
                plan.write((json.dumps(self.to_json(), indent=2) + "\n").encode())
        except OSError as error:
            raise DataError(f"{out.url}: cannot be written: {error.strerror or error}") from error

    def _check_same(self, out: RemotePath, plan: RemotePath) -> None:
        try:
            then = _decisive(json.loads(plan.read()))
        except (ValueError, AttributeError) as error:
            raise DataError(f"{plan.url}: damaged, no plan of a job; take another folder") from error
        now = _decisive(self.to_json())
        if differing := differences(then, now):
            raise ConfigError(
                f"{out.url}: holds the results of another job, these differ: {', '.join(differing)}; "
                "put them back or take another folder"
            )


def finished(out: RemotePath, job: Job) -> dict[str, Done]:
    """Finished parts of a job in `out` by name; damaged ones are left out."""
    names = out.names()
    there = [part for part in job.input.parts if part.name in names]
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda part: read_done(out, job.fingerprint, part), there)
        return {done.part: done for done in found if done is not None}


def read_done(out: RemotePath, fingerprint: str, part: Part) -> Done | None:
    """The metadata of a part's file; None if the file is damaged or of another job."""
    from pyarrow import ArrowInvalid, parquet

    try:
        with out.child(part.name).open() as stream:
            kept = json.loads((parquet.read_metadata(stream).metadata or {})[b"earmark"])
        return Done(**kept["done"]) if kept["job"] == fingerprint else None
    except (ArrowInvalid, FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def footer(done: Done, fingerprint: str) -> dict[bytes, bytes]:
    """Metadata of a part's file, as `read_done` reads it."""
    return {b"earmark": json.dumps({"job": fingerprint, "done": asdict(done)}).encode()}


def _decisive(plan: dict[str, Any]) -> dict[str, Any]:
    """The values of a plan that the results depend on, by name."""
    return {name: value for name, value in plan.items() if name not in ("n_parts", "model_name")}
