"""A whole pack: its missing shards are made, and the outcome is summed up."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError, EarmarkError, counted, describe_error, first_few
from earmark.packing.ledger import Ledger, open_ledger
from earmark.packing.plan import PackConfig, Packed, Plan, Shard, Skipped, make_plan
from earmark.packing.shard import measure, write_shard
from earmark.parallel.pool import Death, Pool, Reporter
from earmark.parallel.processors import n_processors
from earmark.storage.remote import is_url

_DEATHS: Final = 3
"""Number of dead processes at which the others are stopped."""
_SECONDS_TO_END: Final = 10.0
"""Time that interrupted processes have to remove their unfinished shards."""


@dataclass(frozen=True)
class Outcome:
    """A finished pack, and the part that this call made."""

    manifest: dict[str, Any]
    """Content of `pack.json`."""
    n_made: int
    """Number of clips in shards that this call made."""
    seconds: float
    """Time that all processes together took for these shards."""
    n_processes: int

    @property
    def clips_per_second(self) -> float | None:
        """Speed of one process; None if nothing was made."""
        return self.n_made / self.seconds if self.n_made else None

    @property
    def bytes_per_clip(self) -> float:
        """Size of the files for each clip."""
        return float(self.manifest["n_bytes"] / max(1, self.manifest["n_clips"]))


def pack(
    dataset: Dataset,
    out: Path | str,
    config: PackConfig | None = None,
    *,
    jobs: int | None = None,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Makes the missing and damaged shards of a data set, then `pack.json`.

    After an interruption the same call continues; the result is the same to the byte, whatever `jobs` is.

    Args:
        dataset: The clips.
        out: The folder: new, empty, or begun by the same call.
        config: Settings of the pack.
        jobs: Number of processes; one for each processor when None.
        skip_bad: Whether unreadable clips are listed in `pack.json` instead of being an error at the end, unless all
            are unreadable.
        progress: Called with the number of finished clips and of all clips.

    Raises:
        DataError: Clips cannot be read (the text counts and names them), processes died, or `out` is in use.
        ConfigError: `out` holds another pack or other files, or is a URL.
        OSError: `out` cannot be written.
        ModuleNotFoundError: pyarrow is not installed.
        KeyboardInterrupt: Ctrl-C; finished shards are kept.
    """
    import pyarrow  # noqa: F401 - fails before the work

    if is_url(str(out)):
        raise ConfigError(f"{out}: a local folder was expected; pack there, then copy the pack and check the copy")
    plan, out = make_plan(dataset, config or PackConfig()), Path(out)
    n_processes = min(jobs or n_processors(), len(plan.shards))
    with open_ledger(out, plan) as ledger:
        try:
            n_made, seconds = _make(plan, out, ledger, n_processes, skip_bad, progress or (lambda n, total: None))
        except KeyboardInterrupt:
            there = f"{len(ledger.known)} of {len(plan.shards)} shards are in {out}"
            raise KeyboardInterrupt(f"stopped, {there}: the same command continues") from None
        return Outcome(ledger.finish(), n_made, seconds, n_processes)


def _make(
    plan: Plan, out: Path, ledger: Ledger, n_processes: int, skip_bad: bool, progress: Callable[[int, int], None]
) -> tuple[int, float]:
    """Makes the missing shards; returns the number of their clips, and the time of all processes together."""
    # without skip_bad, a shard that left clips out is made again
    known = {file: packed for file, packed in ledger.known.items() if skip_bad or not packed.skipped}
    tasks = [(shard, known.get(shard.file)) for shard in plan.shards]
    n_clips, n_begun, n_made, seconds = plan.n_clips, 0, 0, 0.0
    lost: list[str] = []
    bad: list[Skipped] = []

    def begun(*_: object) -> None:
        nonlocal n_begun
        progress(n_begun, n_clips)
        n_begun += 1

    pool = Pool(n_processes, is_silent=True, grace=_SECONDS_TO_END)
    work = partial(_make_shard, out=out, config=plan.config, schema=plan.schema_json())
    with closing(pool.run(work, tasks, begun)) as results:
        for (shard, _), result in results:
            if isinstance(result, Death):
                place = "before its first clip" if result.last_report is None else f"at clip {result.last_report}"
                lost.append(f"{shard.file}: the process that made it {result.reason} {place}")
                if len(lost) == _DEATHS:
                    break
                continue
            packed, took = result
            if took is None:
                n_begun += packed.n_clips + len(packed.skipped)
            else:
                ledger.add(packed)
                n_made, seconds = n_made + packed.n_clips, seconds + took
            bad += packed.skipped
            if not packed.n_clips and not skip_bad:
                break  # none of its clips could be read, so the rest is hardly readable either
            progress(n_begun, n_clips)
    _refuse(plan, lost, [] if skip_bad and len(bad) < n_clips else bad)
    return n_made, seconds


def _make_shard(
    task: tuple[Shard, Packed | None], report: Reporter, out: Path, config: PackConfig, schema: dict[str, Any]
) -> tuple[Packed, float | None]:
    """Facts about the shard, and the seconds that it took; None if the known file is there and whole."""
    shard, known = task
    import_module("pyarrow.parquet")  # its load time is not that of a shard
    start = time.perf_counter()
    try:
        if known is not None and _is_whole(out / shard.file, known):
            return known, None
        packed = write_shard(shard, out, config, schema, begin=report)
    except OSError as error:
        error.filename = error.filename or str(out / shard.file)
        raise
    except EarmarkError:
        raise
    except Exception as error:  # the user gets one line that names the file
        raise DataError(f"{shard.file}: cannot be made: {describe_error(error)}") from error
    return packed, time.perf_counter() - start


def _is_whole(path: Path, known: Packed) -> bool:
    try:
        return measure(path) == (known.n_bytes, known.sha256)
    except OSError:
        return False


def _refuse(plan: Plan, lost: Sequence[str], bad: Sequence[Skipped]) -> None:
    if lost:
        raise DataError(
            f"{'; '.join(lost)}; perhaps memory was short, or the clip is damaged. The same command continues"
        )
    if bad:
        ordered = sorted(bad, key=lambda one: one.id)
        named = first_few([f"{one.id} ({one.reason})" for one in ordered])
        raise DataError(
            f"{plan.name}: {len(bad)} of {counted(plan.n_clips, 'clip')} cannot be read: {named}; repair them and give "
            f"the same command again{', or leave them out' if len(bad) < plan.n_clips else ''}",
            remedy={"skip_bad": True} if len(bad) < plan.n_clips else None,
        )
