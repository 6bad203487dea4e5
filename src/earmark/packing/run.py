"""A whole pack: what is left of it is made, checked and summed up."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from earmark.data.clips import Dataset
from earmark.data.packs import JOURNAL, MANIFEST
from earmark.errors import ConfigError, DataError
from earmark.packing.ledger import Ledger, open_ledger, read_manifest
from earmark.packing.plan import PackConfig, Packed, Plan, Skipped, make_plan
from earmark.packing.workers import Death, Task, side_by_side
from earmark.parallel.processors import n_processors
from earmark.storage.remote import RemotePath, is_url

_DEATHS: Final = 3
"""Processes that may die before the others are stopped too."""
_NAMED: Final = 3


@dataclass(frozen=True)
class Outcome:
    """A pack that is whole, and what this call had to do with it."""

    manifest: dict[str, Any]
    """What `pack.json` says."""
    n_made: int
    """Clips in the shards that this call made; the others were there."""
    seconds: float
    """That all processes together took for them."""
    n_processes: int

    @property
    def clips_per_second(self) -> float | None:
        """Of one process; None where nothing was made."""
        return self.n_made / self.seconds if self.n_made else None

    @property
    def bytes_per_clip(self) -> float:
        """Of the files, with all that is in them."""
        return float(self.manifest["n_bytes"] / max(1, self.manifest["n_clips"]))


STRANGE: Final = "not of this pack"
"""What is said of a file beside those of a pack."""


@dataclass(frozen=True)
class Check:
    """What became of the files of a pack."""

    n_shards: int
    n_bytes: int
    """That there should be."""
    damaged: tuple[tuple[str, str], ...]
    """Names of files that are not as they were written, or not of this pack, and how."""


@dataclass
class _Progress:
    """What this call has done so far."""

    n_made: int = 0
    seconds: float = 0.0
    deaths: list[Death] = field(default_factory=list)


def pack(
    dataset: Dataset,
    out: Path | str,
    config: PackConfig | None = None,
    *,
    jobs: int | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Makes all shards of a data set that `out` does not hold whole, then `pack.json`.

    Interrupted at any time, the same call goes on; the result is the same to the byte, whatever `jobs` is.

    Args:
        dataset: What to pack.
        out: The folder, new or empty or begun by the same call.
        config: How.
        jobs: Processes; as many as there are processors when None.
        skip_bad: Whether clips that cannot be read are listed in `pack.json`, instead of an error at the end.
        progress: Called with the clips done and their number.

    Raises:
        DataError: Clips cannot be read (the text counts and names them), or processes died.
        ConfigError: `out` holds another pack or other files, is in use, or is a URL.
        OSError: `out` cannot be written.
        ModuleNotFoundError: pyarrow is not installed.
        KeyboardInterrupt: Ctrl-C; the shards that are whole stay.
    """
    import pyarrow  # noqa: F401 - told before the work

    if is_url(str(out)):
        raise ConfigError(f"{out}: a local folder was expected; copy it there when it is whole, and check it there")
    plan, out = make_plan(dataset, config or PackConfig()), Path(out)
    n_processes = min(jobs or n_processors(), len(plan.shards))
    done = _Progress()
    with open_ledger(out, plan) as ledger:
        try:
            _make(plan, out, ledger, n_processes, skip_bad, done, progress or (lambda n, total: None))
        except KeyboardInterrupt:
            there = f"{len(ledger.known)} of {len(plan.shards)} shards are in {out}"
            raise KeyboardInterrupt(f"stopped, {there}: the same command goes on") from None
        return Outcome(ledger.finish(), done.n_made, done.seconds, n_processes)


def _make(
    plan: Plan,
    out: Path,
    ledger: Ledger,
    n_processes: int,
    skip_bad: bool,
    done: _Progress,
    tell: Callable[[int, int], None],
) -> None:
    # where bad clips are not to be left out, a shard that left some out is tried again
    known = {file: packed for file, packed in ledger.known.items() if skip_bad or not packed.skipped}
    tasks = [Task(shard, known.get(shard.file)) for shard in plan.shards]
    n_clips, n_begun = plan.n_clips, 0

    def begun(clip: str) -> None:
        nonlocal n_begun
        tell(n_begun, n_clips)
        n_begun += 1

    size = {shard.file: len(shard.clips) for shard in plan.shards}
    bad: list[Skipped] = []
    answers = side_by_side(tasks, out, plan.config, plan.schema_json(), n_processes, begun)
    with closing(answers):
        for answer in answers:
            if isinstance(answer, Death):
                done.deaths.append(answer)
                if len(done.deaths) == _DEATHS:
                    break
                continue
            packed = answer.packed
            if answer.seconds is None:
                n_begun += size[packed.file]
            else:
                ledger.add(packed)
                done.n_made, done.seconds = done.n_made + packed.n_clips, done.seconds + answer.seconds
            bad.extend(packed.skipped)
            if not packed.n_clips and not skip_bad:
                break  # nothing in it could be read: it will hardly be otherwise with the rest
            tell(n_begun, n_clips)
    _refuse(plan, done.deaths, [] if skip_bad else bad)


def _refuse(plan: Plan, deaths: Sequence[Death], bad: Sequence[Skipped]) -> None:
    if deaths:
        named = "; ".join(f"{death.shard.file}: {death.reason}" for death in deaths)
        raise DataError(f"{named}; perhaps memory was short, or the clip is damaged. The same command goes on")
    if bad:
        ordered = sorted(bad, key=lambda one: one.id)
        named = ", ".join(f"{one.id} ({one.reason})" for one in ordered[:_NAMED])
        more = ", ..." if len(bad) > _NAMED else ""
        raise DataError(
            f"{plan.name}: {len(bad)} of {plan.n_clips} clips cannot be read: {named}{more}; repair them and give "
            "the same command again, or leave them out",
            remedy={"skip_bad": True},
        )


def check(out: str, jobs: int | None = None, progress: Callable[[int, int], None] | None = None) -> Check:
    """Reads every file of a whole pack and compares it with its checksum.

    Args:
        out: The folder, a path or a URL.
        jobs: Files that are read at a time; as many as there are processors when None.
        progress: Called with the files done and their number.

    Raises:
        DataError: There is no pack, or it never came to its end.
    """
    folder = RemotePath(out)
    try:
        text = folder.child(MANIFEST).read()
    except OSError as error:
        reason = f"no {MANIFEST} that could be read ({error.strerror or error})"
        is_begun = not is_url(str(out)) and Path(out, JOURNAL).exists()
        remedy = "the command that packs goes on where it stopped" if is_begun else "fetch it anew, or pack anew"
        raise DataError(f"{out}: not a whole pack, {reason}; {remedy}") from error
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
    except Exception as error:  # far away, file systems raise what they like
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if digest == shard.sha256:
        return None
    n_bytes = file.size()
    return "other bytes" if n_bytes == shard.n_bytes else f"{n_bytes} bytes where {shard.n_bytes} were expected"
