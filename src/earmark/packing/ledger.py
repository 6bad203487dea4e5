"""The finished shards of a pack: a line of a journal each while the pack is made, `pack.json` when it is whole.

The journal's first line is the plan of the pack."""

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from math import fsum
from pathlib import Path
from typing import Any

from earmark.data.clips import ids_sha256
from earmark.data.packs import FORMAT, JOURNAL, MANIFEST
from earmark.errors import ConfigError, DataError
from earmark.packing.plan import Packed, Plan
from earmark.storage.differences import differences
from earmark.storage.files import leftovers
from earmark.storage.journal import Journal, open_journal
from earmark.storage.json_files import write_json


class Ledger:
    """The finished shards of a pack, made by this call or an earlier one."""

    def __init__(self, out: Path, plan: Plan, journal: Journal, known: dict[str, Packed]) -> None:
        self.known = known
        """Finished shards by file name."""
        self._out, self._plan, self._journal = out, plan, journal

    def add(self, packed: Packed) -> None:
        """Adds a finished shard and deletes `pack.json`, which describes the pack without it."""
        self._journal.append(asdict(packed))
        self.known[packed.file] = packed
        (self._out / MANIFEST).unlink(missing_ok=True)

    def finish(self) -> dict[str, Any]:
        """Writes `pack.json`, which depends on the plan and the files only, and returns its content."""
        shards = [self.known[shard.file] for shard in self._plan.shards]
        gone = {one.id for packed in shards for one in packed.skipped}
        ids = [clip.id for clip in self._plan.clips() if clip.id not in gone]
        manifest = {
            **self._plan.to_json(),
            "labels": self._plan.schema_json()["labels"],
            "n_clips": len(ids),
            "clip_ids_sha256": ids_sha256(ids),
            "duration": fsum(packed.duration for packed in shards),
            "n_bytes": sum(packed.n_bytes for packed in shards),
            "n_overloaded": sum(packed.n_overloaded for packed in shards),
            "n_skipped": len(gone),
            "shards": [asdict(packed) for packed in shards],
        }
        write_json(self._out / MANIFEST, manifest)
        self._journal.remove()
        return read_manifest(self._out / MANIFEST)


@contextmanager
def open_ledger(out: Path, plan: Plan) -> Generator[Ledger]:
    """Opens the ledger of a pack, and keeps other processes out of the folder until the block ends.

    The folder is new, empty, or has this pack. Removes what killed processes left there.

    Raises:
        ConfigError: The folder holds another pack or other files.
        DataError: Its `pack.json` or journal is damaged, or another process is at work there.
        OSError: It cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    dead = set(leftovers(out))
    names = {path.name for path in out.iterdir() if path not in dead}
    if names and names.isdisjoint((MANIFEST, JOURNAL)):
        raise ConfigError(
            f"{out}: a new folder or one with {MANIFEST} was expected, this holds other files; without its {MANIFEST}, "
            "pack again into another folder"
        )
    if MANIFEST in names:
        _check_same(out, plan, read_manifest(out / MANIFEST))
    with open_journal(out / JOURNAL, plan.to_json()) as journal:
        _check_same(out, plan, journal.head)
        journaled = {packed.file: packed for packed in journal.read(Packed.from_json)}
        manifest = read_manifest(out / MANIFEST) if (out / MANIFEST).exists() else {"shards": []}
        known = _records(manifest["shards"])
        for packed in known.values():
            if packed.file not in journaled:
                journal.append(asdict(packed))
        for path in leftovers(out):
            path.unlink(missing_ok=True)
        yield Ledger(out, plan, journal, {**known, **journaled})


def read_manifest(path: Path, text: bytes | None = None) -> dict[str, Any]:
    """The content of a `pack.json`; `text` is its bytes if they were read already.

    Raises:
        DataError: It is damaged or something else.
    """
    try:
        manifest = json.loads(path.read_bytes() if text is None else text)
        if manifest["kind"] == "pack" and manifest["format"] == FORMAT and _records(manifest["shards"]):
            return dict(manifest)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path}: damaged, or no description of a pack of format {FORMAT}; take another folder")


def _records(lines: Iterable[dict[str, Any]]) -> dict[str, Packed]:
    return {packed.file: packed for packed in map(Packed.from_json, lines)}


def _check_same(out: Path, plan: Plan, there: Any) -> None:
    then, now = _flat(there), _flat(plan.to_json())
    differing = differences(then, now)
    if len(differing) > 1:  # where anything else differs, the order does too
        differing = [text for text in differing if not text.startswith("order ")]
    if differing:
        raise ConfigError(
            f"{out}: holds another pack, these differ: {', '.join(differing)}; put them back or take another folder"
        )


def _flat(plan: Any) -> dict[str, Any]:
    values = plan if isinstance(plan, dict) else {}
    digests = {"clips": values.get("data_sha256"), "order": values.get("order_sha256")}
    return {"name": values.get("name"), **digests, **values.get("settings", {})}
