"""What a job is, before any of its parts is done: kept in `_earmark.json`, which every later call must agree with."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal

from earmark.bulk.parts import Input, Part
from earmark.errors import ConfigError, DataError
from earmark.storage.remote import RemotePath

PLAN: Final = "_earmark.json"
_FORMAT: Final = 1
_LOOKERS: Final = 16
"""Footers that are read at a time: of an object store they come slowly, but side by side."""


@dataclass(frozen=True)
class Settings:
    """What a recording is asked for."""

    top: int | None = None
    """As many tags, whatever their scores."""
    threshold: float | Literal["auto"] | None = None
    """All tags that score this or more; `auto` for each label's own threshold."""
    n_features: int | None = None
    """Length of the embedding; None for no embeddings."""


@dataclass(frozen=True)
class Done:
    """What came out of one part."""

    part: str
    n_files: int
    n_failed: int
    """Files of which nothing could be heard; the column `error` says why."""
    seconds: float
    """Of sound."""
    first_error: str | None = None
    """Of the first of those."""


@dataclass(frozen=True)
class Job:
    """All that decides what the results are."""

    input: Input
    model: str
    """Name of the model, for people."""
    model_fingerprint: str
    """SHA-256 of its file."""
    settings: Settings
    rows_per_part: int

    def to_json(self) -> dict[str, Any]:
        """The job as plain JSON values."""
        return {
            "format": _FORMAT,
            "input": {
                "n_files": self.input.n_rows,
                "n_parts": len(self.input.parts),
                "fingerprint": self.input.fingerprint,
            },
            "model": {"name": self.model, "fingerprint": self.model_fingerprint},
            "settings": {
                "top": self.settings.top,
                "threshold": self.settings.threshold,
                "embedding": self.settings.n_features,
                "rows_per_part": self.rows_per_part,
            },
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what decides the results; kept in each part."""
        return sha256(json.dumps(_decisive(self.to_json()), sort_keys=True).encode()).hexdigest()

    def claim(self, out: RemotePath) -> None:
        """Makes `out` the folder of this job: it is new, empty, or holds the job already.

        Raises:
            ConfigError: It holds another job, or other files.
            DataError: It cannot be written, or its `_earmark.json` is damaged.
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
        differing = [
            f"{key} {_brief(then.get(key))} -> {_brief(now.get(key))}"
            for key in {**then, **now}
            if then.get(key) != now.get(key)
        ]
        if differing:
            raise ConfigError(
                f"{out.url}: holds the results of another job, these differ: {', '.join(differing)}; "
                "put them back or take another folder"
            )


def finished(out: RemotePath, job: Job) -> dict[str, Done]:
    """The parts of a job that are whole in `out`, by name; a damaged one counts as not there."""
    names = out.names()
    there = [part for part in job.input.parts if part.name in names]
    with ThreadPoolExecutor(_LOOKERS) as lookers:
        found = lookers.map(lambda part: read_done(out, job.fingerprint, part), there)
        return {done.part: done for done in found if done is not None}


def read_done(out: RemotePath, fingerprint: str, part: Part) -> Done | None:
    """What a part says of itself, if it is whole and of that job."""
    from pyarrow import ArrowInvalid, parquet

    try:
        with out.child(part.name).open() as stream:
            kept = json.loads((parquet.read_metadata(stream).metadata or {})[b"earmark"])
        return Done(**kept["done"]) if kept["job"] == fingerprint else None
    except (ArrowInvalid, FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def footer(done: Done, fingerprint: str) -> dict[bytes, bytes]:
    """What a part says of itself, as `read_done` reads it."""
    return {b"earmark": json.dumps({"job": fingerprint, "done": asdict(done)}).encode()}


def _decisive(plan: dict[str, Any]) -> dict[str, Any]:
    """The values of a plan by flat names, without those that change no result."""
    flat = {"format": plan.get("format"), "n_files": plan["input"].get("n_files") if "input" in plan else None}
    for section in ("input", "model"):
        flat[section] = plan.get(section, {}).get("fingerprint")
    return {**flat, **plan.get("settings", {})}


def _brief(value: object) -> str:
    return value[:12] if isinstance(value, str) else json.dumps(value)
