"""`earmark pack`: any data set as sharded Parquet."""

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter

from earmark import packing
from earmark.audio.time_limit import set_time_limit
from earmark.cli.flags import AsJson, DecodeTimeout, Jobs, Labels, LabelSeparator, Quiet, Split
from earmark.cli.screen import note, progress, report_error, rounded, say, write_json
from earmark.cli.selection import published, rate_below, select
from earmark.errors import counted

if TYPE_CHECKING:
    from earmark.packing import Outcome

_DEFAULTS: Final = packing.PackConfig()
_MANY: Final = 2_000_000
"""Number of clips of AudioSet, for which time and size are estimated."""


def pack(
    data: str,
    out: str | None = None,
    /,
    *,
    split: Split = None,
    labels: Labels = None,
    label_separator: LabelSeparator = None,
    settings: Annotated[packing.PackConfig, Parameter(name="*")] = _DEFAULTS,
    jobs: Jobs = None,
    decode_timeout: DecodeTimeout = None,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    check: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Pack clips into Parquet.

    Args:
        data: A source and a path, named as for `earmark train`; with --check, the folder or URL of a pack.
        out: Folder of the pack: new, empty, or started by the same command.
        skip_bad: Leave out unreadable clips and list them in pack.json.
        check: Compare each file of an existing pack with its checksum.
    """
    set_time_limit(decode_timeout)
    if check:
        if out is not None:
            raise CycloptsError(f"--check takes one folder, a pack, not {data} and {out}")
        if skip_bad or any(choice is not None for choice in (split, labels, label_separator)):
            raise CycloptsError("--check reads a whole pack; leave out the flags that choose clips or labels")
        return _check(data.removeprefix("parquet:"), jobs, json, quiet)
    if out is None:
        raise CycloptsError("OUT is missing, the folder to pack into")
    clips = published(select(data, split, labels, label_separator=label_separator), data)
    if not quiet and (rate := rate_below(settings.sample_rate, clips)):
        note(
            f"note: the recordings have a sample rate of {rate} Hz, the pack of {settings.sample_rate} Hz; it stores "
            f"noise of 16 bits above {rate // 2} Hz; --sample-rate {rate} stores them unchanged in fewer bytes",
            quiet,
        )
    with progress("packing", quiet) as show:
        outcome = packing.pack(clips, out, settings, jobs=jobs, skip_bad=skip_bad, progress=show)
    if json:
        write_json({"data": f"parquet:{out}", **_summary(outcome)})
        return 0
    _print_summary(outcome, quiet)
    say(f"parquet:{out}")
    return 0


def _check(folder: str, jobs: int | None, json: bool, quiet: bool) -> int:
    with progress("reading", quiet) as show:
        result = packing.check(folder, jobs, show)
    for file, why in result.damaged:
        report_error(f"{folder}: {file}: {why}")
    if json:
        damaged = [{"file": file, "error": why} for file, why in result.damaged]
        write_json({"n_shards": result.n_shards, "n_bytes": result.n_bytes, "damaged": damaged})
    elif result.damaged:
        n_strange = sum(why == packing.STRANGE for _, why in result.damaged)
        strange = f"; remove {counted(n_strange, 'file')} not of it" if n_strange else ""
        n_damaged = len(result.damaged) - n_strange
        mend = "; the command that packed them writes them again" if n_damaged else ""
        say(f"{n_damaged} of {counted(result.n_shards, 'shard')} damaged{mend}{strange}")
    else:
        say(f"{counted(result.n_shards, 'shard')} whole, {_size(result.n_bytes)}")
    return int(bool(result.damaged))


def _summary(outcome: "Outcome") -> dict[str, object]:
    manifest, speed = outcome.manifest, outcome.clips_per_second
    return {
        **{name: manifest[name] for name in ("n_clips", "n_skipped", "n_overloaded", "duration", "n_bytes")},
        "n_shards": len(manifest["shards"]),
        "n_made": outcome.n_made,
        "bytes_per_clip": rounded(outcome.bytes_per_clip),
        "n_processes": outcome.n_processes,
        "clips_per_second_of_a_process": None if speed is None else rounded(speed),
    }


def _print_summary(outcome: "Outcome", quiet: bool) -> None:
    manifest, n_bytes = outcome.manifest, outcome.bytes_per_clip
    n_clips, n_shards = manifest["n_clips"], len(manifest["shards"])
    note(
        f"{counted(n_clips, 'clip')}, {manifest['duration'] / 3600:.2f} hours, {_size(manifest['n_bytes'])} in "
        f"{counted(n_shards, 'shard')}: {_size(n_bytes)} a clip",
        quiet,
    )
    if manifest["n_skipped"]:
        note(f"note: {counted(manifest['n_skipped'], 'clip')} could not be read: see pack.json", quiet)
    if manifest["n_overloaded"]:
        note(f"note: {counted(manifest['n_overloaded'], 'clip')} louder than full scale: the peaks are cut off", quiet)
    needs = f"{_MANY:,} x {_size(n_bytes)} = {_size(_MANY * n_bytes)}"
    speed, n_processes = outcome.clips_per_second, outcome.n_processes
    if speed is not None:
        note(f"{counted(outcome.n_made, 'clip')} packed by this call, {speed:.1f} a second in each process", quiet)
        hours = _MANY / (speed * n_processes) / 3600
        needs += f" and {_MANY:,} / ({counted(n_processes, 'process')} x {speed:.1f} clips/s) = {hours:.1f} hours"
    note(f"2 million such clips need {needs}", quiet)


def _size(n_bytes: float | int) -> str:
    """Bytes as people say it.

    >>> _size(350_400), _size(0.7e12)
    ('350 kB', '700 GB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
