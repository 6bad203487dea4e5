"""`earmark encode`: the segments of all clips of a data set, encoded once."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from earmark import hub
from earmark.cli.flags import FOLDER, AsJson, Data, Device, Labels, Model, Quiet, Split
from earmark.cli.screen import note, progress, rounded, say, write_json
from earmark.cli.selection import published, select
from earmark.errors import counted
from earmark.training.encoding import EncodeConfig
from earmark.training.encoding import encode as run_encoding

_DEFAULTS = EncodeConfig()


def encode(
    data: Data,
    /,
    *,
    out: Annotated[Path, FOLDER],
    model: Model = hub.DEFAULT_MODEL,
    split: Split = None,
    labels: Labels = None,
    settings: Annotated[EncodeConfig, Parameter(name="*")] = _DEFAULTS,
    skip_bad: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Encode clips once.

    Args:
        out: Folder of the store: new, empty, or begun by the same command.
        skip_bad: Leave out clips that cannot be read.
    """
    clips = published(select(data, split, labels), data)
    started = time.monotonic()
    with progress("encoding", quiet) as show:
        about = run_encoding(clips, model, out, settings, skip_bad=skip_bad, device=device, progress=show)
    shards = about["shards"]
    n_segments = sum(shard.n_segments for shard in shards)
    skipped = [{"id": name, "error": reason} for shard in shards for name, reason in shard.skipped]
    n_bytes = sum((out / shard.file).stat().st_size for shard in shards)
    summary = {
        "data": f"segments:{out}",
        "n_clips": about["n_clips"],
        "n_segments": n_segments,
        "n_bytes": n_bytes,
        "encoder": about["encoder"],
        "skipped": skipped,
        "seconds": rounded(time.monotonic() - started),
    }
    if json:
        write_json(summary)
        return
    encoder = about["encoder"]
    note(
        f"{counted(about['n_clips'], 'clip')}, {counted(n_segments, 'segment')} of "
        f"{encoder['seconds_per_segment']:g} s with {counted(encoder['n_channels'], 'channel')}, "
        f"{n_bytes / 1e6:.1f} MB, {time.monotonic() - started:.0f} s",
        quiet,
    )
    if skipped:
        note(f"note: left out {counted(len(skipped), 'unreadable clip')}, such as {skipped[0]['id']}", quiet)
    say(f"segments:{out}")
