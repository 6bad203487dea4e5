"""How far a pack has come: a line a finished shard while it is made, `pack.json` when it is whole."""

import hashlib
import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict
from math import fsum
from pathlib import Path
from typing import IO, Any, Final

from earmark.data.packs import FORMAT, JOURNAL, MANIFEST
from earmark.errors import ConfigError, DataError
from earmark.packing.plan import Packed, Plan
from earmark.storage.files import atomic_write, leftovers
from earmark.storage.locks import lock_file

_DIGEST: Final = 64
"""Letters of a SHA-256, of which a few will do."""

# JOURNAL's first line says what is made, each other one what came out of a shard


class Ledger:
    """What has been made of a pack, by this process or one before."""

    def __init__(self, out: Path, plan: Plan, journal: IO[bytes], known: dict[str, Packed]) -> None:
        self.known = known
        """The shards that were finished, by file name."""
        self._out, self._plan, self._journal = out, plan, journal

    def add(self, packed: Packed) -> None:
        """Keeps what came out of a shard; with it the pack is no longer what it was, so `pack.json` goes."""
        _write_line(self._journal, asdict(packed))
        self.known[packed.file] = packed
        (self._out / MANIFEST).unlink(missing_ok=True)

    def finish(self) -> dict[str, Any]:
        """Writes `pack.json`, of which nothing but the plan and the files decides, and returns what it says."""
        shards = [self.known[shard.file] for shard in self._plan.shards]
        gone = {one.id for packed in shards for one in packed.skipped}
        ids = sorted(clip.id for clip in self._plan.clips() if clip.id not in gone)
        manifest = {
            **self._plan.to_json(),
            "labels": self._plan.schema_json()["labels"],
            "n_clips": len(ids),
            "clip_ids_sha256": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
            "duration": fsum(packed.duration for packed in shards),
            "n_bytes": sum(packed.n_bytes for packed in shards),
            "n_overloaded": sum(packed.n_overloaded for packed in shards),
            "n_skipped": len(gone),
            "shards": [asdict(packed) for packed in shards],
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        with atomic_write(self._out / MANIFEST) as temporary:
            temporary.write_text(text, encoding="utf-8")
        self._journal.close()
        (self._out / JOURNAL).unlink(missing_ok=True)
        return dict(json.loads(text))


@contextmanager
def open_ledger(out: Path, plan: Plan) -> Generator[Ledger]:
    """Makes `out` the folder of this pack alone while the block runs: it is new, empty, or holds the pack already.

    What killed processes left there is removed.

    Raises:
        ConfigError: It holds another pack, or other files, or another process is at work there.
        DataError: Its `pack.json` is damaged.
        OSError: It cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    dead = set(leftovers(out))
    names = {path.name for path in out.iterdir() if path not in dead}
    if names and names.isdisjoint((MANIFEST, JOURNAL)):
        raise ConfigError(
            f"{out}: a new folder or one with {MANIFEST} was expected, this holds other files; without its {MANIFEST} "
            "a pack is made anew, elsewhere"
        )
    if MANIFEST in names:
        _check_same(out, plan, read_manifest(out / MANIFEST))
    with (out / JOURNAL).open("a+b") as journal:
        _lock(journal, out)
        manifest = read_manifest(out / MANIFEST) if (out / MANIFEST).exists() else {"shards": []}
        known = _records(manifest["shards"])
        journaled = _read_journal(journal, out, plan)
        for packed in known.values():
            if packed.file not in journaled:
                _write_line(journal, asdict(packed))
        for path in leftovers(out):
            path.unlink(missing_ok=True)
        yield Ledger(out, plan, journal, {**known, **journaled})


def read_manifest(path: Path, text: bytes | None = None) -> dict[str, Any]:
    """What a `pack.json` says.

    Args:
        path: The file.
        text: Its content, when it is known already.

    Raises:
        DataError: It is none.
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


def _read_journal(journal: IO[bytes], out: Path, plan: Plan) -> dict[str, Packed]:
    journal.seek(0)
    begun, known = False, dict[str, Packed]()
    last = b"\n"
    for last in journal:
        try:
            line = json.loads(last)
            shards = None if "settings" in line else _records([line])
        except (ValueError, KeyError, TypeError):  # cut off when its writer was killed
            continue
        if shards is None:
            _check_same(out, plan, line)
            begun = True
        else:
            known |= shards
    if not last.endswith(b"\n"):
        journal.write(b"\n")
    if not begun:
        _write_line(journal, plan.to_json())
    return known if begun else {}


def _write_line(journal: IO[bytes], values: dict[str, Any]) -> None:
    journal.write(json.dumps(values).encode() + b"\n")
    journal.flush()


def _check_same(out: Path, plan: Plan, there: dict[str, Any]) -> None:
    then, now = _flat(there), _flat(plan.to_json())
    if then["order"] is None and plan.is_by_ids:
        now["order"] = None  # of before there was more than one order
    keys = [key for key in now if then.get(key) != now[key]]
    # where anything else differs, the order does too
    if differing := [
        f"{key} {_brief(then.get(key))} -> {_brief(now[key])}" for key in keys if key != "order" or keys == ["order"]
    ]:
        raise ConfigError(
            f"{out}: holds another pack, these differ: {', '.join(differing)}; put them back or take another folder"
        )


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    digests = {"clips": plan.get("data_sha256"), "order": plan.get("order_sha256")}
    return {"name": plan.get("name"), **digests, **plan.get("settings", {})}


def _brief(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return value[:12] if len(value) == _DIGEST else value


def _lock(journal: IO[bytes], out: Path) -> None:
    """Keeps a second call out, which would take the first one's unfinished files for left behind; where locks are."""
    if not lock_file(journal):
        raise ConfigError(f"{out}: another process is packing there; wait for it, or stop it")
